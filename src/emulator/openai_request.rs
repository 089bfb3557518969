//! Parses OpenAI-style requests into the emulator's own form.

use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use super::error::ApiError;
use super::family::{Family, Kind, served_family};
use super::openai_error::OpenAiError;
use super::openai_fields::{check_fields, typed, wrong_type};
use super::openai_parts::parse_messages;
use super::request::{GenerationRequest, MediaKind, Part};

/// Fields that SGLang-Omni ignores.
const SGLANG_OMNI_IGNORES: [&str; 5] = ["n", "tools", "tool_choice", "logprobs", "response_format"];

/// How an answer is to be sent. It is known for invalid requests, too, which a script may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChatOptions {
    /// The model, as it is named in the request.
    pub(super) model: String,
    /// Whether a stream is requested.
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk of usage.
    pub(super) include_usage: bool,
    /// Whether every chunk has the usage so far.
    pub(super) continuous_usage: bool,
    /// Whether text is requested.
    pub(super) text: bool,
    /// Whether audio is requested.
    pub(super) audio: bool,
    /// Whether audio is sent as PCM without a WAV header.
    pub(super) pcm: bool,
    /// Whether `tool_choice` names a function.
    pub(super) named_tool: bool,
}

/// Open models, the default of what a self-hosted server lists.
pub(super) const OPEN_MODELS: [&str; 5] = [
    "Qwen/Qwen3-Omni-30B-A3B-Instruct",
    "Qwen/Qwen2.5-Omni-7B",
    "Qwen/Qwen2-Audio-7B-Instruct",
    "Qwen/Qwen3-ASR-1.7B",
    "Qwen/Qwen3-VL-8B-Instruct",
];

/// The model of a request that names none: self-hosted servers have only one.
fn default_model(dialect: Dialect, served: &[String]) -> &str {
    let [first, ..] = OPEN_MODELS;
    match served.first() {
        _ if !dialect.is_self_hosted() => "",
        Some(served) => served,
        None => first,
    }
}

impl ChatOptions {
    /// Reads the options; what is missing or invalid has its default.
    pub(super) fn read(body: &Value, dialect: Dialect, served: &[String]) -> Self {
        let is_on = |path: &str| body.pointer(path).and_then(Value::as_bool) == Some(true);
        let model = body.get("model").and_then(Value::as_str);
        let model = model.unwrap_or_else(|| default_model(dialect, served));
        let modalities = body.get("modalities").and_then(Value::as_array);
        let wants = |name: &str, default: bool| {
            modalities.map_or(default, |list| list.iter().any(|item| item == name))
        };
        let both = dialect == Dialect::VllmOmni && is_omni(model);
        let format = body.pointer("/audio/format").and_then(Value::as_str);
        Self {
            model: model.to_owned(),
            stream: is_on("/stream"),
            include_usage: is_on("/stream_options/include_usage"),
            continuous_usage: is_on("/stream_options/continuous_usage_stats"),
            text: wants("text", true) || !dialect.speaks(),
            audio: wants("audio", both) && dialect.speaks(),
            // DashScope sends PCM, whatever the format.
            pcm: dialect == Dialect::DashScope || matches!(format, Some("pcm" | "pcm16")),
            named_tool: body.pointer("/tool_choice/function/name").is_some(),
        }
    }
}

fn is_omni(model: &str) -> bool {
    model.to_ascii_lowercase().contains("omni")
}

/// The family of a model, and the name by which it is looked up.
///
/// # Errors
///
/// If the model is unknown, or not one of those that are served.
fn model_family(
    model: &str,
    dialect: Dialect,
    served: &[String],
) -> Result<(String, &'static Family), OpenAiError> {
    // Self-hosted models have the names of their repositories.
    let name = if dialect == Dialect::DashScope {
        model.to_owned()
    } else {
        let name = model.rsplit_once('/').map_or(model, |(_, name)| name);
        name.to_ascii_lowercase()
    };
    let unknown = || OpenAiError::model(model, dialect);
    if matches!(dialect, Dialect::Sglang | Dialect::SglangOmni) {
        // They answer with the only model that they have, whatever the name.
        let family = served_family(&name).filter(|family| answers(family));
        let family = family.or_else(|| served_family(TEXT_MODEL));
        return family.map(|family| (name, family)).ok_or_else(unknown);
    }
    let listed = dialect != Dialect::DashScope && !served.is_empty();
    if listed && !served.iter().any(|served| served == model) {
        return Err(unknown());
    }
    let family = match served_family(&name) {
        Some(family) => family,
        // A name that the operator has chosen.
        None if listed => served_family(TEXT_MODEL).ok_or_else(unknown)?,
        None => return Err(unknown()),
    };
    match answers(family) {
        true => Ok((name, family)),
        false if dialect == Dialect::DashScope => Err(OpenAiError::unsupported_model(model)),
        false => Err(unknown()),
    }
}

/// A model whose family is that of unknown models.
const TEXT_MODEL: &str = "qwen-plus";

/// Whether the models of a family answer chat completions.
fn answers(family: &Family) -> bool {
    matches!(family.kind, Kind::Chat | Kind::Transcribe)
}

/// Parses a request.
///
/// # Errors
///
/// The dialect's error for the first field that is wrong.
pub(super) fn read_request(
    body: &Value,
    options: &ChatOptions,
    dialect: Dialect,
    served: &[String],
) -> Result<GenerationRequest, OpenAiError> {
    let fields = typed(body)?;
    if options.model.is_empty() {
        let message = "you must provide a model parameter";
        return Err(OpenAiError::parameter("model", message));
    }
    let (model, family) = model_family(&options.model, dialect, served)?;
    check_fields(&fields, dialect)?;
    check_audio(&fields, options, dialect)?;
    let messages = parse_messages(body, dialect)?;
    let mut parts = messages.iter().flat_map(|message| &message.parts);
    let is_audio = |part: &Part| matches!(part, Part::Medium(MediaKind::Audio, _));
    if family.kind == Kind::Transcribe && !parts.any(is_audio) {
        return Err(ApiError::algorithm("The audio is empty").into());
    }
    Ok(GenerationRequest {
        model,
        family,
        stream: options.stream,
        messages,
        input: Map::new(),
        parameters: parameters(fields, options, dialect),
    })
}

fn check_audio(
    fields: &Map<String, Value>,
    options: &ChatOptions,
    dialect: Dialect,
) -> Result<(), OpenAiError> {
    if let Some(audio) = fields.get("audio") {
        for name in ["voice", "format"] {
            match audio.get(name) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(other) => {
                    return Err(wrong_type(&format!("audio.{name}"), "a string", other));
                }
            }
        }
    }
    let modalities = fields.get("modalities").and_then(Value::as_array);
    let unknown: Vec<&str> = modalities
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| !["text", "audio"].contains(name))
        .collect();
    let silent = modalities.is_some_and(Vec::is_empty);
    if dialect.speaks() && (silent || !unknown.is_empty()) {
        let message = format!("Unsupported output modalities: {unknown:?}");
        return Err(OpenAiError::parameter("modalities", message));
    }
    let format = fields.get("audio").and_then(|audio| audio.get("format"));
    let format = format.and_then(Value::as_str).unwrap_or("wav");
    if options.audio && !["wav", "pcm", "pcm16"].contains(&format) {
        let message = "The emulator encodes audio as wav, pcm and pcm16 only.";
        return Err(OpenAiError::parameter("audio.format", message));
    }
    if dialect == Dialect::OpenAi && options.audio && options.stream && format != "pcm16" {
        let message = format!(
            "Unsupported value: 'audio.format' does not support '{format}' when stream=true. \
             Supported values are: 'pcm16'."
        );
        return Err(OpenAiError::parameter("audio.format", message));
    }
    Ok(())
}

/// The parameters under their native names.
fn parameters(
    mut fields: Map<String, Value>,
    options: &ChatOptions,
    dialect: Dialect,
) -> Map<String, Value> {
    for name in ["model", "stream", "stream_options"] {
        fields.remove(name);
    }
    if dialect == Dialect::SglangOmni {
        for name in SGLANG_OMNI_IGNORES {
            fields.remove(name);
        }
    }
    if let Some(most) = fields.remove("max_completion_tokens") {
        fields.insert("max_tokens".to_owned(), most);
    }
    let thinking = fields.get("chat_template_kwargs");
    let thinking = thinking.and_then(|kwargs| kwargs.get("enable_thinking"));
    if let Some(thinking) = thinking.cloned() {
        fields.insert("enable_thinking".to_owned(), thinking);
    }
    if dialect != Dialect::DashScope {
        // DashScope calls one tool unless it is asked for more; the others do not limit them.
        let parallel = fields.entry("parallel_tool_calls");
        parallel.or_insert(json!(true));
    }
    // DashScope's models do not speak while they think.
    let thinks = fields.get("enable_thinking") == Some(&json!(true));
    let audio = options.audio && !(thinks && dialect == Dialect::DashScope);
    let modalities = if audio {
        json!(["text", "audio"])
    } else {
        json!(["text"])
    };
    fields.insert("modalities".to_owned(), modalities);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(more: &Value) -> Value {
        let mut body = json!({"model": "qwen3-omni-flash",
            "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    }

    fn read(more: &Value, dialect: Dialect) -> Result<GenerationRequest, OpenAiError> {
        let body = body(more);
        read_request(&body, &ChatOptions::read(&body, dialect, &[]), dialect, &[])
    }

    #[test]
    fn parameters_get_their_native_names() {
        let more = json!({"max_completion_tokens": 5, "temperature": 1, "stream": true,
            "modalities": ["text", "audio"], "audio": {"voice": "Cherry", "format": "wav"},
            "chat_template_kwargs": {"enable_thinking": true}});
        let request = read(&more, Dialect::SglangOmni).unwrap();
        let names = ["max_tokens", "temperature", "audio", "enable_thinking"];
        for name in names {
            assert!(request.parameters.contains_key(name), "{name}");
        }
        assert!(request.requests_audio() && request.is_on("parallel_tool_calls"));
        assert!(!request.parameters.contains_key("stream"));
        assert!(
            !read(&json!({}), Dialect::DashScope)
                .unwrap()
                .requests_audio()
        );
        let thinking = json!({"enable_thinking": true, "modalities": ["audio"]});
        assert!(
            !read(&thinking, Dialect::DashScope)
                .unwrap()
                .requests_audio()
        );
    }

    #[test]
    fn modalities_have_the_defaults_of_the_dialect() {
        for (dialect, modalities, text, audio) in [
            (Dialect::VllmOmni, json!(null), true, true),
            (Dialect::VllmOmni, json!(["audio"]), false, true),
            (Dialect::VllmOmni, json!(["text"]), true, false),
            (Dialect::DashScope, json!(null), true, false),
            (Dialect::SglangOmni, json!(["text", "audio"]), true, true),
            (Dialect::Vllm, json!(["audio"]), true, false),
        ] {
            let options =
                ChatOptions::read(&body(&json!({"modalities": modalities})), dialect, &[]);
            assert_eq!((options.text, options.audio), (text, audio), "{dialect}");
        }
        let unknown = read(&json!({"modalities": ["smell"]}), Dialect::VllmOmni).unwrap_err();
        let message = unknown.body(Dialect::VllmOmni, "x").to_string();
        assert!(
            message.contains("Unsupported output modalities"),
            "{message}"
        );
        let streamed = json!({"modalities": ["text", "audio"], "stream": true,
            "audio": {"voice": "alloy", "format": "wav"}});
        assert!(read(&streamed, Dialect::OpenAi).is_err());
    }

    #[test]
    fn a_self_hosted_server_has_a_default_model() {
        let model =
            |dialect, served: &[String]| ChatOptions::read(&json!({}), dialect, served).model;
        assert_eq!(model(Dialect::Vllm, &["mine".to_owned()]), "mine");
        assert_eq!(model(Dialect::SglangOmni, &[]), OPEN_MODELS[0]);
        assert_eq!(model(Dialect::DashScope, &["mine".to_owned()]), "");
    }

    #[test]
    fn models_are_found_by_the_name_of_their_repository() {
        let family = |model, dialect, served: &[&str]| {
            let served: Vec<String> = served.iter().map(|name| (*name).to_owned()).collect();
            model_family(model, dialect, &served).map(|(_, family)| family.models)
        };
        for (model, dialect, models) in [
            (
                "Qwen/Qwen3-Omni-30B-A3B-Instruct",
                Dialect::Vllm,
                "qwen*-omni*",
            ),
            (
                "Qwen/Qwen2-Audio-7B-Instruct",
                Dialect::Sglang,
                "qwen2-audio*",
            ),
            ("Qwen/Qwen3-ASR-1.7B", Dialect::Vllm, "qwen*-asr*"),
            ("qwen3.8-omni-flash", Dialect::DashScope, "qwen*-omni*"),
            ("qwen-plus", Dialect::DashScope, ""),
        ] {
            assert_eq!(family(model, dialect, &[]), Ok(models), "{model}");
        }
        assert_eq!(family("mine", Dialect::Vllm, &["mine"]), Ok(""));
        // SGLang does not look at the name.
        for model in ["mine", "qwen3-tts-flash"] {
            assert_eq!(family(model, Dialect::Sglang, &["other"]), Ok(""));
        }
        for (model, dialect) in [
            ("Qwen/Qwen3-Omni", Dialect::DashScope),
            ("mine", Dialect::Vllm),
            ("mine", Dialect::OpenAi),
            ("qwen3-tts-flash", Dialect::Vllm),
            ("qwen-image-plus", Dialect::DashScope),
        ] {
            let error = family(model, dialect, &[]).unwrap_err();
            assert_eq!(error.status, 404, "{model}");
        }
        assert!(family("Qwen/Qwen2-Audio", Dialect::Vllm, &["mine"]).is_err());
    }
}
