//! Accumulates the events of a stream into an answer.

use std::collections::BTreeMap;

use bytes::BytesMut;
use prost_types::value::Kind;

use crate::v1::converse_stream_response::Event;
use crate::v1::delta::Part;
use crate::v1::{
    Annotation, Audio, AudioFile, Choice, Completed, Content, ConverseResponse,
    ConverseStreamResponse, Delta, Image, Logprobs, Message, Role, ToolCall, audio, content, image,
};

/// The MIME type of streamed audio, unless its file names another one: 16-bit little-endian mono at
/// 24 kHz.
const STREAMED_AUDIO: &str = "audio/pcm";

/// Accumulates events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    answer: ConverseResponse,
    drafts: BTreeMap<i32, Draft>,
    completed: Option<Completed>,
    has_begun: bool,
    has_output: bool,
}

/// An incomplete answer.
#[derive(Clone, Debug, Default)]
struct Draft {
    content: Vec<Content>,
    reasoning: String,
    sounds: Vec<Sound>,
    last_sound: Option<Sound>,
    extra: Option<prost_types::Struct>,
    tool_calls: BTreeMap<i32, ToolCall>,
    annotations: Vec<Annotation>,
    logprobs: Option<Logprobs>,
}

/// An incomplete audio part.
#[derive(Clone, Debug, Default)]
struct Sound {
    bytes: BytesMut,
    file: Option<AudioFile>,
}

impl Fold {
    /// Returns whether the last event was received.
    pub(crate) fn is_complete(&self) -> bool {
        self.completed.is_some()
    }

    /// Returns whether an event was received, heartbeats excepted.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Returns whether a part of the answer was received.
    pub(crate) fn has_output(&self) -> bool {
        self.has_output
    }

    /// Adds the next event.
    pub(crate) fn add(&mut self, event: &ConverseStreamResponse) {
        self.has_begun |= !matches!(event.event, Some(Event::Heartbeat(_)));
        match &event.event {
            Some(Event::Started(started)) => {
                self.answer.model.clone_from(&started.model);
                let upstream = &started.upstream_request_id;
                self.answer.upstream_request_id.clone_from(upstream);
                self.answer.request_id.clone_from(&started.request_id);
            }
            Some(Event::Delta(delta)) => self.add_delta(delta),
            Some(Event::Completed(completed)) => self.completed = Some(completed.clone()),
            // Unset: an event of a newer schema.
            Some(Event::Heartbeat(_)) | None => {}
        }
    }

    fn add_delta(&mut self, delta: &Delta) {
        self.has_output = true;
        let Some(part) = &delta.part else {
            return;
        };
        if let Part::SearchInfo(info) = part {
            self.answer.search_info = Some(info.clone());
            return;
        }
        let draft = self.drafts.entry(delta.choice_index).or_default();
        match part {
            Part::Text(text) => draft.add_text(text, delta.starts_part),
            Part::ReasoningText(text) => draft.reasoning.push_str(text),
            Part::Audio(bytes) => {
                let sound = draft.sound(delta.starts_part);
                sound.bytes.extend_from_slice(bytes);
            }
            Part::ToolCall(call) => draft.add_tool_call(call),
            Part::Annotation(annotation) => draft.annotations.push(annotation.clone()),
            Part::ImageUri(uri) => draft.add(content::Kind::Image(Image {
                source: Some(image::Source::Uri(uri.clone())),
                ..Image::default()
            })),
            Part::AudioFile(file) => draft.sound(delta.starts_part).file = Some(file.clone()),
            Part::Extra(extra) => draft.add_extra(extra, delta.starts_part),
            Part::MessageExtra(extra) => merge(&mut draft.extra, Some(extra)),
            Part::Logprobs(next) => {
                let logprobs = draft.logprobs.get_or_insert_default();
                logprobs.content.extend_from_slice(&next.content);
                merge(&mut logprobs.extra, next.extra.as_ref());
            }
            Part::SearchInfo(_) => {}
        }
    }

    /// Returns the answer.
    pub(crate) fn finish(self) -> ConverseResponse {
        let Self {
            mut answer,
            mut drafts,
            completed,
            ..
        } = self;
        let completed = completed.unwrap_or_default();
        for end in &completed.choices {
            drafts.entry(end.index).or_default();
        }
        for (index, draft) in drafts {
            let mut choice = draft.finish(index);
            if let Some(end) = completed.choices.iter().find(|end| end.index == index) {
                choice.finish_reason = end.finish_reason;
                choice.raw_finish_reason.clone_from(&end.raw_finish_reason);
                choice.extra.clone_from(&end.extra);
            }
            answer.choices.push(choice);
        }
        answer.usage = completed.usage;
        answer.timing = completed.timing;
        answer.extra_output = completed.extra_output;
        answer.extra = completed.extra;
        answer.warnings = completed.warnings;
        answer.history_used = completed.history_used;
        answer
    }
}

impl Draft {
    fn add(&mut self, kind: content::Kind) {
        self.content.push(Content {
            kind: Some(kind),
            ..Content::default()
        });
    }

    fn add_text(&mut self, text: &str, starts_part: bool) {
        match self.content.last_mut().map(|part| &mut part.kind) {
            Some(Some(content::Kind::Text(before))) if !starts_part => before.push_str(text),
            _ => self.add(content::Kind::Text(text.to_owned())),
        }
    }

    fn add_extra(&mut self, extra: &prost_types::Struct, starts_part: bool) {
        if starts_part || self.content.is_empty() {
            self.content.push(Content::default());
        }
        if let Some(part) = self.content.last_mut() {
            merge(&mut part.extra, Some(extra));
        }
    }

    fn sound(&mut self, starts_part: bool) -> &mut Sound {
        if starts_part {
            self.sounds.extend(self.last_sound.take());
        }
        self.last_sound.get_or_insert_default()
    }

    fn add_tool_call(&mut self, next: &ToolCall) {
        let call = self
            .tool_calls
            .entry(next.index)
            .or_insert_with(|| ToolCall {
                index: next.index,
                ..ToolCall::default()
            });
        for (there, new) in [(&mut call.id, &next.id), (&mut call.r#type, &next.r#type)] {
            if there.is_empty() {
                there.clone_from(new);
            }
        }
        call.name.push_str(&next.name);
        call.arguments.push_str(&next.arguments);
        merge(&mut call.extra, next.extra.as_ref());
    }

    fn finish(mut self, index: i32) -> Choice {
        let sounds = std::mem::take(&mut self.sounds);
        for Sound { bytes, file } in sounds.into_iter().chain(self.last_sound.take()) {
            let (mime_type, source) = if bytes.is_empty() {
                let uri = file.as_ref().map(|file| file.uri.clone());
                let uri = uri.filter(|uri| !uri.is_empty());
                (String::new(), uri.map(audio::Source::Uri))
            } else {
                let named = file.as_ref().and_then(named_type);
                let source = audio::Source::Data(bytes.freeze());
                (named.unwrap_or(STREAMED_AUDIO).to_owned(), Some(source))
            };
            self.add(content::Kind::Audio(Audio {
                mime_type,
                source,
                file,
            }));
        }
        Choice {
            index,
            message: Some(Message {
                role: Role::Assistant.into(),
                content: self.content,
                reasoning_text: self.reasoning,
                tool_calls: self.tool_calls.into_values().collect(),
                annotations: self.annotations,
                extra: self.extra,
                ..Message::default()
            }),
            logprobs: self.logprobs,
            ..Choice::default()
        }
    }
}

/// The MIME type that the gateway names because it is not that of streamed audio.
fn named_type(file: &AudioFile) -> Option<&str> {
    match &file.extra.as_ref()?.fields.get("mime_type")?.kind {
        Some(Kind::StringValue(named)) if named.starts_with("audio/") => Some(named),
        _ => None,
    }
}

/// Merges fields into a struct; a new value replaces an old one.
fn merge(there: &mut Option<prost_types::Struct>, new: Option<&prost_types::Struct>) {
    let Some(new) = new else {
        return;
    };
    let fields = new.fields.iter();
    let fields = fields.map(|(key, value)| (key.clone(), value.clone()));
    there.get_or_insert_default().fields.extend(fields);
}
