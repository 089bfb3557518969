//! What a session adds to its stored conversation.

use tokio::time::Instant;

use crate::chat::live_session::Transcription;
use crate::chat::live_turn::{LiveHistory, LiveTurn, LiveTurnEnd};

use super::command::Command;
use super::event::{LiveEvent, ResponseTurn};
use super::session::Session;
use super::stored_turns::StoredTurns;

impl Session {
    /// The session continues a stored conversation with this history, and stores its turns.
    pub(super) fn continues(&mut self, history: &LiveHistory, instructions: Option<String>) {
        for message in &history.messages {
            self.history.add(message.by_user, &message.text);
        }
        self.stored = Some(Box::new(StoredTurns::new(instructions)));
    }

    /// The caller has sent this.
    pub(super) fn store_input(&mut self, command: &Command) {
        let Some(stored) = &mut self.stored else {
            return;
        };
        match command {
            Command::UserText(text) => stored.text(text),
            Command::ToolResult { call_id, output } => stored.result(call_id, output),
            Command::Image(_) => stored.image(),
            Command::Commit => stored.commit(),
            Command::Clear => stored.cleared(),
            Command::CreateResponse(_) => stored.requested(),
            Command::DeleteItem(item_id) => stored.removed(item_id),
            Command::Update(changes) => stored.instruct(changes.instructions.as_ref()),
            Command::Audio(_)
            | Command::AssistantText(_)
            | Command::CancelResponse
            | Command::SynthesisText(_)
            | Command::SynthesisCommit
            | Command::SynthesisClear => {}
        }
    }

    /// The caller's speech has become an item.
    pub(super) fn store_speech(&mut self, item_id: &str) {
        let changes = self.changes();
        let transcription = changes.and_then(|changes| changes.transcription.as_ref());
        let is_transcribed = transcription != Some(&Transcription::Disabled);
        if let Some(stored) = &mut self.stored {
            stored.committed(item_id, is_transcribed);
        }
    }

    /// A response has come this far. Its end says whether it is a turn.
    pub(super) fn store_response(&mut self, event: &mut LiveEvent, now: Instant) {
        let Some(stored) = &mut self.stored else {
            return;
        };
        if let LiveEvent::ResponseStarted { .. } = event {
            stored.started(now);
        } else if let LiveEvent::Delta { piece, .. } = event {
            stored.said(piece);
        } else if let LiveEvent::ResponseCompleted(end) = event {
            let ended = (end.status, end.usage.as_ref());
            if stored.completed(ended, &self.setup.model, now) {
                end.turn = ResponseTurn::Unstored;
            }
        }
    }

    /// The session ends: a response that fails from now on ends like this.
    pub(super) fn end_turns(&mut self, end: LiveTurnEnd) {
        if let Some(stored) = &mut self.stored {
            stored.fail_as(end);
        }
    }

    /// The turns that are to be stored at the end of the session, when no transcript is awaited.
    pub(super) fn last_turns(&mut self, now: Instant) -> Vec<LiveTurn> {
        if let Some(stored) = &mut self.stored {
            stored.await_nothing(now);
        }
        std::iter::from_fn(|| self.next_turn(now)).collect()
    }

    /// The next turn that is to be stored.
    pub(super) fn next_turn(&mut self, now: Instant) -> Option<LiveTurn> {
        self.stored.as_mut()?.next(now)
    }
}
