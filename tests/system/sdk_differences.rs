//! What the gateway says in other words than DashScope's own clients do.

use serde_json::{Value, json};

/// Makes of the body that a client sent the one that the gateway sends.
pub type Difference = fn(&mut Value);

/// What the gateway says in other words than DashScope's own clients, and why.
pub const DIFFERENCES: &[(&str, &str, Difference)] = &[
    (
        "incremental_output",
        "a stream is always asked for in pieces, because the default differs by model",
        |body| body["parameters"]["incremental_output"] = json!(true),
    ),
    (
        "no_incremental_output",
        "what is asked for whole has no pieces",
        |body| {
            parameters(body).remove("incremental_output");
        },
    ),
    (
        "nulls",
        "a parameter that is null says nothing; a null in a list is an item of it and stays",
        |body| parameters(body).retain(|_, value| !value.is_null()),
    ),
    ("deep_nulls", "so does one deeper down", |body| {
        drop_nulls(&mut body["parameters"])
    }),
    (
        "string_content",
        "content is always a list, which every model takes",
        |body| {
            for message in body["input"]["messages"].as_array_mut().unwrap() {
                if message["content"].is_string() {
                    message["content"] = json!([{"text": message["content"]}]);
                }
            }
        },
    ),
    (
        "enable_search",
        "the Java client says that it does not search, asked or not",
        |body| {
            parameters(body).remove("enable_search");
        },
    ),
    (
        "empty_messages",
        "the Java client sends an empty list beside the text to speak",
        |body| {
            body["input"].as_object_mut().unwrap().remove("messages");
        },
    ),
    (
        "stop_text",
        "one text to stop at is a list of one",
        |body| body["parameters"]["stop"] = json!([body["parameters"]["stop"]]),
    ),
    (
        "stop_tokens",
        "one sequence of tokens to stop at is a list of one",
        |body| body["parameters"]["stop"] = json!([body["parameters"]["stop"]]),
    ),
    (
        "tool_call_index",
        "a call of a tool always says which one it is",
        |body| {
            for message in body["input"]["messages"].as_array_mut().unwrap() {
                let calls = message.get_mut("tool_calls").into_iter();
                let calls = calls.flat_map(|calls| calls.as_array_mut().unwrap());
                for (index, call) in calls.enumerate() {
                    call["index"] = json!(index);
                }
            }
        },
    ),
    (
        "object_name",
        "a stored file has a name that nothing else has, because the storage refuses to overwrite",
        |body| rename(&mut body["input"]),
    ),
    (
        "text_stays_text",
        "a text is never a file, even if a file has its name",
        |body| {
            let parts = body["input"]["messages"][0]["content"].as_array_mut();
            for part in parts.unwrap() {
                if part["text"].is_string() {
                    part["text"] = json!("/etc/prompt.txt");
                }
            }
        },
    ),
];

/// Header lines that the gateway does not send, or sends with another value, and why.
pub const HEADER_DIFFERENCES: &[(&str, &str)] = &[
    (
        "x-custom",
        "a caller sets no headers of DashScope's but two",
    ),
    ("x-dashscope-async", "the gateway waits for every answer"),
    ("accept", "the gateway says what it reads"),
    (
        "content-type",
        "the gateway says in which characters it writes",
    ),
    (
        "x-dashscope-ossresourceresolve",
        "a text that is no file needs no storage",
    ),
    (
        "x-dashscope-workspace",
        "storage is asked for in the workspace of the call",
    ),
];

fn parameters(body: &mut Value) -> &mut serde_json::Map<String, Value> {
    body["parameters"].as_object_mut().unwrap()
}

/// Drops what is null in objects, but not in lists.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Puts a sign in the place of the name of every stored file.
pub fn rename(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((folder, _)) = text.rsplit_once('/')
                && text.starts_with("oss://")
            {
                *text = format!("{folder}/NAME");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        Value::Object(fields) => fields.values_mut().for_each(rename),
        _ => {}
    }
}
