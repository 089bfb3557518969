//! Converts OpenAI-style responses to the form that `dashscope/reply.rs` decodes.
//!
//! | sent by the server | becomes |
//! |---|---|
//! | `delta`, or `message` of a whole answer | `message` |
//! | `audio{data}` of a message (vLLM-Omni, SGLang-Omni, DashScope) | a part with audio |
//! | `content` of an event with `"modality":"audio"` (vLLM-Omni) | a part with audio |
//! | a choice that was not requested and has audio (older vLLM-Omni) | a part of the first choice |
//! | `audio{transcript}` | text, if the answer has no other text |
//! | `reasoning` | `reasoning_content` |
//! | `object`, `created`, `model` | dropped: they describe the response, not the answer |
//!
//! The header of a WAVE file before the samples is removed, in each event that has one.

use super::answer_json::{Completion, CompletionAudio, CompletionChoice, CompletionMessage, read};
use crate::chat::document::Document;
use crate::dashscope::answer_json::{Audio, Body, Choice, Content, Message, Output, Part};
use crate::dashscope::body_reader::BodyReader;
use crate::dashscope::json_text::{Quoted, Text};

/// The modality of events whose content is audio.
const AUDIO: &str = "audio";

/// Where the text of an answer comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TextSource {
    #[default]
    Unknown,
    Content,
    Transcript,
}

/// Reads the bodies of one answer.
#[derive(Debug)]
pub(super) struct CompletionReader {
    /// The number of requested choices.
    choices: usize,
    /// Whether the answer may have audio.
    has_audio: bool,
    text: TextSource,
}

impl CompletionReader {
    /// The reader of an answer with this many choices.
    pub(super) fn new(choices: usize, has_audio: bool) -> Self {
        Self {
            choices,
            has_audio,
            text: TextSource::Unknown,
        }
    }

    fn convert<'a>(&mut self, completion: Completion<'a>) -> Body<'a> {
        let is_audio = Text::or_empty(&completion.modality) == AUDIO;
        let output = completion.choices.filter(|choices| !choices.is_empty());
        let output = output.map(|choices| {
            let choices = choices.into_iter();
            let choices = choices
                .map(|choice| self.choice(choice, is_audio))
                .collect();
            Output {
                choices: Some(self.joined(choices)),
                ..Output::default()
            }
        });
        Body {
            request_id: completion.request_id.or(completion.id),
            code: completion.code,
            message: completion.message,
            error: completion.error,
            output,
            usage: completion.usage,
            extra: completion.extra,
            warnings: completion.warnings,
        }
    }

    fn choice<'a>(&mut self, choice: CompletionChoice<'a>, is_audio: bool) -> Choice<'a> {
        let message = choice.delta.or(choice.message);
        Choice {
            index: choice.index,
            finish_reason: choice.finish_reason,
            message: message.map(|message| self.message(message, is_audio)),
            logprobs: choice.logprobs,
            extra: choice.extra,
        }
    }

    fn message<'a>(&mut self, message: CompletionMessage<'a>, is_audio: bool) -> Message<'a> {
        let reasoning = message.reasoning_content.or(message.reasoning);
        let mut content = message.content;
        let mut parts = Vec::new();
        if is_audio && let Some(Content::Text(Text(data))) = content {
            content = None;
            parts.push(audio_part(CompletionAudio {
                data: Some(Quoted(data)),
                ..CompletionAudio::default()
            }));
        }
        if has_text(content.as_ref()) {
            self.text = TextSource::Content;
        }
        if let Some(mut audio) = message.audio {
            if let Some(transcript) = audio.transcript.take() {
                self.transcript(transcript, &mut content, &mut audio);
            }
            parts.push(audio_part(audio));
        }
        Message {
            role: message.role,
            content: joined_parts(content, parts),
            reasoning_content: reasoning,
            tool_calls: message.tool_calls,
            annotations: message.annotations,
            extra: message.extra,
        }
    }

    /// Handles the words of audio: the text of an answer that has no other, and a key of the audio
    /// otherwise.
    fn transcript<'a>(
        &mut self,
        transcript: Text<'a>,
        content: &mut Option<Content<'a>>,
        audio: &mut CompletionAudio<'a>,
    ) {
        if transcript.0.is_empty() {
            return;
        }
        if self.text == TextSource::Content {
            let text = Document::String(transcript.0.into_owned());
            audio.extra.0.push(("transcript".to_owned(), text));
        } else {
            self.text = TextSource::Transcript;
            *content = Some(Content::Text(transcript));
        }
    }

    /// Moves the content of choices that were not requested to the first one: servers send the
    /// audio of an answer as one.
    fn joined<'a>(&self, mut choices: Vec<Choice<'a>>) -> Vec<Choice<'a>> {
        let is_requested = |index: Option<i32>| {
            let index = index.and_then(|index| usize::try_from(index).ok());
            index.is_none_or(|index| index < self.choices.max(1))
        };
        let is_audio_alone = |choice: &Choice<'_>| {
            !is_requested(choice.index) && choice.message.as_ref().is_some_and(has_audio)
        };
        if !choices.iter().any(is_audio_alone) {
            return choices;
        }
        let (more, mut kept): (Vec<_>, Vec<_>) = choices.drain(..).partition(is_audio_alone);
        for mut next in more {
            let Some(first) = kept.first_mut() else {
                next.index = Some(0);
                kept.push(next);
                continue;
            };
            let parts = next.message.map(|message| parts_of(message.content));
            let message = first.message.get_or_insert_default();
            message.content = joined_parts(message.content.take(), parts.unwrap_or_default());
            first.finish_reason = first.finish_reason.take().or(next.finish_reason);
        }
        kept
    }
}

impl BodyReader for CompletionReader {
    fn read<'a>(&mut self, json: &'a str) -> Option<Body<'a>> {
        read(json).map(|completion| self.convert(completion))
    }

    fn events_are_alike(&self) -> bool {
        // Words may come as content or with the audio, which depends on earlier events.
        !self.has_audio
    }
}

fn has_text(content: Option<&Content<'_>>) -> bool {
    match content {
        Some(Content::Text(Text(text))) => !text.is_empty(),
        Some(Content::Parts(parts)) => parts
            .iter()
            .any(|part| !Text::or_empty(&part.text).is_empty()),
        None => false,
    }
}

fn has_audio(message: &Message<'_>) -> bool {
    match &message.content {
        Some(Content::Parts(parts)) => parts.iter().any(|part| part.audio.is_some()),
        Some(Content::Text(_)) | None => false,
    }
}

fn audio_part(audio: CompletionAudio<'_>) -> Part<'_> {
    Part {
        audio: Some(Audio {
            data: audio.data,
            url: None,
            id: audio.id,
            expires_at: audio.expires_at,
            extra: audio.extra,
            may_have_header: true,
        }),
        ..Part::default()
    }
}

/// The parts of a content. The type of a part is implied by its keys.
fn parts_of(content: Option<Content<'_>>) -> Vec<Part<'_>> {
    match content {
        Some(Content::Text(text)) => vec![Part {
            text: Some(text),
            ..Part::default()
        }],
        Some(Content::Parts(mut parts)) => {
            for part in &mut parts {
                part.extra.0.retain(|(key, _)| key != "type");
            }
            parts
        }
        None => Vec::new(),
    }
}

/// A content with these parts at its end. A text alone stays as it is.
fn joined_parts<'a>(content: Option<Content<'a>>, more: Vec<Part<'a>>) -> Option<Content<'a>> {
    match (content, more.is_empty()) {
        (Some(Content::Parts(parts)), true) => {
            Some(Content::Parts(parts_of(Some(Content::Parts(parts)))))
        }
        (content, true) => content,
        (content, false) => {
            let mut parts = parts_of(content);
            parts.extend(more);
            Some(Content::Parts(parts))
        }
    }
}
