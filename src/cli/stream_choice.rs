//! Assembles one choice of a stream from its deltas.

use std::collections::BTreeMap;

use prost_types::Struct;
use prost_types::value::Kind as Open;

use crate::chat::media::MIME_TYPE;
use crate::grpc::pb;
use crate::grpc::pb::content::Kind;
use crate::grpc::pb::delta::Part;

use super::attach::content;

/// The type of streamed audio.
const STREAMED_AUDIO: &str = "audio/pcm";

/// A choice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    message: pb::Message,
    sounds: Vec<Sound>,
    last_sound: Option<Sound>,
    tool_calls: BTreeMap<i32, pb::ToolCall>,
    logprobs: Option<pb::Logprobs>,
}

/// An audio part.
#[derive(Clone, Debug, Default)]
struct Sound {
    bytes: Vec<u8>,
    file: Option<pb::AudioFile>,
}

impl Draft {
    /// Adds a delta. `starts_part`: it starts a new part.
    pub(crate) fn add(&mut self, part: Part, starts_part: bool) {
        match part {
            Part::Text(text) => self.text(text, starts_part),
            Part::ReasoningText(text) => self.message.reasoning_text.push_str(&text),
            Part::Audio(bytes) => self.sound(starts_part).bytes.extend_from_slice(&bytes),
            Part::AudioFile(file) => self.sound(starts_part).file = Some(file),
            Part::ToolCall(next) => self.tool_call(next),
            Part::Annotation(annotation) => self.message.annotations.push(annotation),
            Part::ImageUri(uri) => self.message.content.push(content(Kind::Image(pb::Image {
                source: Some(pb::image::Source::Uri(uri)),
                ..pb::Image::default()
            }))),
            Part::Extra(extra) => {
                if starts_part || self.message.content.is_empty() {
                    self.message.content.push(pb::Content::default());
                }
                if let Some(part) = self.message.content.last_mut() {
                    merge(&mut part.extra, Some(extra));
                }
            }
            Part::MessageExtra(extra) => merge(&mut self.message.extra, Some(extra)),
            Part::Logprobs(next) => {
                let logprobs = self.logprobs.get_or_insert_default();
                logprobs.content.extend(next.content);
                merge(&mut logprobs.extra, next.extra);
            }
            // They belong to the whole answer.
            Part::SearchInfo(_) => {}
        }
    }

    fn text(&mut self, text: String, starts_part: bool) {
        match self.message.content.last_mut().map(|part| &mut part.kind) {
            Some(Some(Kind::Text(before))) if !starts_part => before.push_str(&text),
            _ => self.message.content.push(content(Kind::Text(text))),
        }
    }

    fn sound(&mut self, starts_part: bool) -> &mut Sound {
        if starts_part {
            self.sounds.extend(self.last_sound.take());
        }
        self.last_sound.get_or_insert_default()
    }

    fn tool_call(&mut self, next: pb::ToolCall) {
        let call = self.tool_calls.entry(next.index).or_default();
        call.index = next.index;
        for (there, new) in [(&mut call.id, next.id), (&mut call.r#type, next.r#type)] {
            if there.is_empty() {
                *there = new;
            }
        }
        // Names arrive in chunks, like arguments.
        call.name.push_str(&next.name);
        call.arguments.push_str(&next.arguments);
        merge(&mut call.extra, next.extra);
    }

    /// The complete choice.
    pub(crate) fn finish(self, end: pb::ChoiceEnd) -> pb::Choice {
        let mut message = self.message;
        message.role = pb::Role::Assistant.into();
        message.tool_calls = self.tool_calls.into_values().collect();
        for Sound { bytes, file } in self.sounds.into_iter().chain(self.last_sound) {
            let mut audio = pb::Audio::default();
            if !bytes.is_empty() {
                let named = file.as_ref().and_then(named_type);
                named
                    .unwrap_or(STREAMED_AUDIO)
                    .clone_into(&mut audio.mime_type);
                audio.source = Some(pb::audio::Source::Data(bytes.into()));
            }
            audio.file = file;
            message.content.push(content(Kind::Audio(audio)));
        }
        pb::Choice {
            index: end.index,
            message: Some(message),
            finish_reason: end.finish_reason,
            raw_finish_reason: end.raw_finish_reason,
            logprobs: self.logprobs,
            extra: end.extra,
        }
    }
}

/// The format of audio, if the gateway names it because it is not that of streamed audio.
fn named_type(file: &pb::AudioFile) -> Option<&str> {
    let value = file.extra.as_ref()?.fields.get(MIME_TYPE)?;
    match &value.kind {
        Some(Open::StringValue(named)) => Some(named).filter(|named| named.starts_with("audio/")),
        _ => None,
    }
    .map(String::as_str)
}

/// Merges keys; a new value replaces an old one.
fn merge(there: &mut Option<Struct>, new: Option<Struct>) {
    if let Some(new) = new {
        there.get_or_insert_default().fields.extend(new.fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_the_arguments_of_a_tool_call_come_in_pieces() {
        let mut draft = Draft::default();
        for (id, name, arguments) in [
            ("c1", "get_", ""),
            ("", "weather", "{\"city\":"),
            ("c1", "", "\"Hefei\"}"),
        ] {
            let call = pb::ToolCall {
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                ..pb::ToolCall::default()
            };
            draft.add(Part::ToolCall(call), false);
        }
        let choice = draft.finish(pb::ChoiceEnd::default());
        let [call] = choice.message.unwrap().tool_calls.try_into().unwrap();
        assert_eq!((&*call.id, &*call.name), ("c1", "get_weather"));
        assert_eq!(call.arguments, "{\"city\":\"Hefei\"}");
    }
}
