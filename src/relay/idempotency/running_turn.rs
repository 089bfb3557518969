//! The turn of a stored conversation that a call is: its history, and its answer so far.

use std::sync::Arc;

use crate::chat::answer::AnswerBuilder;
use crate::chat::call::Call;
use crate::chat::event::Event;
use crate::chat::stored::HistoryUsed;
use crate::conversations::Conversations;
use crate::conversations::errors::too_long;
use crate::conversations::history::{FirstRead, Positions};
use crate::error::{Error, Sent};
use crate::memory::{Claim, Share};
use crate::store::calls::Owned;
use crate::store::turn::Answered;

/// A turn that this replica runs.
pub(super) struct RunningTurn {
    conversations: Conversations,
    used: HistoryUsed,
    positions: Positions,
    answer: AnswerBuilder,
    /// The answer, once it is complete.
    pub(super) answered: Option<Answered>,
    memory: Option<Share>,
    bytes: usize,
}

impl RunningTurn {
    /// Adds the history to a call that is a turn; its memory is charged to this share.
    pub(super) async fn begin(
        conversations: &Conversations,
        call: &mut Arc<Call>,
        owned: Option<&Owned>,
        mut memory: Option<Share>,
    ) -> Result<Option<Self>, Error> {
        let turn = owned.and_then(|owned| owned.turn.as_ref());
        let (Some(of), Some(turn)) = (&call.stored, turn) else {
            return Ok(None);
        };
        let first = FirstRead::of(turn, of);
        if let Some(memory) = &mut memory {
            memory.hold(first.bytes().min(memory.most()), Claim::Running)?;
        }
        let plan = conversations.plan(&call.tenant, of, first).await?;
        if let Some(memory) = &mut memory {
            if plan.bytes > memory.most() {
                // It would not fit later either.
                return Err(too_long());
            }
            memory.hold(plan.bytes, Claim::Running)?;
        }
        let with_history = conversations.with_history(call, (turn, of), plan).await?;
        let mut running = Self {
            conversations: conversations.clone(),
            used: with_history.used,
            positions: with_history.positions,
            answer: AnswerBuilder::default(),
            answered: None,
            memory,
            bytes: 0,
        };
        running.hold(with_history.bytes)?;
        if let Some(memory) = &mut running.memory {
            memory.release(running.bytes);
        }
        let mut full = Call::clone(call);
        full.prompt.turns = with_history.messages;
        *call = Arc::new(full);
        Ok(Some(running))
    }

    /// Charges this many more bytes.
    fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        match &mut self.memory {
            Some(memory) => memory.hold(self.bytes, Claim::Running),
            None => Ok(()),
        }
    }

    /// Adds an event to the answer. The last one gets the history that was sent.
    pub(super) fn add(&mut self, mut event: Event) -> Result<Event, Error> {
        if let Event::End(end) = &mut event {
            end.history = Some(self.used);
            for warning in &mut end.warnings {
                let field = std::mem::take(&mut warning.field);
                warning.field = self.positions.of_call(field);
            }
        }
        let held = self.hold(event.weight());
        held.map_err(|error| error.with_sent(Sent::Begun))?;
        if let Some(answer) = self.answer.push(event.clone()) {
            let answered = self.conversations.answered(answer);
            self.answered = Some(answered.map_err(|error| error.with_sent(Sent::Begun))?);
        }
        Ok(event)
    }

    /// An error with the fields of the call, in which the history is missing.
    pub(super) fn of_call(&self, error: Error) -> Error {
        error.map_fields(|field| self.positions.of_call(field))
    }
}
