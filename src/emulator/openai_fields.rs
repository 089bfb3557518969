//! Types and ranges of the fields of an OpenAI-style request.

use serde_json::{Map, Value};

use super::dialect::Dialect;
use super::openai_error::OpenAiError;

/// The most answers to one request, above the maximum of DashScope, to allow experiments.
const MAX_CHOICES: u64 = 16;
/// The most alternatives of a token, as OpenAI and vLLM limit them.
const TOP_LOGPROBS: u64 = 20;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Integer,
    Number,
    Text,
    Object,
    List,
    Texts,
    TextOrObject,
    TextOrTexts,
}

impl Type {
    fn holds(self, value: &Value) -> bool {
        let texts = |value: &Value| {
            let list = value.as_array();
            list.is_some_and(|list| list.iter().all(Value::is_string))
        };
        match self {
            Self::Bool => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Text => value.is_string(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::Texts => texts(value),
            Self::TextOrObject => value.is_string() || value.is_object(),
            Self::TextOrTexts => value.is_string() || texts(value),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Object => "an object",
            Self::List => "an array",
            Self::Texts => "an array of strings",
            Self::TextOrObject => "a string or an object",
            Self::TextOrTexts => "a string or an array of strings",
        }
    }
}

/// All fields with a known type. Others are ignored, as the servers do.
static FIELDS: &[(&str, Type)] = &[
    ("model", Type::Text),
    ("messages", Type::List),
    ("stream", Type::Bool),
    ("stream_options", Type::Object),
    ("temperature", Type::Number),
    ("top_p", Type::Number),
    ("top_k", Type::Integer),
    ("min_p", Type::Number),
    ("n", Type::Integer),
    ("seed", Type::Integer),
    ("max_tokens", Type::Integer),
    ("max_completion_tokens", Type::Integer),
    ("presence_penalty", Type::Number),
    ("frequency_penalty", Type::Number),
    ("repetition_penalty", Type::Number),
    ("stop", Type::TextOrTexts),
    ("logprobs", Type::Bool),
    ("top_logprobs", Type::Integer),
    ("logit_bias", Type::Object),
    ("tools", Type::List),
    ("tool_choice", Type::TextOrObject),
    ("parallel_tool_calls", Type::Bool),
    ("response_format", Type::Object),
    ("modalities", Type::Texts),
    ("audio", Type::Object),
    ("audios", Type::Texts),
    ("images", Type::Texts),
    ("videos", Type::Texts),
    ("enable_thinking", Type::Bool),
    ("thinking_budget", Type::Integer),
    ("asr_options", Type::Object),
    ("chat_template_kwargs", Type::Object),
    ("mm_processor_kwargs", Type::Object),
    ("reasoning_effort", Type::Text),
    ("metadata", Type::Object),
    ("user", Type::Text),
];

/// Fields that are parsed elsewhere and may be too large to copy.
const LARGE: [&str; 4] = ["messages", "audios", "images", "videos"];

/// The fields of a body that are not null, after a check of their types. Without the messages and
/// media.
///
/// # Errors
///
/// For the first field with a value of another type.
pub(super) fn typed(body: &Value) -> Result<Map<String, Value>, OpenAiError> {
    let Some(fields) = body.as_object() else {
        return Err(OpenAiError::parameter(
            "body",
            "The request body must be a JSON object.",
        ));
    };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    let mut kept = Map::new();
    for (name, value) in fields {
        let known = FIELDS.iter().find(|(known, _)| known == name);
        if let Some((_, expected)) = known
            && !expected.holds(value)
        {
            return Err(wrong_type(name, expected.name(), value));
        }
        if !LARGE.contains(&name.as_str()) {
            kept.insert(name.clone(), value.clone());
        }
    }
    Ok(kept)
}

/// The error for a value of another type.
pub(super) fn wrong_type(name: &str, expected: &str, value: &Value) -> OpenAiError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let message = format!("Invalid type for '{name}': expected {expected}, but got {found}.");
    OpenAiError::parameter(name, message)
}

/// A range of a number.
struct Range {
    name: &'static str,
    holds: fn(f64) -> bool,
    text: &'static str,
}

#[expect(clippy::cast_precision_loss, reason = "the limits are far below 2^52")]
static RANGES: &[Range] = &[
    Range {
        name: "temperature",
        holds: |n| (0.0..=2.0).contains(&n),
        text: "in [0, 2]",
    },
    Range {
        name: "top_p",
        holds: |n| n > 0.0 && n <= 1.0,
        text: "in (0, 1]",
    },
    Range {
        name: "n",
        holds: |n| (1.0..=MAX_CHOICES as f64).contains(&n),
        text: "in [1, 16]",
    },
    Range {
        name: "max_tokens",
        holds: |n| n >= 1.0,
        text: "at least 1",
    },
    Range {
        name: "max_completion_tokens",
        holds: |n| n >= 1.0,
        text: "at least 1",
    },
    Range {
        name: "presence_penalty",
        holds: |n| (-2.0..=2.0).contains(&n),
        text: "in [-2, 2]",
    },
    Range {
        name: "frequency_penalty",
        holds: |n| (-2.0..=2.0).contains(&n),
        text: "in [-2, 2]",
    },
    Range {
        name: "repetition_penalty",
        holds: |n| n > 0.0,
        text: "greater than 0",
    },
    Range {
        name: "top_logprobs",
        holds: |n| (0.0..=TOP_LOGPROBS as f64).contains(&n),
        text: "in [0, 20]",
    },
];

/// Checks ranges and fields that depend on each other. DashScope's own ranges are in `checks`.
///
/// # Errors
///
/// For the first field that is wrong.
pub(super) fn check_fields(
    fields: &Map<String, Value>,
    dialect: Dialect,
) -> Result<(), OpenAiError> {
    if dialect != Dialect::DashScope {
        for range in RANGES {
            let value = fields.get(range.name).and_then(Value::as_f64);
            if value.is_some_and(|value| !(range.holds)(value)) {
                let message = format!("{} must be {}.", range.name, range.text);
                return Err(OpenAiError::parameter(range.name, message));
            }
        }
    }
    let is_on = |name: &str| fields.get(name).and_then(Value::as_bool) == Some(true);
    if fields.contains_key("stream_options") && !is_on("stream") {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(OpenAiError::parameter("stream_options", message));
    }
    let alternatives = fields.get("top_logprobs").and_then(Value::as_u64);
    if alternatives.is_some_and(|count| count > 0) && !is_on("logprobs") {
        let message = "when using `top_logprobs`, `logprobs` must be set to true.";
        return Err(OpenAiError::parameter("top_logprobs", message));
    }
    check_response_format(fields)?;
    check_tools(fields)
}

fn check_response_format(fields: &Map<String, Value>) -> Result<(), OpenAiError> {
    let Some(format) = fields.get("response_format") else {
        return Ok(());
    };
    let kind = format.get("type").and_then(Value::as_str);
    let schema = format.pointer("/json_schema/name");
    match kind {
        Some("text" | "json_object") => Ok(()),
        Some("json_schema") if schema.is_some_and(Value::is_string) => Ok(()),
        Some("json_schema") => Err(OpenAiError::parameter(
            "response_format.json_schema",
            "Missing required parameter: 'response_format.json_schema.name'.",
        )),
        _ => Err(OpenAiError::parameter(
            "response_format.type",
            "'response_format.type' must be one of text, json_object, json_schema.",
        )),
    }
}

fn check_tools(fields: &Map<String, Value>) -> Result<(), OpenAiError> {
    let tools = fields.get("tools").and_then(Value::as_array);
    let mut names = Vec::new();
    for (index, tool) in tools.into_iter().flatten().enumerate() {
        let name = tool.pointer("/function/name").and_then(Value::as_str);
        match (tool.get("type").and_then(Value::as_str), name) {
            (Some("function"), Some(name)) if !name.is_empty() => names.push(name),
            _ => {
                let param = format!("tools[{index}]");
                let message =
                    format!("'{param}' must have the type 'function' and a function name.");
                return Err(OpenAiError::parameter(param, message));
            }
        }
    }
    let wrong = |message: &str| Err(OpenAiError::parameter("tool_choice", message));
    match fields.get("tool_choice") {
        None => Ok(()),
        Some(Value::String(choice)) => match choice.as_str() {
            "none" => Ok(()),
            "auto" | "required" if !names.is_empty() => Ok(()),
            "auto" | "required" => wrong("When using `tool_choice`, `tools` must be set."),
            _ => wrong("'tool_choice' must be none, auto, required or a named function."),
        },
        Some(choice) => match choice.pointer("/function/name").and_then(Value::as_str) {
            Some(name) if names.contains(&name) => Ok(()),
            _ => wrong("The tool specified in `tool_choice` is not one of the `tools`."),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &Value) -> Option<Value> {
        let fields = match typed(body) {
            Ok(fields) => fields,
            Err(error) => return Some(error.body(Dialect::Vllm, "x")["error"]["param"].clone()),
        };
        let error = check_fields(&fields, Dialect::Vllm).err()?;
        Some(error.body(Dialect::Vllm, "x")["error"]["param"].clone())
    }

    #[test]
    fn values_of_another_type_are_refused_with_the_name_of_the_field() {
        for (body, param) in [
            (json!([]), "body"),
            (json!({"n": "1"}), "n"),
            (json!({"n": 1.5}), "n"),
            (json!({"stream": 1}), "stream"),
            (json!({"stop": [1]}), "stop"),
            (json!({"audios": "x"}), "audios"),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"n": 0}), "n"),
            (json!({"n": 17}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"stream_options": {}}), "stream_options"),
            (json!({"top_logprobs": 1}), "top_logprobs"),
            (
                json!({"response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (
                json!({"response_format": {"type": "json_schema"}}),
                "response_format.json_schema",
            ),
            (json!({"tools": [{"type": "function"}]}), "tools[0]"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (
                json!({"tool_choice": {"function": {"name": "f"}}}),
                "tool_choice",
            ),
        ] {
            assert_eq!(refused(&body), Some(json!(param)), "{body}");
        }
    }

    #[test]
    fn null_and_unknown_fields_are_ignored() {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        for body in [
            json!({"n": null, "smell": 1}),
            json!({"n": 16, "temperature": 2, "stop": "x", "seed": -1}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!({"logprobs": true, "top_logprobs": 20}),
            json!({"tools": [tool], "tool_choice": {"function": {"name": "f"}}}),
            json!({"tools": [tool], "tool_choice": "auto"}),
        ] {
            assert_eq!(refused(&body), None, "{body}");
        }
    }
}
