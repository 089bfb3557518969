//! The types of OpenAI-style responses, and how they are read.
//!
//! A body is read strictly first, which borrows its texts. One that deviates (another type, a
//! duplicate key) is read as a tree, by the rules of `dashscope/lenient.rs`.

use serde_json::value::RawValue;

use crate::chat::document::{Document, Object};
use crate::chat::warning::Warning;
use crate::dashscope::answer_json::{
    Annotation, Content, Function, Logprobs, Message, Raw, ToolCall,
};
use crate::dashscope::json_fields::Fields;
use crate::dashscope::json_text::{Quoted, Text};
use crate::dashscope::lenient;
use crate::dashscope::strict_object::{keyed, object, read_object};

/// The body of a response, or the data of one event.
#[derive(Debug, Default)]
pub(super) struct Completion<'a> {
    pub(super) id: Option<Text<'a>>,
    object: Option<Text<'a>>,
    created: Option<Text<'a>>,
    model: Option<Text<'a>>,
    /// Random characters of OpenAI's, which hide the length of an event.
    obfuscation: Option<Text<'a>>,
    pub(super) choices: Option<Vec<CompletionChoice<'a>>>,
    pub(super) usage: Option<Raw<'a>>,
    pub(super) error: Option<&'a RawValue>,
    /// Of vLLM-Omni: what the texts of the event are, `text` or `audio`.
    pub(super) modality: Option<Text<'a>>,
    /// Of errors outside `error`.
    pub(super) code: Option<Text<'a>>,
    /// Of errors outside `error`.
    pub(super) message: Option<Text<'a>>,
    /// DashScope's, in errors of its compatible mode.
    pub(super) request_id: Option<Text<'a>>,
    pub(super) extra: Object,
    pub(super) warnings: Vec<Warning>,
}

/// One of `choices`.
#[derive(Debug, Default)]
pub(super) struct CompletionChoice<'a> {
    pub(super) index: Option<i32>,
    pub(super) finish_reason: Option<Text<'a>>,
    /// What is new in an event.
    pub(super) delta: Option<CompletionMessage<'a>>,
    /// The whole message.
    pub(super) message: Option<CompletionMessage<'a>>,
    pub(super) logprobs: Option<Logprobs<'a>>,
    pub(super) extra: Object,
}

/// `message` or `delta`.
#[derive(Debug, Default)]
pub(super) struct CompletionMessage<'a> {
    pub(super) role: Option<Text<'a>>,
    pub(super) content: Option<Content<'a>>,
    pub(super) reasoning_content: Option<Text<'a>>,
    /// As newer servers name `reasoning_content`.
    pub(super) reasoning: Option<Text<'a>>,
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    pub(super) annotations: Option<Vec<Annotation<'a>>>,
    pub(super) audio: Option<CompletionAudio<'a>>,
    /// The only tool call, as older servers send it.
    pub(super) function_call: Option<Function<'a>>,
    pub(super) extra: Object,
}

/// `audio` of a message.
#[derive(Debug, Default)]
pub(super) struct CompletionAudio<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) data: Option<Quoted<'a>>,
    pub(super) expires_at: Option<i64>,
    /// The words that are spoken.
    pub(super) transcript: Option<Text<'a>>,
    pub(super) extra: Object,
}

keyed!(Completion, "a completion", {
    "id" => id,
    "object" => object,
    "created" => created,
    "model" => model,
    "obfuscation" => obfuscation,
    "usage" => usage,
    "error" => error,
    "modality" => modality,
    "code" => code,
    "message" => message,
    "request_id" => request_id;
    list "choices" => choices
});

keyed!(CompletionChoice, "a choice", {
    "index" => index,
    "finish_reason" => finish_reason;
    object "delta" => delta, "message" => message, "logprobs" => logprobs
});

keyed!(CompletionMessage, "a message", {
    "role" => role,
    "content" => content,
    "reasoning_content" => reasoning_content,
    "reasoning" => reasoning,
    "tool_calls" => tool_calls,
    "annotations" => annotations;
    object "audio" => audio, "function_call" => function_call
});

keyed!(CompletionAudio, "an audio object", {
    "id" => id,
    "data" => data,
    "expires_at" => expires_at,
    "transcript" => transcript
});

object!(CompletionChoice);

/// Reads a body. `None` if it is not a JSON object.
pub(super) fn read(json: &str) -> Option<Completion<'_>> {
    match read_object::<Completion<'_>>(json) {
        Ok(completion) if !completion.is_nested() => Some(completion),
        Ok(_) | Err(_) => read_tree(json),
    }
}

impl Completion<'_> {
    fn is_nested(&self) -> bool {
        let choices = self.choices.iter().flatten();
        let mut logprobs = choices.filter_map(|choice| choice.logprobs.as_ref());
        logprobs.any(Logprobs::is_nested)
    }
}

fn read_tree(json: &str) -> Option<Completion<'_>> {
    let body = lenient::body(json)?;
    let mut fields = Fields::from(body.extra);
    let choices = fields.list("choices", choice);
    for known in ["object", "created", "model", "obfuscation"] {
        drop(fields.take(known));
    }
    Some(Completion {
        id: fields.text("id"),
        choices,
        usage: body.usage,
        error: body.error,
        modality: fields.text("modality"),
        code: body.code,
        message: body.message,
        request_id: body.request_id,
        extra: fields.rest(),
        warnings: body.warnings,
        ..Completion::default()
    })
}

fn choice(document: Document) -> Result<CompletionChoice<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(CompletionChoice {
        index: fields.whole("index"),
        finish_reason: fields.text("finish_reason"),
        delta: fields.with("delta", message),
        message: fields.with("message", message),
        logprobs: fields.with("logprobs", lenient::logprobs),
        extra: fields.rest(),
    })
}

fn message(document: Document) -> Result<CompletionMessage<'static>, Document> {
    if let Document::String(_) = document {
        return lenient::message(document).map(CompletionMessage::from);
    }
    let mut fields = Fields::of(document)?;
    let audio = fields.with("audio", audio);
    let reasoning = fields.text("reasoning");
    let function_call = fields.with("function_call", lenient::function);
    let rest = lenient::message(Document::Object(fields.rest()))?;
    Ok(CompletionMessage {
        audio,
        reasoning,
        function_call,
        ..CompletionMessage::from(rest)
    })
}

fn audio(document: Document) -> Result<CompletionAudio<'static>, Document> {
    let mut fields = Fields::of(document)?;
    Ok(CompletionAudio {
        id: fields.text("id"),
        data: fields.with("data", lenient::quoted),
        expires_at: fields.whole("expires_at"),
        transcript: fields.text("transcript"),
        extra: fields.rest(),
    })
}

impl<'a> From<Message<'a>> for CompletionMessage<'a> {
    fn from(message: Message<'a>) -> Self {
        Self {
            role: message.role,
            content: message.content,
            reasoning_content: message.reasoning_content,
            reasoning: None,
            tool_calls: message.tool_calls,
            annotations: message.annotations,
            audio: None,
            function_call: None,
            extra: message.extra,
        }
    }
}
