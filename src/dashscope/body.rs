//! The body of a request: `model`, `parameters`, `input`, in this order.
//!
//! Written by hand into one buffer of the right size, because a serialiser would look at every byte
//! of a sound for something to escape.

use super::json::{Number, Written};
use super::media::{Way, write_data_uri};
use super::parameters;
use crate::chat::call::{Delivery, Prompt};
use crate::chat::document::{Document, Object};
use crate::chat::media::{Image, Video, VideoSource};
use crate::chat::turn::{Body, Part, Role, Speech, ToolCall, Turn};
use crate::error::{Error, Reason};

/// Room for the keys and marks around a text, so that the buffer seldom grows.
const ROOM_PER_PART: usize = 64;

/// Room for the model and the parameters.
const ROOM_FOR_REST: usize = 1024;

/// Writes the body. `ways` are those of `media::ways`, with nothing left to store.
pub(super) fn write(
    prompt: &Prompt,
    model: &str,
    delivery: Delivery,
    ways: &[Way<'_>],
) -> Result<Vec<u8>, Error> {
    let mut writer = Writer {
        body: Vec::with_capacity(room(prompt, ways)),
        ways: ways.iter(),
    };
    writer.raw("{\"model\":");
    writer.text(model)?;
    writer.raw(",\"parameters\":");
    parameters::write(prompt, delivery, &mut writer.body)?;
    writer.raw(",\"input\":");
    match &prompt.options.speech {
        Some(speech) => writer.speech(speech, &prompt.turns)?,
        None => writer.messages(&prompt.turns)?,
    }
    writer.raw("}");
    Ok(writer.body)
}

fn room(prompt: &Prompt, ways: &[Way<'_>]) -> usize {
    let text = |part: &Part| match &part.body {
        Body::Text(text) => text.len(),
        Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => 0,
    };
    let turns = prompt.turns.iter().map(|turn| {
        let parts: usize = turn.parts.iter().map(|p| text(p) + ROOM_PER_PART).sum();
        let calls: usize = turn.tool_calls.iter().map(|c| c.arguments.len()).sum();
        parts + calls + turn.reasoning.len() + ROOM_PER_PART
    });
    let media: usize = ways.iter().map(|way| way.len() + ROOM_PER_PART).sum();
    turns.sum::<usize>() + media + ROOM_FOR_REST
}

struct Writer<'a, 'w> {
    body: Vec<u8>,
    ways: std::slice::Iter<'w, Way<'a>>,
}

impl Writer<'_, '_> {
    fn raw(&mut self, json: &str) {
        self.body.extend_from_slice(json.as_bytes());
    }

    fn value(&mut self, value: &impl serde::Serialize) -> Result<(), Error> {
        serde_json::to_writer(&mut self.body, value)
            .map_err(|_| Error::field("conversation", "every number must be finite"))
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        self.value(&text)
    }

    /// Begins a key of an object; `first` says whether it is the first.
    fn key(&mut self, key: &str) -> Result<(), Error> {
        if self.body.last() != Some(&b'{') {
            self.raw(",");
        }
        self.text(key)?;
        self.raw(":");
        Ok(())
    }

    fn field(&mut self, key: &str, value: Option<impl serde::Serialize>) -> Result<(), Error> {
        let Some(value) = value else {
            return Ok(());
        };
        self.key(key)?;
        self.value(&value)
    }

    fn extra(&mut self, extra: &Object) -> Result<(), Error> {
        for (key, value) in &extra.0 {
            if *value != Document::Null {
                self.field(key, Some(Written(value)))?;
            }
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.raw("[");
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item)?;
        }
        self.raw("]");
        Ok(())
    }

    fn speech(&mut self, speech: &Speech, turns: &[Turn]) -> Result<(), Error> {
        self.raw("{");
        self.field("text", spoken(turns)?)?;
        self.field("voice", speech.voice.as_deref())?;
        self.field("language_type", speech.language_type.as_deref())?;
        self.raw("}");
        Ok(())
    }

    fn messages(&mut self, turns: &[Turn]) -> Result<(), Error> {
        self.raw("{\"messages\":");
        self.list(turns, Self::turn)?;
        self.raw("}");
        Ok(())
    }

    fn turn(&mut self, turn: &Turn) -> Result<(), Error> {
        self.raw("{\"role\":\"");
        self.raw(match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        });
        self.raw("\",\"content\":");
        self.list(&turn.parts, Self::part)?;
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.field("reasoning_content", said(&turn.reasoning))?;
        if !turn.tool_calls.is_empty() {
            self.key("tool_calls")?;
            self.list(&turn.tool_calls, Self::tool_call)?;
        }
        self.field("tool_call_id", said(&turn.tool_call_id))?;
        self.extra(&turn.extra)?;
        self.raw("}");
        Ok(())
    }

    fn part(&mut self, part: &Part) -> Result<(), Error> {
        self.raw("{");
        match &part.body {
            Body::Text(text) => self.field("text", Some(text))?,
            Body::Audio(_) => {
                self.key("audio")?;
                self.medium()?;
            }
            Body::Image(image) => self.image(image)?,
            Body::Video(video) => self.video(video)?,
            Body::Other => {}
        }
        if let Some(kind) = &part.cache_control {
            self.key("cache_control")?;
            self.raw("{\"type\":");
            self.text(kind)?;
            self.raw("}");
        }
        self.extra(&part.extra)?;
        self.raw("}");
        Ok(())
    }

    fn image(&mut self, image: &Image) -> Result<(), Error> {
        self.key("image")?;
        self.medium()?;
        self.field("min_pixels", image.min_pixels)?;
        self.field("max_pixels", image.max_pixels)?;
        self.field("enable_rotate", image.enable_rotate)
    }

    fn video(&mut self, video: &Video) -> Result<(), Error> {
        self.key("video")?;
        match &video.source {
            VideoSource::File(_) => self.medium()?,
            VideoSource::Frames(frames) => self.list(frames, |writer, _| writer.medium())?,
        }
        self.field("fps", video.fps.map(Number))?;
        self.field("max_frames", video.max_frames)?;
        self.field("min_pixels", video.min_pixels)?;
        self.field("max_pixels", video.max_pixels)?;
        self.field("total_pixels", video.total_pixels)
    }

    /// Writes the next medium. The ways were found in the same order.
    fn medium(&mut self) -> Result<(), Error> {
        match self.ways.next() {
            Some(Way::Address(address)) => self.text(address),
            Some(Way::Inline(mime_type, bytes)) => {
                self.raw("\"");
                write_data_uri(mime_type, bytes, &mut self.body);
                self.raw("\"");
                Ok(())
            }
            Some(Way::Store(..)) | None => Err(Error::new(
                Reason::GatewayBug,
                "a medium was not stored before it was named",
            )),
        }
    }

    fn tool_call(&mut self, call: &ToolCall) -> Result<(), Error> {
        self.raw("{");
        self.field("index", Some(call.index))?;
        self.field("id", Some(&call.id))?;
        let kind = if call.kind.is_empty() {
            "function"
        } else {
            &call.kind
        };
        self.field("type", Some(kind))?;
        self.key("function")?;
        self.raw("{");
        self.field("name", Some(&call.name))?;
        self.field("arguments", Some(&call.arguments))?;
        self.raw("}}");
        Ok(())
    }
}

/// The text to speak: that of the one user turn. None when there is no turn.
fn spoken(turns: &[Turn]) -> Result<Option<String>, Error> {
    let wrong = |field: &str, what: &str| Err(Error::field(field, what));
    let turn = match turns {
        [] => return Ok(None),
        [turn] if turn.role == Role::User => turn,
        _ => {
            return wrong(
                "conversation.messages",
                "must be one message of ROLE_USER when options.speech is set",
            );
        }
    };
    let mut spoken = String::new();
    for (at, part) in turn.parts.iter().enumerate() {
        match &part.body {
            Body::Text(text) => spoken.push_str(text),
            Body::Audio(_) | Body::Image(_) | Body::Video(_) | Body::Other => {
                let field = format!("conversation.messages[0].content[{at}]");
                return wrong(&field, "must be text when options.speech is set");
            }
        }
    }
    Ok(Some(spoken))
}
