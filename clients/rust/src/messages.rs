//! Conversations from message lists of other libraries: OpenAI's chat completions and DashScope's
//! `messages`.

use serde::Serialize;
use serde_json::Value;

use crate::conversation::Conversation;
use crate::error::Error;
use crate::message_content::{content, text};
use crate::message_fields::{Fields, invalid, list};
use crate::parse_error::ParseError;
use crate::v1::{Message, Role, ToolCall};

impl Conversation {
    /// Creates a conversation from a list of messages in the form of OpenAI's chat completions or of
    /// DashScope: a JSON text, or anything that serde writes as such a list.
    ///
    /// `data:` URIs become bytes. Paths are refused, because a list may come from somewhere else.
    ///
    /// ```
    /// use dashgate_client::Conversation;
    /// use serde_json::json;
    ///
    /// # fn read() -> Result<(), dashgate_client::Error> {
    /// let conversation = Conversation::from_messages(
    ///     "qwen3-vl-plus",
    ///     json!([
    ///         {"role": "system", "content": "Answer in one sentence."},
    ///         {"role": "user", "content": [
    ///             {"type": "text", "text": "What is this?"},
    ///             {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    ///         ]},
    ///     ]),
    /// )?;
    /// assert_eq!(conversation.raw().messages.len(), 2);
    /// # Ok(())
    /// # }
    /// # read().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The list has something that a conversation cannot have; the message names its place, for
    /// example `messages[1].content[0].type`, and quotes no value.
    pub fn from_messages(
        model: impl Into<String>,
        messages: impl Serialize,
    ) -> Result<Self, Error> {
        // The text of the error would be that of the caller's type.
        let unwritable = |_| invalid("messages", "not possible as JSON");
        let mut value = serde_json::to_value(messages).map_err(unwritable)?;
        if let Value::String(json) = &value {
            value = serde_json::from_str(json).map_err(|error| {
                let error = ParseError::of(&error);
                Error::caused(format!("messages: {error}"), error)
            })?;
        }
        let mut conversation = Self::new(model);
        for (at, value) in list(&value, "messages")?.iter().enumerate() {
            let message = message(value, &format!("messages[{at}]"))?;
            conversation.raw_mut().messages.push(message);
        }
        Ok(conversation)
    }
}

fn message(value: &Value, place: &str) -> Result<Message, Error> {
    let mut fields = Fields::of(value, place)?;
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        Some(_) => {
            let known = "not system, developer, user, assistant or tool";
            return Err(invalid(&fields.place("role"), known));
        }
        None => return Err(invalid(&fields.place("role"), "missing")),
    };
    let mut message = Message {
        role: role.into(),
        reasoning_text: fields.text("reasoning_content")?.unwrap_or_default(),
        tool_call_id: fields.text("tool_call_id")?.unwrap_or_default(),
        ..Message::default()
    };
    let place = fields.place("content");
    match fields.take("content") {
        None => {}
        Some(Value::String(words)) => message.content.push(text(words)),
        Some(parts) => {
            for (at, part) in list(parts, &place)?.iter().enumerate() {
                message
                    .content
                    .push(content(part, &format!("{place}[{at}]"))?);
            }
        }
    }
    let place = fields.place("tool_calls");
    if let Some(calls) = fields.take("tool_calls") {
        for (at, call) in list(calls, &place)?.iter().enumerate() {
            let call = tool_call(call, &format!("{place}[{at}]"), at)?;
            message.tool_calls.push(call);
        }
    }
    fields.end()?;
    Ok(message)
}

fn tool_call(value: &Value, place: &str, at: usize) -> Result<ToolCall, Error> {
    let mut fields = Fields::of(value, place)?;
    let index = match fields.take("index") {
        None => i32::try_from(at).unwrap_or(i32::MAX),
        Some(index) => index
            .as_i64()
            .and_then(|index| i32::try_from(index).ok())
            .filter(|index| *index >= 0)
            .ok_or_else(|| invalid(&fields.place("index"), "not an integer of 0 or more"))?,
    };
    let kind = fields
        .text("type")?
        .unwrap_or_else(|| "function".to_owned());
    if kind != "function" {
        return Err(invalid(&fields.place("type"), "not function"));
    }
    let id = fields.text("id")?.unwrap_or_default();
    let mut function = fields.object("function")?;
    let name = function.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid(&function.place("name"), "missing"))?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.end()?;
    fields.end()?;
    Ok(ToolCall {
        index,
        id,
        r#type: kind,
        name,
        arguments,
        extra: None,
    })
}
