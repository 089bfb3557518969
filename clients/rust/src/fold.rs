//! What the events of a stream add up to.

use std::collections::BTreeMap;

use bytes::BytesMut;

use crate::v1::converse_stream_response::Event;
use crate::v1::delta::Part;
use crate::v1::{
    Annotation, Audio, AudioFile, Choice, Completed, Content, ConverseResponse,
    ConverseStreamResponse, Delta, Image, Logprobs, Message, Role, ToolCall, audio, content, image,
};

/// The MIME type of sound that comes in pieces: 16-bit little-endian mono at 24 kHz.
const STREAMED_AUDIO: &str = "audio/pcm";

/// Adds events up.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    answer: ConverseResponse,
    drafts: BTreeMap<i32, Draft>,
    completed: Option<Completed>,
}

/// One of the answers in the making.
#[derive(Debug, Default)]
struct Draft {
    content: Vec<Content>,
    reasoning: String,
    audio: BytesMut,
    audio_file: Option<AudioFile>,
    tool_calls: BTreeMap<i32, ToolCall>,
    annotations: Vec<Annotation>,
    logprobs: Option<Logprobs>,
}

impl Fold {
    /// Whether the last event has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.completed.is_some()
    }

    /// Takes the next event.
    pub(crate) fn add(&mut self, event: &ConverseStreamResponse) {
        match &event.event {
            Some(Event::Started(started)) => {
                self.answer.model.clone_from(&started.model);
                let upstream = &started.upstream_request_id;
                self.answer.upstream_request_id.clone_from(upstream);
                self.answer.request_id.clone_from(&started.request_id);
            }
            Some(Event::Delta(delta)) => self.add_delta(delta),
            Some(Event::Completed(completed)) => self.completed = Some(completed.clone()),
            // Unset is an event of a newer schema.
            Some(Event::Heartbeat(_)) | None => {}
        }
    }

    fn add_delta(&mut self, delta: &Delta) {
        let Some(part) = &delta.part else {
            return;
        };
        if let Part::SearchInfo(info) = part {
            self.answer.search_info = Some(info.clone());
            return;
        }
        let draft = self.drafts.entry(delta.choice_index).or_default();
        match part {
            Part::Text(text) => draft.add_text(text),
            Part::ReasoningText(text) => draft.reasoning.push_str(text),
            Part::Audio(bytes) => draft.audio.extend_from_slice(bytes),
            Part::ToolCall(call) => draft.add_tool_call(call),
            Part::Annotation(annotation) => draft.annotations.push(annotation.clone()),
            Part::ImageUri(uri) => draft.add(content::Kind::Image(Image {
                source: Some(image::Source::Uri(uri.clone())),
                ..Image::default()
            })),
            Part::AudioFile(file) => draft.audio_file = Some(file.clone()),
            Part::Extra(extra) => draft.add_extra(extra),
            Part::Logprobs(next) => {
                let logprobs = draft.logprobs.get_or_insert_default();
                logprobs.content.extend_from_slice(&next.content);
            }
            Part::SearchInfo(_) => {}
        }
    }

    /// The answer.
    pub(crate) fn finish(self) -> ConverseResponse {
        let Self {
            mut answer,
            mut drafts,
            completed,
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
            }
            answer.choices.push(choice);
        }
        answer.usage = completed.usage;
        answer.timing = completed.timing;
        answer.extra_output = completed.extra_output;
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

    fn add_text(&mut self, text: &str) {
        match self.content.last_mut().map(|part| &mut part.kind) {
            Some(Some(content::Kind::Text(before))) => before.push_str(text),
            _ => self.add(content::Kind::Text(text.to_owned())),
        }
    }

    fn add_extra(&mut self, extra: &prost_types::Struct) {
        if self.content.is_empty() {
            self.content.push(Content::default());
        }
        if let Some(part) = self.content.last_mut() {
            let there = part.extra.get_or_insert_default();
            let fields = extra.fields.iter();
            there
                .fields
                .extend(fields.map(|(key, value)| (key.clone(), value.clone())));
        }
    }

    fn add_tool_call(&mut self, next: &ToolCall) {
        let call = self
            .tool_calls
            .entry(next.index)
            .or_insert_with(|| ToolCall {
                index: next.index,
                ..ToolCall::default()
            });
        for (there, new) in [
            (&mut call.id, &next.id),
            (&mut call.r#type, &next.r#type),
            (&mut call.name, &next.name),
        ] {
            if there.is_empty() {
                there.clone_from(new);
            }
        }
        call.arguments.push_str(&next.arguments);
    }

    fn finish(mut self, index: i32) -> Choice {
        let file = self.audio_file.take();
        let source = match &file {
            _ if !self.audio.is_empty() => Some(audio::Source::Data(self.audio.split().freeze())),
            Some(file) => Some(audio::Source::Uri(file.uri.clone())),
            None => None,
        };
        if let Some(source) = source {
            let mime_type = match source {
                audio::Source::Data(_) => STREAMED_AUDIO.to_owned(),
                audio::Source::Uri(_) => String::new(),
            };
            let source = Some(source);
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
                ..Message::default()
            }),
            logprobs: self.logprobs,
            ..Choice::default()
        }
    }
}
