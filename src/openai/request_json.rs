//! The body of a request: `model`, the parameters, `messages`, in this order.

use super::dialect::{Dialect, VisionOptions};
use super::parameters;
use super::writer::{MediaLists, ProcessorOptions, RequestWriter};
use crate::chat::call::{Delivery, Prompt};
use crate::chat::document::{Document, Object, Real};
use crate::chat::message::{Role, Turn};
use crate::chat::warning::Warning;
use crate::dashscope::json_writer::JsonWriter;
use crate::dashscope::media_transfer::MediaTransfer;
use crate::dashscope::request_json::checked_len;
use crate::error::Error;

/// A request body, and warnings about what the dialect does not have.
#[derive(Debug)]
pub(super) struct RequestJson {
    pub(super) body: Vec<u8>,
    pub(super) warnings: Vec<Warning>,
}

impl AsRef<[u8]> for RequestJson {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Writes the body. `transfers` come from `media_transfer::transfers`, after uploads.
pub(super) fn write(
    (prompt, model, delivery): (&Prompt, &str, Delivery),
    transfers: &[MediaTransfer<'_>],
    max_bytes: usize,
    dialect: &'static Dialect,
) -> Result<RequestJson, Error> {
    let capacity = checked_len(prompt, transfers, max_bytes)?;
    let mut writer = RequestWriter {
        json: JsonWriter::new(capacity, transfers),
        dialect,
        warnings: Vec::new(),
        processor: ProcessorOptions::default(),
        beside: MediaLists::default(),
    };
    writer.json.raw("{\"model\":");
    writer.json.text(model);
    writer.warnings = parameters::write(&mut writer.json, prompt, delivery, dialect)?;
    writer.json.key("messages");
    writer.messages(&prompt.turns)?;
    writer.media_lists()?;
    writer.processor_options(prompt)?;
    writer.json.raw("}");
    Ok(RequestJson {
        body: writer.json.body,
        warnings: writer.warnings,
    })
}

impl RequestWriter<'_, '_> {
    fn messages(&mut self, turns: &[Turn]) -> Result<(), Error> {
        self.json.raw("[");
        for (at, turn) in turns.iter().enumerate() {
            if at > 0 {
                self.json.raw(",");
            }
            self.turn(at, turn)?;
        }
        self.json.raw("]");
        Ok(())
    }

    fn turn(&mut self, at: usize, turn: &Turn) -> Result<(), Error> {
        let has_other = |key: &str| turn.extra.value(key).is_some_and(|v| *v != Document::Null);
        self.json.raw("{");
        if !has_other("role") {
            let role = match turn.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => "tool",
            };
            self.json.field("role", Some(role))?;
        }
        if !turn.parts.is_empty() || !has_other("content") {
            self.json.key("content");
            self.content(at, turn)?;
        }
        let reasoning = Some(&turn.reasoning).filter(|text| !text.is_empty());
        let keys = self.dialect.reasoning_keys;
        for key in keys {
            self.json.field(key, reasoning)?;
        }
        if keys.is_empty() {
            let field = format!("conversation.messages[{at}]");
            self.ignored_if(reasoning.is_some(), &field, "reasoning_text");
        }
        if !turn.tool_calls.is_empty() {
            self.json.key("tool_calls");
            self.json
                .list(&turn.tool_calls, |json, call| json.tool_call(call, false))?;
        }
        let tool_call_id = (!turn.tool_call_id.is_empty()).then_some(&turn.tool_call_id);
        self.json.field("tool_call_id", tool_call_id)?;
        let (has_parts, has_calls) = (!turn.parts.is_empty(), !turn.tool_calls.is_empty());
        self.json.extra_without(&turn.extra, |key| {
            has_parts && key == "content"
                || has_calls && key == "tool_calls"
                || reasoning.is_some() && keys.contains(&key)
        })?;
        self.json.raw("}");
        Ok(())
    }

    fn processor_options(&mut self, prompt: &Prompt) -> Result<(), Error> {
        let prefix = match self.dialect.vision_options {
            VisionOptions::OfRequest => "",
            VisionOptions::OfVideos => "video_",
            VisionOptions::OfPart | VisionOptions::None => return Ok(()),
        };
        let known = self.processor;
        let whole = |number: Option<i32>| number.map(|number| Real(f64::from(number)));
        let all = [
            ("min_pixels", whole(known.min_pixels)),
            ("max_pixels", whole(known.max_pixels)),
            ("fps", known.fps),
            ("max_frames", whole(known.max_frames)),
            ("total_pixels", whole(known.total_pixels)),
        ];
        let set = all.into_iter().filter_map(|(key, value)| {
            let value = Document::Number(value?);
            Some((format!("{prefix}{key}"), value))
        });
        let options = Object(set.collect());
        if self.dialect.vision_options == VisionOptions::OfVideos {
            let own = &prompt.options.extra_parameters;
            let is_written = |key: &str| own.value(key).is_some();
            return self.json.extra_without(&options, is_written);
        }
        parameters::write_merged(
            &mut self.json,
            parameters::PROCESSOR_OPTIONS,
            options,
            &prompt.options,
        )
    }
}
