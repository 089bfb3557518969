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
//! | `function_call` | a tool call |
//! | `language English<asr_text>` before a text (`transcript.rs`) | an annotation |
//! | finish reason `abort` or `error` (vLLM, SGLang) | an error, after the content of the event |
//! | several choices of one index in an event | one choice |
//! | `object`, `created`, `model` | dropped: they describe the response, not the answer |
//!
//! In the stream of an answer with several modalities each may have a finish reason, before the
//! last content. So these are held back until nothing more can follow: until `[DONE]`, the event
//! with the counts alone, or the end of the body.
//!
//! The header of a WAVE file before the samples is removed, in each event that has one.

use std::borrow::Cow;

use super::answer_images::take_images;
use super::answer_json::{Completion, CompletionAudio, CompletionChoice, CompletionMessage, read};
use super::answer_parts::{audio_part, has_media, has_text, join, joined_parts};
use super::transcript::LanguagePrefix;
use crate::chat::document::Document;
use crate::dashscope::answer_json::{Body, Choice, Content, Message, Output, Raw, ToolCall};
use crate::dashscope::body_reader::BodyReader;
use crate::dashscope::json_text::{Quoted, Text};
use crate::error::{Error, Reason, Sent};

/// The modality of events whose content is audio.
const AUDIO: &str = "audio";

/// The finish reason of most answers.
const STOP: &str = "stop";

/// The finish reason of answers with tool calls.
const TOOL_CALLS: &str = "tool_calls";

/// The finish reason of answers with `function_call`.
const FUNCTION_CALL: &str = "function_call";

/// The finish reason of vLLM and SGLang if the server ended the generation: its operator, or the
/// loss of a worker.
const ABORT: &str = "abort";

/// The finish reason of vLLM after an internal error during the generation.
const ERROR: &str = "error";

/// The type of tool calls.
const FUNCTION: &str = "function";

/// The most finish reasons that are held back: as many as an answer has choices.
const MAX_HELD: usize = 64;

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
    /// Whether the answer may have more modalities than text.
    has_audio: bool,
    text: TextSource,
    /// The indices and finish reasons of choices that more may follow.
    held: Vec<(i32, String)>,
    /// The language before the texts.
    language: LanguagePrefix,
    /// The error that the latest body ended the answer with.
    failure: Option<Error>,
}

impl CompletionReader {
    /// The reader of an answer with this many choices.
    pub(super) fn new(choices: usize, has_audio: bool, language: LanguagePrefix) -> Self {
        Self {
            choices,
            has_audio,
            text: TextSource::Unknown,
            held: Vec::new(),
            language,
            failure: None,
        }
    }

    fn convert<'a>(&mut self, completion: Completion<'a>) -> Body<'a> {
        let is_audio = Text::or_empty(&completion.modality) == AUDIO;
        if completion.modality.is_some() {
            self.has_audio = true;
            self.language.exclude();
        }
        let choices = completion.choices.filter(|choices| !choices.is_empty());
        let usage = completion.usage;
        let usage = usage.filter(|Raw(counts)| is_counted(counts, is_audio));
        let choices = match choices {
            Some(choices) => {
                let choices = choices.into_iter().enumerate();
                let choices = choices.map(|(at, choice)| self.choice(at, choice, is_audio));
                let choices = choices.collect();
                Some(self.joined(choices))
            }
            // The counts alone: nothing more follows.
            None if usage.as_ref().is_some_and(|Raw(counts)| *counts != "null") => self.ends(),
            None => None,
        };
        let output = choices.map(|choices| Output {
            choices: Some(choices),
            ..Output::default()
        });
        Body {
            request_id: completion.request_id.or(completion.id),
            code: completion.code,
            message: completion.message,
            error: completion.error,
            output,
            usage,
            extra: completion.extra,
            warnings: completion.warnings,
        }
    }

    fn choice<'a>(
        &mut self,
        at: usize,
        choice: CompletionChoice<'a>,
        is_audio: bool,
    ) -> Choice<'a> {
        let is_delta = choice.message.is_none();
        let message = choice.delta.or(choice.message);
        let mut finish_reason = choice.finish_reason;
        let index = choice.index.or_else(|| i32::try_from(at).ok());
        let index = index.unwrap_or_default();
        let is_end = !matches!(Text::or_empty(&finish_reason), "" | "null");
        let message = message.map(|message| self.message(message, is_audio));
        let message = self.language.remove(index, message, is_end);
        if let Some(failure) = failure(Text::or_empty(&finish_reason)) {
            self.failure = Some(failure);
            finish_reason = None;
        }
        if Text::or_empty(&finish_reason) == FUNCTION_CALL {
            finish_reason = Some(Text(Cow::Borrowed(TOOL_CALLS)));
        }
        if is_delta && self.has_audio {
            finish_reason = self.hold(index, finish_reason);
        }
        Choice {
            index: choice.index,
            finish_reason,
            message,
            logprobs: choice.logprobs,
            extra: choice.extra,
        }
    }

    /// Holds a finish reason back. The first of a choice applies, unless it is the usual one.
    fn hold<'a>(&mut self, index: i32, reason: Option<Text<'a>>) -> Option<Text<'a>> {
        if matches!(Text::or_empty(&reason), "" | "null") {
            return reason;
        }
        let index = match self.is_requested(Some(index)) {
            true => index,
            false => 0,
        };
        let is_full = self.held.len() >= MAX_HELD;
        let known = self.held.iter_mut().find(|(known, _)| *known == index);
        match (known, reason) {
            (Some((_, first)), Some(Text(next))) if first == STOP => *first = next.into_owned(),
            (Some(_), _) => {}
            (None, reason) if is_full => return reason,
            (None, reason) => {
                let reason = reason.map(|Text(reason)| (index, reason.into_owned()));
                self.held.extend(reason);
            }
        }
        None
    }

    /// The choices whose finish reasons were held back, with nothing else.
    fn ends<'a>(&mut self) -> Option<Vec<Choice<'a>>> {
        let held = std::mem::take(&mut self.held).into_iter();
        let ends = held.map(|(index, reason)| Choice {
            index: Some(index),
            finish_reason: Some(Text(Cow::Owned(reason))),
            ..Choice::default()
        });
        let ends: Vec<_> = ends.collect();
        (!ends.is_empty()).then_some(ends)
    }

    fn message<'a>(&mut self, message: CompletionMessage<'a>, is_audio: bool) -> Message<'a> {
        let is_empty = |text: &Text<'_>| text.0.is_empty();
        let reasoning = match (message.reasoning_content, message.reasoning) {
            (Some(first), Some(second)) if is_empty(&first) => Some(second),
            (first, second) => first.or(second),
        };
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
        let mut extra = message.extra;
        parts.extend(take_images(&mut extra));
        let mut tool_calls = message.tool_calls;
        if let Some(function) = message.function_call {
            tool_calls.get_or_insert_default().push(ToolCall {
                index: Some(0),
                kind: Some(Text(Cow::Borrowed(FUNCTION))),
                function: Some(function),
                ..ToolCall::default()
            });
        }
        Message {
            role: message.role,
            content: joined_parts(content, parts),
            reasoning_content: reasoning,
            tool_calls,
            annotations: message.annotations,
            extra,
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

    fn is_requested(&self, index: Option<i32>) -> bool {
        let index = index.and_then(|index| usize::try_from(index).ok());
        index.is_none_or(|index| index < self.choices.max(1))
    }

    /// Moves the content of choices that were not requested, or have the index of another, to the
    /// one that it belongs to: servers send the audio or the image of an answer as a choice.
    fn joined<'a>(&self, choices: Vec<Choice<'a>>) -> Vec<Choice<'a>> {
        if choices.len() == 1 && choices.iter().all(|choice| self.is_requested(choice.index)) {
            return choices;
        }
        let mut kept: Vec<Choice<'a>> = Vec::with_capacity(choices.len());
        for mut next in choices {
            let is_media =
                !self.is_requested(next.index) && next.message.as_ref().is_some_and(has_media);
            let same = |one: &Choice<'_>| one.index.is_some() && one.index == next.index;
            let at = kept.iter().position(same).or(is_media.then_some(0));
            match at.and_then(|at| kept.get_mut(at)) {
                Some(first) => join(first, next),
                None => {
                    if is_media {
                        next.index = Some(0);
                    }
                    kept.push(next);
                }
            }
        }
        kept
    }
}

/// The error of a finish reason with which a server reports that the answer is incomplete.
fn failure(finish_reason: &str) -> Option<Error> {
    let (reason, message) = match finish_reason {
        ABORT => (
            Reason::StreamTruncated,
            "DashScope ended the answer before it was complete: finish reason abort",
        ),
        ERROR => (
            Reason::UpstreamInternal,
            "DashScope failed during the answer: finish reason error",
        ),
        _ => return None,
    };
    Some(Error::new(reason, message).with_sent(Sent::Begun))
}

/// Whether anything was counted. Servers without counts send 0 for each, and vLLM-Omni sends 0 for
/// the output with audio, which it does not count.
fn is_counted(counts: &str, is_audio: bool) -> bool {
    #[derive(serde::Deserialize)]
    struct Counts {
        prompt_tokens: Option<u64>,
        completion_tokens: Option<u64>,
    }
    let counts = serde_json::from_str::<Counts>(counts).ok();
    counts.is_none_or(|counts| {
        let is_unknown = is_audio || counts.prompt_tokens == Some(0);
        !(is_unknown && counts.completion_tokens == Some(0))
    })
}

impl BodyReader for CompletionReader {
    fn read<'a>(&mut self, json: &'a str) -> Option<Body<'a>> {
        read(json).map(|completion| self.convert(completion))
    }

    fn holds_ends(&self) -> bool {
        !self.held.is_empty()
    }

    fn events_are_alike(&self) -> bool {
        // Words may come as content or with the audio, which depends on earlier events.
        !self.has_audio && self.language.is_known()
    }

    fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn release(&mut self) -> Option<Body<'static>> {
        let choices = self.ends()?;
        Some(Body {
            output: Some(Output {
                choices: Some(choices),
                ..Output::default()
            }),
            ..Body::default()
        })
    }
}
