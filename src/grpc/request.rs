//! Converts a request message to a [`Call`]. An error has the path of its field and how to fix it,
//! and all errors of a request are reported together.

use std::collections::HashSet;
use std::fmt::Arguments;
use std::sync::Arc;

use crate::chat::call::{Call, Delivery, Joining, Prompt, Unread};
use crate::chat::document::{Document, Object};
use crate::chat::message::{Role, ToolCall, Turn};
use crate::error::Error;

use super::call_context::{CallContext, is_request_id};
use super::config::GrpcConfig;
use super::content::part;
use super::field_violations::FieldViolations;
use super::options;
use super::pb::{self, content};
use super::stored_request;
use super::struct_value;
use super::tools;

/// A request of any method.
pub struct Ask {
    /// The conversation.
    pub conversation: Option<pb::Conversation>,
    /// The generation options.
    pub options: Option<Box<pb::GenerationOptions>>,
    /// The caller's request id, or empty.
    pub request_id: String,
    /// The latest turn of a stored conversation that the caller knows.
    pub expected_turn: Option<i32>,
    /// Which part of its history is sent.
    pub history: Option<pb::HistoryPolicy>,
    /// Whether the model is that of the stored conversation.
    pub uses_model: bool,
    /// The delivery of the answer.
    pub delivery: Delivery,
    /// The sequence number of the last event that was received, or 0.
    pub after_sequence: i32,
    /// Whether it goes on without a reader.
    pub detached: bool,
    /// Whether it waits for a reader whose connection was lost.
    pub resumable: bool,
}

/// The call of a request.
pub fn call(ask: Ask, context: &CallContext, settings: &GrpcConfig) -> Result<Arc<Call>, Error> {
    let mut faults = FieldViolations::default();
    let named = !ask.request_id.is_empty();
    if named && !is_request_id(&ask.request_id) {
        faults.add(
            "request_id",
            "must be at most 128 printable ASCII characters without spaces",
        );
    }
    let joining = joining(&ask, &mut faults);
    let Some(conversation) = ask.conversation else {
        return Err(Error::field(
            "conversation",
            "is missing; send a model and messages",
        ));
    };
    let turn = (ask.expected_turn, ask.history, ask.uses_model);
    let stored = stored_request::stored(&conversation.name, turn, &mut faults);
    stored_request::check_fields(&conversation, &mut faults);
    let prompt = prompt(conversation, *ask.options.unwrap_or_default(), &mut faults);
    faults.check()?;

    let default = match ask.delivery {
        Delivery::Whole => settings.unary_timeout,
        Delivery::Stream => settings.stream_timeout,
    };
    Ok(Arc::new(Call {
        request_id: if named {
            ask.request_id.into()
        } else {
            Arc::clone(&context.request_id)
        },
        // A turn is made once, also if its caller chose no request id.
        named: named || stored.is_some(),
        method: context.method_name(),
        caller: context.identity.caller,
        share: context.identity.share,
        tenant: context.identity.tenant,
        caller_name: context.identity.name().cloned(),
        delivery: ask.delivery,
        timeout: context.timeout(default, settings),
        prompt,
        passing: context.passing.clone(),
        stored,
        warnings: Vec::new(),
        joining,
    }))
}

/// How a call with a request id is joined.
fn joining(ask: &Ask, faults: &mut FieldViolations) -> Joining {
    let named = !ask.request_id.is_empty();
    if ask.detached && !named {
        faults.add(
            "detached",
            "needs a request_id, by which the answer is fetched",
        );
    }
    if ask.resumable && !named {
        faults.add("resumable", "needs a request_id, by which it is resumed");
    }
    if ask.after_sequence != 0 && !named {
        faults.add(
            "after_sequence",
            "needs the request_id of the call to resume",
        );
    }
    let after = usize::try_from(ask.after_sequence);
    if after.is_err() {
        faults.add("after_sequence", "must not be negative");
    }
    Joining {
        after: after.unwrap_or_default(),
        unread: match (ask.detached, ask.resumable) {
            (true, _) => Unread::Detached,
            (false, true) => Unread::AwaitsReader,
            (false, false) => Unread::Ends,
        },
    }
}

fn prompt(
    conversation: pb::Conversation,
    options: pb::GenerationOptions,
    faults: &mut FieldViolations,
) -> Prompt {
    if conversation.model.is_empty() {
        faults.add(
            "conversation.model",
            "is empty; name a model, for example qwen-audio-turbo",
        );
    } else if conversation.model.chars().any(char::is_control) {
        faults.add("conversation.model", "must not contain control characters");
    }
    if options.speech.is_some() {
        check_speech(&conversation.messages, faults);
    } else if conversation.messages.is_empty() {
        faults.add(
            "conversation.messages",
            "is empty; send at least one message of ROLE_USER",
        );
    }
    let mut taken = Vec::new();
    if !conversation.tools.is_empty() {
        taken.push("tools");
    }
    if conversation.tool_choice.is_some() {
        taken.push("tool_choice");
    }
    let turns = conversation.messages.into_iter().enumerate();
    let tools = conversation.tools.into_iter().enumerate();
    Prompt {
        model: conversation.model.into(),
        turns: turns
            .filter_map(|(i, message)| turn(i, message, faults))
            .collect(),
        tools: tools
            .filter_map(|(i, tool)| {
                tools::tool(format_args!("conversation.tools[{i}]"), tool, faults)
            })
            .collect(),
        tool_choice: conversation
            .tool_choice
            .and_then(|choice| tools::tool_choice("conversation.tool_choice", choice, faults)),
        options: Box::new(options::options(options, taken, faults)),
    }
}

/// The violation of a field that is not allowed with a text to speak.
const NOT_SPOKEN: &str = "is not sent with options.speech, which takes a text alone; leave it out";

fn is_set(fields: Option<&prost_types::Struct>) -> bool {
    fields.is_some_and(|fields| !fields.fields.is_empty())
}

fn check_speech(messages: &[pb::Message], faults: &mut FieldViolations) {
    for (i, message) in messages.iter().enumerate() {
        let path = format_args!("conversation.messages[{i}]");
        let parts = message.content.iter().enumerate();
        for (j, part) in parts {
            for (field, set) in [
                ("extra", is_set(part.extra.as_ref())),
                ("cache_control", part.cache_control.is_some()),
            ] {
                if set {
                    faults.add(format_args!("{path}.content[{j}].{field}"), NOT_SPOKEN);
                }
            }
        }
        for (field, set) in [
            ("extra", is_set(message.extra.as_ref())),
            ("reasoning_text", !message.reasoning_text.is_empty()),
            ("tool_calls", !message.tool_calls.is_empty()),
            ("tool_call_id", !message.tool_call_id.is_empty()),
        ] {
            if set {
                faults.add(format_args!("{path}.{field}"), NOT_SPOKEN);
            }
        }
    }
    let is_text = |content: &pb::Content| matches!(content.kind, Some(content::Kind::Text(_)));
    let fits = match messages {
        [] => true,
        [message] => {
            message.role() == pb::Role::User
                && matches!(message.content.as_slice(), [content] if is_text(content))
        }
        _ => false,
    };
    if !fits {
        let description = "with options.speech, send one message of ROLE_USER with one text part: \
                           the text to speak";
        faults.add("conversation.messages", description);
    }
}

fn turn(i: usize, mut message: pb::Message, faults: &mut FieldViolations) -> Option<Turn> {
    let path = format_args!("conversation.messages[{i}]");
    let role = match pb::Role::try_from(message.role) {
        Ok(pb::Role::System) => Some(Role::System),
        Ok(pb::Role::User) => Some(Role::User),
        Ok(pb::Role::Assistant) => Some(Role::Assistant),
        Ok(pb::Role::Tool) => Some(Role::Tool),
        Ok(pb::Role::Unspecified) | Err(_) => {
            let known = "ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL";
            faults.add(format_args!("{path}.role"), format!("must be {known}"));
            None
        }
    };
    let extra = message.extra.take();
    let extra = extra.map(struct_value::object).unwrap_or_default();
    // What an answer had under these keys, in an unknown form, is sent back.
    let has_other = |key: &str| {
        extra
            .value(key)
            .is_some_and(|value| *value != Document::Null)
    };
    // The content of an answer is DashScope's own, and is sent back unchanged.
    let answered = role == Some(Role::Assistant);
    let has_content = !message.content.is_empty() || has_other("content");
    if !answered && !has_content && message.tool_calls.is_empty() && !has_other("tool_calls") {
        faults.add(
            format_args!("{path}.content"),
            "is empty; send at least one part",
        );
    }
    check_extra(path, &message, &extra, answered, faults);
    let calls = message.tool_calls.into_iter().enumerate();
    let calls = calls.map(|(j, call)| {
        let path = format_args!("{path}.tool_calls[{j}]");
        tool_call(path, call, answered, faults)
    });
    let mut tool_calls: Vec<ToolCall> = calls.collect();
    number(&mut tool_calls);

    let parts = message.content.into_iter().enumerate();
    let parts = parts.filter_map(|(j, content)| {
        part(
            format_args!("{path}.content[{j}]"),
            content,
            answered,
            faults,
        )
    });
    Some(Turn {
        parts: parts.collect(),
        reasoning: message.reasoning_text,
        tool_calls,
        tool_call_id: message.tool_call_id,
        // Annotations belong to answers; DashScope accepts none.
        annotations: Vec::new(),
        extra,
        role: role?,
    })
}

/// Checks that no key of `extra` has the name of a field, and that its numbers can be sent.
fn check_extra(
    path: Arguments<'_>,
    message: &pb::Message,
    extra: &Object,
    answered: bool,
    faults: &mut FieldViolations,
) {
    if extra.is_empty() {
        return;
    }
    // Parts and calls of an unknown form are in a list, and are appended to the others.
    let is_rest = |key: &str| answered && matches!(extra.value(key), Some(Document::List(_)));
    let has_content = !message.content.is_empty();
    let has_calls = !message.tool_calls.is_empty();
    let mut taken = Vec::new();
    for (key, set) in [
        ("role", !answered),
        ("content", has_content && !is_rest("content")),
        ("reasoning_content", !message.reasoning_text.is_empty()),
        ("tool_calls", has_calls && !is_rest("tool_calls")),
        ("tool_call_id", !message.tool_call_id.is_empty()),
    ] {
        if set {
            taken.push(key);
        }
    }
    faults.no_overlap(format_args!("{path}.extra"), extra, &taken);
    if !answered {
        faults.numbers(format_args!("{path}.extra"), extra);
    }
}

/// Numbers calls by position if two have the same index, which means that the index was omitted.
fn number(calls: &mut [ToolCall]) {
    let mut indices = HashSet::new();
    if calls.iter().all(|call| indices.insert(call.index)) {
        return;
    }
    for (at, call) in calls.iter_mut().enumerate() {
        call.index = i32::try_from(at).unwrap_or(i32::MAX);
    }
}

fn tool_call(
    path: Arguments<'_>,
    call: pb::ToolCall,
    answered: bool,
    faults: &mut FieldViolations,
) -> ToolCall {
    let extra = call.extra.map(struct_value::object).unwrap_or_default();
    if !extra.is_empty() {
        // A value that an answer had in another form replaces an empty field.
        let taken = |fields: [(&'static str, bool); 3]| {
            let set = fields.into_iter().filter(|(_, set)| *set || !answered);
            set.map(|(key, _)| key).collect::<Vec<_>>()
        };
        let path = format_args!("{path}.extra");
        let fields = [
            ("index", false),
            ("id", !call.id.is_empty()),
            ("type", !call.r#type.is_empty()),
        ];
        faults.no_overlap(path, &extra, &taken(fields));
        if !answered {
            faults.numbers(path, &extra);
        }
        let has_name = !call.name.is_empty();
        let has_arguments = !call.arguments.is_empty();
        match extra.value("function") {
            Some(Document::Object(function)) => {
                let path = format_args!("{path}.function");
                let fields = [
                    ("name", has_name),
                    ("arguments", has_arguments),
                    ("name", false),
                ];
                faults.no_overlap(path, function, &taken(fields));
            }
            None | Some(Document::Null) => {}
            Some(_) if answered && !has_name && !has_arguments => {}
            Some(_) => faults.add(format_args!("{path}.function"), "must be an object"),
        }
    }
    let has_type = extra.value("type").is_some();
    ToolCall {
        index: call.index,
        id: call.id,
        kind: if call.r#type.is_empty() && !has_type {
            "function".to_owned()
        } else {
            call.r#type
        },
        name: call.name,
        arguments: call.arguments,
        extra,
    }
}
