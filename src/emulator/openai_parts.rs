//! Messages and content parts of OpenAI-style requests.

use serde_json::Value;

use super::dialect::Dialect;
use super::openai_error::OpenAiError;
use super::openai_fields::wrong_type;
use super::request::{MediaKind, Message, Part};

/// Roles that the servers know.
const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];

/// The fields of SGLang-Omni with media, beside the messages.
const TOP_LEVEL: [(&str, MediaKind); 3] = [
    ("images", MediaKind::Image),
    ("videos", MediaKind::Video),
    ("audios", MediaKind::Audio),
];

/// The types of content parts that a dialect accepts, besides `text`.
fn part_types(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::DashScope => &["image_url", "input_audio", "video_url", "video"],
        Dialect::Vllm | Dialect::VllmOmni => {
            &["image_url", "input_audio", "audio_url", "video_url"]
        }
        Dialect::Sglang => &["image_url", "audio_url", "video_url"],
        Dialect::SglangOmni => &[],
        Dialect::OpenAi => &["image_url", "input_audio"],
    }
}

/// Parses the messages of a request, and the media beside them.
///
/// # Errors
///
/// For the first message or part that the dialect does not accept.
pub(super) fn parse_messages(body: &Value, dialect: Dialect) -> Result<Vec<Message>, OpenAiError> {
    let list = body.get("messages").and_then(Value::as_array);
    let list = list.map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let message = "[] is too short - 'messages'";
        return Err(OpenAiError::parameter("messages", message));
    }
    let mut messages = Vec::new();
    for (index, message) in list.iter().enumerate() {
        messages.push(parse_message(
            message,
            dialect,
            &format!("messages[{index}]"),
        )?);
    }
    if dialect == Dialect::SglangOmni {
        let media = top_level(body)?;
        let last = messages.iter_mut().rfind(|message| message.role == "user");
        if let Some(message) = last {
            message.parts.splice(0..0, media);
        }
    }
    Ok(messages)
}

fn top_level(body: &Value) -> Result<Vec<Part>, OpenAiError> {
    let mut parts = Vec::new();
    for (name, media_kind) in TOP_LEVEL {
        let list = body.get(name).and_then(Value::as_array);
        for url in list.into_iter().flatten().filter_map(Value::as_str) {
            check_url(url, Dialect::SglangOmni, name)?;
            parts.push(Part::Medium(media_kind, url.to_owned()));
        }
    }
    Ok(parts)
}

fn parse_message(message: &Value, dialect: Dialect, place: &str) -> Result<Message, OpenAiError> {
    let role = message.get("role").and_then(Value::as_str);
    let Some(role) = role.filter(|role| ROLES.contains(role)) else {
        let param = format!("{place}.role");
        let message = format!("'{param}' must be one of {}.", ROLES.join(", "));
        return Err(OpenAiError::parameter(param, message));
    };
    let param = format!("{place}.content");
    let parts = match message.get("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(items)) => {
            let mut parts = Vec::new();
            for (index, item) in items.iter().enumerate() {
                parts.push(parse_part(item, dialect, &format!("{param}[{index}]"))?);
            }
            parts
        }
        Some(other) => return Err(wrong_type(&param, "a string or an array", other)),
    };
    let calls = message.get("tool_calls").filter(|calls| !calls.is_null());
    if let Some(calls) = calls.filter(|calls| !calls.is_array()) {
        return Err(wrong_type(
            &format!("{place}.tool_calls"),
            "an array",
            calls,
        ));
    }
    if role == "user" && parts.is_empty() {
        return Err(OpenAiError::parameter(
            param.as_str(),
            format!("'{param}' must not be empty."),
        ));
    }
    let called = message.get("tool_call_id").is_some_and(Value::is_string);
    if role == "tool" && !called {
        let param = format!("{place}.tool_call_id");
        let message = format!("Missing required parameter: '{param}'.");
        return Err(OpenAiError::parameter(param, message));
    }
    Ok(Message {
        role: role.to_owned(),
        parts,
    })
}

fn parse_part(part: &Value, dialect: Dialect, place: &str) -> Result<Part, OpenAiError> {
    if !part.is_object() {
        return Err(wrong_type(place, "an object", part));
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let types = part_types(dialect);
    let known = types.contains(&kind);
    let media_kind = match kind {
        "text" => {
            let param = format!("{place}.text");
            let value = part.get("text").unwrap_or(&Value::Null);
            let text = value.as_str().map(|text| Part::Text(text.to_owned()));
            return text.ok_or_else(|| wrong_type(&param, "a string", value));
        }
        "image_url" if known => MediaKind::Image,
        "video_url" if known => MediaKind::Video,
        "audio_url" if known => MediaKind::Audio,
        "input_audio" if known => return input_audio(part, dialect, place),
        "video" if known => return frames(part, place),
        _ => {
            let param = format!("{place}.type");
            let known = ["text"].iter().chain(types).copied().collect::<Vec<_>>();
            let message = format!(
                "Invalid value: '{kind}'. Supported values of '{param}' are: {}.",
                known.join(", ")
            );
            return Err(OpenAiError::parameter(param, message));
        }
    };
    let param = format!("{place}.{kind}");
    let value = part.get(kind).unwrap_or(&Value::Null);
    // vLLM accepts the URL without the object, too.
    let plain = value.as_str().filter(|_| dialect.is_vllm());
    let url = plain.or_else(|| value.get("url")?.as_str());
    let url = url.ok_or_else(|| wrong_type(&param, "an object with a url", value))?;
    check_url(url, dialect, &param)?;
    Ok(Part::Medium(media_kind, url.to_owned()))
}

fn input_audio(part: &Value, dialect: Dialect, place: &str) -> Result<Part, OpenAiError> {
    let param = format!("{place}.input_audio");
    let value = part.get("input_audio").unwrap_or(&Value::Null);
    let Some(data) = value.get("data").and_then(Value::as_str) else {
        return Err(wrong_type(&param, "an object with data", value));
    };
    let format = value.get("format").filter(|format| !format.is_null());
    let name = format.and_then(Value::as_str);
    let audio = |url: String| Ok(Part::Medium(MediaKind::Audio, url));
    match (dialect, name) {
        (Dialect::DashScope, _) if format.is_some() && name.is_none() => {
            let value = format.unwrap_or(&Value::Null);
            Err(wrong_type(&format!("{param}.format"), "a string", value))
        }
        (Dialect::DashScope, _) => audio(data.to_owned()),
        (Dialect::OpenAi, Some("wav" | "mp3")) => audio(base64_url(data, "wav")),
        (Dialect::OpenAi, _) => Err(OpenAiError::parameter(
            format!("{param}.format"),
            format!("'{param}.format' must be wav or mp3."),
        )),
        (_, Some(name)) => audio(base64_url(data, name)),
        (_, None) => {
            let value = format.unwrap_or(&Value::Null);
            Err(wrong_type(&format!("{param}.format"), "a string", value))
        }
    }
}

fn base64_url(data: &str, format: &str) -> String {
    format!("data:audio/{format};base64,{data}")
}

fn frames(part: &Value, place: &str) -> Result<Part, OpenAiError> {
    let value = part.get("video").unwrap_or(&Value::Null);
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let frame = |frame: &Value| frame.as_str().map(str::to_owned);
    match list.iter().map(frame).collect::<Option<Vec<_>>>() {
        Some(frames) if !frames.is_empty() => Ok(Part::Frames(frames)),
        _ => Err(wrong_type(
            &format!("{place}.video"),
            "an array of URLs",
            value,
        )),
    }
}

/// Refuses URLs that a self-hosted server cannot load. DashScope's are checked with the media.
fn check_url(url: &str, dialect: Dialect, param: &str) -> Result<(), OpenAiError> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let message = match (dialect, scheme) {
        (Dialect::DashScope, _) | (_, "http" | "https" | "data") => return Ok(()),
        (_, "file") => "Cannot load local files without `--allowed-local-media-path`.",
        _ => "The URL must be either a HTTP, data or file URL.",
    };
    Err(OpenAiError::parameter(param, message))
}

/// What rules match: the texts of the last message and the URLs of the media.
pub(super) fn subject(body: &Value) -> String {
    let mut lines = Vec::new();
    let messages = body.get("messages").and_then(Value::as_array);
    if let Some(content) = messages.and_then(|list| list.last()?.get("content")) {
        lines.extend(content.as_str());
        for part in content.as_array().into_iter().flatten() {
            for (name, value) in part.as_object().into_iter().flatten() {
                if name != "type" {
                    lines.extend(addresses(value));
                }
            }
        }
    }
    for (name, _) in TOP_LEVEL {
        lines.extend(body.get(name).into_iter().flat_map(addresses));
    }
    lines.retain(|line| !line.is_empty() && !line.starts_with("data:"));
    lines.join("\n")
}

/// The texts of a part: itself, its URLs, or its data if that is a URL.
fn addresses(value: &Value) -> Vec<&str> {
    let url = value.get("url").and_then(Value::as_str);
    let data = value.get("data").and_then(Value::as_str);
    let data = data.filter(|data| data.contains("://"));
    let list = value.as_array().into_iter().flatten();
    let texts = value.as_str().into_iter().chain(url).chain(data);
    texts.chain(list.filter_map(Value::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(content: &Value, dialect: Dialect) -> Result<Vec<Part>, OpenAiError> {
        let fields = json!({"messages": [{"role": "user", "content": content}]});
        let messages = parse_messages(&fields, dialect)?;
        Ok(messages[0].parts.clone())
    }

    #[test]
    fn each_dialect_accepts_its_own_parts() {
        let url = "http://a.example/b";
        let all = [
            json!({"type": "image_url", "image_url": {"url": url}}),
            json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
            json!({"type": "audio_url", "audio_url": {"url": url}}),
            json!({"type": "video_url", "video_url": {"url": url}}),
            json!({"type": "video", "video": [url, url]}),
        ];
        for (dialect, accepted) in [
            (Dialect::DashScope, [true, true, false, true, true]),
            (Dialect::Vllm, [true, true, true, true, false]),
            (Dialect::VllmOmni, [true, true, true, true, false]),
            (Dialect::Sglang, [true, false, true, true, false]),
            (Dialect::SglangOmni, [false; 5]),
            (Dialect::OpenAi, [true, true, false, false, false]),
        ] {
            let found = all
                .each_ref()
                .map(|part| parsed(&json!([part]), dialect).is_ok());
            assert_eq!(found, accepted, "{dialect}");
        }
    }

    #[test]
    fn audio_is_base64_or_a_url() {
        let part = |data: &str| {
            json!([{"type": "input_audio",
            "input_audio": {"data": data, "format": "mp3"}}])
        };
        for (dialect, data, url) in [
            (Dialect::DashScope, "data:;base64,AAAA", "data:;base64,AAAA"),
            (
                Dialect::DashScope,
                "https://a.example/b.mp3",
                "https://a.example/b.mp3",
            ),
            (Dialect::Vllm, "AAAA", "data:audio/mp3;base64,AAAA"),
            (Dialect::OpenAi, "AAAA", "data:audio/wav;base64,AAAA"),
        ] {
            let parts = parsed(&part(data), dialect).unwrap();
            assert_eq!(parts, [Part::Medium(MediaKind::Audio, url.into())]);
        }
        let fields = json!({"audios": ["http://a.example/b.wav"],
            "messages": [{"role": "user", "content": "hi"}]});
        let messages = parse_messages(&fields, Dialect::SglangOmni);
        let audio = Part::Medium(MediaKind::Audio, "http://a.example/b.wav".into());
        assert_eq!(messages.unwrap()[0].parts, [audio, Part::Text("hi".into())]);
    }

    #[test]
    fn invalid_messages_are_refused() {
        for fields in [
            json!({}),
            json!({"messages": []}),
            json!({"messages": [1]}),
            json!({"messages": [{"role": "narrator", "content": "x"}]}),
            json!({"messages": [{"role": "user"}]}),
            json!({"messages": [{"role": "user", "content": 1}]}),
            json!({"messages": [{"role": "user", "content": ["x"]}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}),
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            json!({"messages": [{"role": "assistant", "tool_calls": 1}]}),
        ] {
            let refused = parse_messages(&fields, Dialect::Vllm);
            assert!(refused.is_err(), "{fields}");
        }
        for url in ["oss://a/b", "file:///a", "a.wav", ""] {
            let part = json!([{"type": "audio_url", "audio_url": {"url": url}}]);
            assert!(parsed(&part, Dialect::Vllm).is_err(), "{url}");
        }
    }

    #[test]
    fn rules_match_texts_and_urls_but_no_base64() {
        let body = json!({"videos": ["http://a/v"], "messages": [
            {"role": "user", "content": "earlier"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "http://a/i"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "http://a/w"}},
                {"type": "video_url", "video_url": {"url": "data:;base64,AAAA"}},
                {"type": "video", "video": ["http://a/f"]},
                {"type": "text", "text": "now"}]}]});
        assert_eq!(
            subject(&body),
            "http://a/i\nhttp://a/w\nhttp://a/f\nnow\nhttp://a/v"
        );
    }

    proptest! {
        #[test]
        fn an_arbitrary_part_is_parsed_or_refused(
            kind in "text|image_url|input_audio|video|x", value in ".{0,6}",
            object in any::<bool>(),
        ) {
            let value = if object { json!({"url": value, "data": value}) } else { json!(value) };
            let content = json!([{"type": kind, kind.as_str(): value}]);
            for dialect in [Dialect::DashScope, Dialect::Vllm, Dialect::OpenAi] {
                drop(parsed(&content, dialect));
            }
            drop(subject(&json!({"messages": [{"role": "user", "content": content}]})));
        }
    }
}
