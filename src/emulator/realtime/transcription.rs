//! The events about the transcription of a turn, in the form of each family.

use serde_json::{Map, Value, json};

use super::dialects::{Dialect, Partial, Task};
use crate::emulator::answer::pieces;
use crate::emulator::usage::whole;
use crate::emulator::websocket::outbox::Outbox;

/// The prefix of the events about turns.
const INPUT: &str = "conversation.item.input_audio_transcription";
/// The prefix of the events about speech that is no turn.
const AMBIENT: &str = "conversation.item.ambient_audio_transcription";

/// What the events of one item have in common.
pub(super) struct Transcription<'a> {
    /// The dialect.
    pub(super) dialect: &'static Dialect,
    /// The item.
    pub(super) item_id: &'a str,
    /// The language of the session.
    pub(super) language: Option<&'a str>,
}

impl Transcription<'_> {
    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("item_id".into(), json!(self.item_id));
        fields.insert("content_index".into(), json!(0));
        if self.dialect.task != Task::Converse {
            fields.insert("language".into(), json!(self.language.unwrap_or("zh")));
        }
        if self.dialect.task == Task::Transcribe {
            fields.insert("emotion".into(), json!("neutral"));
        }
        fields
    }

    fn settled(&self, prefix: &str, suffix: &str, text: &str, stash: &str, out: &mut Outbox) {
        let mut fields = self.fields();
        fields.insert("text".into(), json!(text));
        fields.insert("stash".into(), json!(stash));
        out.event(&format!("{prefix}.{suffix}"), fields.into());
    }

    /// Sends a tentative text during speech, if the family does.
    pub(super) fn tentative(&self, text: &str, out: &mut Outbox) {
        if let Partial::Settled(suffix) = self.dialect.partial {
            self.settled(INPUT, suffix, "", text, out);
        }
    }

    /// Sends the transcript in pieces, then whole.
    pub(super) fn complete(&self, transcript: &str, seconds: f64, out: &mut Outbox) {
        let pieces = pieces(transcript);
        match self.dialect.partial {
            Partial::None => {}
            Partial::Settled(suffix) => {
                let half = pieces.len().div_ceil(2);
                let text = pieces.get(..half).unwrap_or_default().concat();
                let stash = pieces.get(half..).unwrap_or_default().concat();
                self.settled(INPUT, suffix, &text, &stash, out);
            }
            Partial::Delta => {
                for piece in &pieces {
                    let mut fields = self.fields();
                    fields.insert("delta".into(), json!(piece));
                    out.event(&format!("{INPUT}.delta"), fields.into());
                }
            }
        }
        let mut fields = self.fields();
        fields.insert("transcript".into(), json!(transcript));
        if self.dialect.task == Task::Transcribe {
            fields.insert("usage".into(), json!({"duration": whole(seconds)}));
        }
        out.event(&format!("{INPUT}.completed"), fields.into());
    }

    /// Sends an error in place of the transcript.
    pub(super) fn fail(&self, code: &str, message: &str, out: &mut Outbox) {
        let fields = json!({"item_id": self.item_id, "content_index": 0,
            "error": {"code": code, "message": message, "param": null}});
        out.event(&format!("{INPUT}.failed"), fields);
    }

    /// Sends the transcript of speech that is no turn.
    pub(super) fn ambient(&self, transcript: &str, out: &mut Outbox) {
        self.settled(AMBIENT, "delta", "", transcript, out);
        self.settled(AMBIENT, "delta", transcript, "", out);
    }

    /// Ends the transcript of speech that is no turn.
    pub(super) fn ambient_complete(&self, transcript: &str, out: &mut Outbox) {
        let fields = json!({"item_id": self.item_id, "transcript": transcript});
        out.event(&format!("{AMBIENT}.completed"), fields);
    }
}
