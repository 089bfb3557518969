//! What `dashgate live` shows of a session.

use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;
use dashgate_client::v1::response_delta::Part;

use super::audio_sinks::AudioSinks;
use super::dialogue::Dialogue;
use super::error::Failure;
use super::live_json::EventJson;
use super::live_run::EventReceiver;
use super::live_summary::{self, Summary};
use super::terminal::Terminal;

/// The most tool calls of a response that are printed.
const MAX_TOOL_CALLS: usize = 64;

/// The most bytes of the arguments of a tool call that are printed.
const MAX_ARGUMENT_BYTES: usize = 64 << 10;

/// The code of a warning after which a turn has no transcript.
const NO_TRANSCRIPT: &str = "TRANSCRIPTION_FAILED";

/// Shows events, as lines of text or as JSON.
pub(crate) struct LiveView {
    dialogue: Dialogue,
    /// `None`: text.
    json: Option<EventJson>,
    /// Whether the speech of the user has transcripts.
    has_transcripts: bool,
    /// The tool calls of the response that is running.
    calls: Vec<pb::ToolCall>,
    sinks: AudioSinks,
    /// The totals.
    pub(crate) summary: Summary,
}

impl LiveView {
    /// A session without events.
    pub(crate) fn new(
        dialogue: Dialogue,
        json: Option<EventJson>,
        has_transcripts: bool,
        sinks: AudioSinks,
    ) -> Self {
        Self {
            dialogue,
            json,
            has_transcripts,
            calls: Vec::new(),
            sinks,
            summary: Summary::default(),
        }
    }

    /// Prints what is left, and at the end of a session the usage.
    pub(crate) fn end(&mut self, is_done: bool, terminal: &mut Terminal) -> Result<(), Failure> {
        if self.json.is_some() {
            return Ok(());
        }
        self.dialogue.end(terminal)?;
        if is_done {
            if self.summary.responses() == 0 {
                terminal.note("no response: no speech was detected");
            }
            terminal.aside(&format!("{}\n", self.summary.line()));
        }
        Ok(())
    }

    fn show(&mut self, event: &Event, terminal: &mut Terminal) -> Result<(), Failure> {
        let dialogue = &mut self.dialogue;
        match event {
            Event::SpeechStarted(pb::SpeechStarted { item_id, .. })
            | Event::InputCommitted(pb::InputCommitted { item_id })
                if self.has_transcripts =>
            {
                dialogue.user_speaks(item_id);
            }
            Event::SpeechStopped(stopped) if !stopped.reason.is_empty() => {
                dialogue.user_is_ignored(&stopped.item_id);
            }
            Event::InputTranscript(transcript) => dialogue.user_words(transcript),
            Event::AmbientTranscript(transcript) if transcript.r#final => {
                dialogue.note(&format!("not a turn: {}", transcript.text), terminal)?;
            }
            Event::ResponseStarted(started) => dialogue.model_speaks(&started.response_id),
            Event::ResponseDelta(delta) => match &delta.part {
                Some(Part::Text(words) | Part::Transcript(words)) => {
                    dialogue.model_words(&delta.response_id, words);
                }
                Some(Part::ToolCall(call)) => self.add(call),
                Some(Part::Audio(_)) | None => return Ok(()),
            },
            Event::ResponseCompleted(end) => {
                dialogue.model_ends(&end.response_id, ended(end));
                for call in std::mem::take(&mut self.calls) {
                    let line = format!("tool call: {} {}", call.name, call.arguments);
                    self.dialogue.note(line.trim_end(), terminal)?;
                }
            }
            Event::SessionWarning(warning) => {
                if warning.code == NO_TRANSCRIPT {
                    dialogue.no_transcript();
                }
                dialogue.note(&live_summary::warning(warning), terminal)?;
            }
            Event::SessionEnding(ending) => {
                dialogue.note(&live_summary::ending(ending), terminal)?;
            }
            Event::SessionStarted(_)
            | Event::SessionUpdated(_)
            | Event::SpeechStarted(_)
            | Event::SpeechStopped(_)
            | Event::InputCommitted(_)
            | Event::AmbientTranscript(_)
            | Event::SessionEnded(_) => return Ok(()),
        }
        Ok(self.dialogue.print(terminal)?)
    }

    /// Adds a piece of a tool call.
    fn add(&mut self, piece: &pb::ToolCall) {
        // Only the first piece of a call has its id.
        let is_later = piece.id.is_empty();
        let same =
            |call: &pb::ToolCall| call.index == piece.index && (is_later || call.id == piece.id);
        let at = self.calls.iter().rposition(same);
        let is_full = self.calls.len() >= MAX_TOOL_CALLS;
        match at.and_then(|at| self.calls.get_mut(at)) {
            Some(call) => {
                if call.name.is_empty() {
                    call.name.clone_from(&piece.name);
                }
                let is_short = call.arguments.len() + piece.arguments.len() <= MAX_ARGUMENT_BYTES;
                if is_short {
                    call.arguments += &piece.arguments;
                }
            }
            None if is_full => {}
            None => self.calls.push(piece.clone()),
        }
    }
}

/// How a response ended, if not as usual.
fn ended(end: &pb::ResponseCompleted) -> String {
    let status = match end.status() {
        pb::ResponseStatus::Completed | pb::ResponseStatus::Unspecified => return String::new(),
        pb::ResponseStatus::Cancelled => "interrupted",
        pb::ResponseStatus::Incomplete => "incomplete",
        pb::ResponseStatus::Failed => "failed",
    };
    match (end.status(), end.finish_reason.as_str()) {
        (pb::ResponseStatus::Cancelled, _) | (_, "") => status.to_owned(),
        (_, reason) => format!("{status}: {reason}"),
    }
}

impl EventReceiver for LiveView {
    async fn take(
        &mut self,
        response: &pb::ConverseLiveResponse,
        terminal: &mut Terminal,
    ) -> Result<(), Failure> {
        if let Some(json) = &self.json {
            terminal.answer(&json.line(response))?;
        }
        // An event of a later version of the schema.
        let Some(event) = &response.event else {
            return Ok(());
        };
        self.summary.take(event);
        match event {
            Event::SessionStarted(started) => self.sinks.start(started),
            Event::ResponseDelta(pb::ResponseDelta {
                part: Some(Part::Audio(audio)),
                ..
            }) => self.sinks.write(audio).await?,
            Event::SpeechStarted(_) => {
                self.sinks.interrupt();
            }
            Event::SessionUpdated(_)
            | Event::SpeechStopped(_)
            | Event::InputCommitted(_)
            | Event::InputTranscript(_)
            | Event::AmbientTranscript(_)
            | Event::ResponseStarted(_)
            | Event::ResponseDelta(_)
            | Event::ResponseCompleted(_)
            | Event::SessionWarning(_)
            | Event::SessionEnding(_)
            | Event::SessionEnded(_) => {}
        }
        match self.json {
            Some(_) => Ok(()),
            None => self.show(event, terminal),
        }
    }

    fn note(&mut self, text: &str, terminal: &mut Terminal) -> Result<(), Failure> {
        Ok(self.dialogue.note(text, terminal)?)
    }

    fn sinks(&mut self) -> &mut AudioSinks {
        &mut self.sinks
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialogue::Place;
    use super::*;

    #[test]
    fn pieces_of_tool_calls_are_joined_by_their_index() {
        let sinks = AudioSinks::new(Vec::new(), None);
        let mut view = LiveView::new(Dialogue::new(Place::Stdout), None, true, sinks);
        for (index, id, name, arguments) in [
            (1, "call_1", "weather", ""),
            (2, "call_2", "time", "{"),
            (1, "", "", "{\"city\":"),
            (2, "", "", "}"),
            (1, "", "", "\"Paris\"}"),
            (0, "call_3", "stop", "{}"),
            (0, "call_4", "go", "{}"),
        ] {
            view.add(&pb::ToolCall {
                index,
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                ..pb::ToolCall::default()
            });
        }
        let calls = view.calls.iter();
        let calls: Vec<_> = calls.map(|call| (&*call.name, &*call.arguments)).collect();
        let weather = ("weather", "{\"city\":\"Paris\"}");
        assert_eq!(
            calls,
            [weather, ("time", "{}"), ("stop", "{}"), ("go", "{}")]
        );
    }
}
