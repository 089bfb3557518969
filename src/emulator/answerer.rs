//! Generates the emulator's own answers.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice, Speech, ToolCall, pieces};
use super::checks::size;
use super::error::ApiError;
use super::family::Kind;
use super::image::generate_png;
use super::json_sample::sample;
use super::media::Medium;
use super::object_store::Store;
use super::request::GenerationRequest;
use super::speech_synthesis::{RATE, pieces as audio_chunks, streamed_wav, synthesize, wav};
use super::templates::{Language, answer as describe, language};
use super::usage::count;

/// How long results are kept: as long as DashScope keeps them.
const RESULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The most characters that an omni model speaks beside its text: longer audio adds nothing to
/// tests.
const SPOKEN_CHARACTERS: usize = 40;

/// The input of an answer.
pub(super) struct AnswerInputs<'a> {
    /// The request.
    pub(super) request: &'a GenerationRequest,
    /// Its media.
    pub(super) media: &'a [Medium],
    /// The request id.
    pub(super) id: &'a str,
    /// Where generated files are stored.
    pub(super) store: &'a Store,
    /// Base URL of generated files, as in `http://127.0.0.1:8089`.
    pub(super) origin: &'a str,
}

/// Generates the answer.
///
/// # Errors
///
/// If the image of the requested size cannot be generated.
pub(super) fn build_answer(inputs: &AnswerInputs<'_>) -> Result<Answer, ApiError> {
    match inputs.request.family.kind {
        Kind::Chat => Ok(chat(inputs)),
        Kind::Transcribe => Ok(transcribe(inputs)),
        Kind::Recognise => Ok(Answer {
            transcript: Some(pieces(&describe(inputs.request, inputs.media))),
            ..Answer::default()
        }),
        Kind::Speak => Ok(speech(inputs)),
        Kind::Draw => draw(inputs),
        // Refused by `checks`.
        Kind::OtherPath => Ok(Answer::default()),
    }
}

fn chat(inputs: &AnswerInputs<'_>) -> Answer {
    let request = inputs.request;
    let calls = tool_calls(request, inputs.id);
    let first = if calls.is_empty() {
        let mut choice = Choice {
            text: pieces(&formatted(request, describe(request, inputs.media))),
            ..Choice::default()
        };
        limit(&mut choice, request);
        choice
    } else {
        Choice {
            tool_calls: calls,
            ..Choice::default()
        }
    };
    let wanted = request
        .parameters
        .get("n")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let mut choices = Vec::new();
    for number in 1..=wanted {
        let mut choice = first.clone();
        if number > 1 && !choice.text.is_empty() {
            choice.text.push(format!(" ({number})"));
        }
        if request.is_on("enable_thinking") || (request.family.stream_only && !omni(request)) {
            choice.reasoning = pieces(&thought(request));
        }
        if request.requests_audio() {
            let text: String = choice
                .text
                .concat()
                .chars()
                .take(SPOKEN_CHARACTERS)
                .collect();
            choice.audio = audio_chunks(&synthesize(&text, voice(request)));
        }
        if request.is_on("logprobs") {
            choice.logprobs = Some(logprobs(&choice.text));
        }
        choices.push(choice);
    }
    Answer {
        choices,
        ..Answer::default()
    }
}

fn omni(request: &GenerationRequest) -> bool {
    request.model.contains("omni")
}

fn voice(request: &GenerationRequest) -> &str {
    let audio = request
        .parameters
        .get("audio")
        .and_then(|audio| audio.get("voice"));
    let voice = audio.or_else(|| request.input.get("voice"));
    voice.and_then(Value::as_str).unwrap_or("Cherry")
}

fn thought(request: &GenerationRequest) -> String {
    let question = request.question();
    match language(&question) {
        Language::Chinese => format!("先看看收到了什么，再回答“{question}”。"),
        Language::English => format!("First look at what was given, then answer \"{question}\"."),
    }
}

/// Cuts the text at `stop` or `max_tokens`.
fn limit(choice: &mut Choice, request: &GenerationRequest) {
    let text = choice.text.concat();
    let stop = request.parameters.get("stop");
    let one = stop.and_then(Value::as_str).into_iter();
    let many = stop.and_then(Value::as_array).into_iter().flatten();
    let stops = one.chain(many.filter_map(Value::as_str));
    let ends = stops.filter(|stop| !stop.is_empty());
    if let Some(end) = ends.filter_map(|stop| text.find(stop)).min() {
        choice.text = pieces(text.get(..end).unwrap_or_default());
    }
    let Some(most) = request.parameters.get("max_tokens").and_then(Value::as_u64) else {
        return;
    };
    if count(&choice.text.concat()) > most {
        let mut kept = String::new();
        for character in choice.text.concat().chars() {
            kept.push(character);
            if count(&kept) > most {
                kept.pop();
                break;
            }
        }
        choice.text = pieces(&kept);
        choice.finish_reason = Some("length".to_owned());
    }
}

fn logprobs(text: &[String]) -> Value {
    let token = |piece: &String| {
        // Every chunk has a high probability, the higher the shorter it is.
        let sure = -0.01 * f64::from(u32::try_from(piece.chars().count()).unwrap_or(1));
        json!({"token": piece, "bytes": piece.as_bytes(), "logprob": sure, "top_logprobs": []})
    };
    json!({"content": text.iter().map(token).collect::<Vec<_>>()})
}

/// The tool calls that `tool_choice` or the question requires.
pub(super) fn tool_calls(request: &GenerationRequest, id: &str) -> Vec<ToolCall> {
    let answered = request
        .messages
        .last()
        .is_some_and(|message| message.role == "tool");
    let tools = request.parameters.get("tools").and_then(Value::as_array);
    let (false, Some(tools)) = (answered, tools) else {
        return Vec::new();
    };
    let functions: Vec<&Value> = tools
        .iter()
        .filter_map(|tool| tool.get("function"))
        .collect();
    let name = |function: &Value| {
        function
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let choice = request.parameters.get("tool_choice");
    let forced = choice.and_then(|choice| name(choice.get("function")?));
    let word = choice.and_then(Value::as_str).unwrap_or("auto");
    let question = request.question();
    let mut wanted: Vec<&Value> = match (forced, word) {
        (Some(forced), _) => {
            let named = |function: &&&Value| name(function).as_deref() == Some(&forced);
            functions.iter().filter(named).copied().collect()
        }
        (None, "none") => Vec::new(),
        (None, "required") => functions.iter().take(1).copied().collect(),
        (None, _) => {
            let asked = |function: &&&Value| {
                name(function).is_some_and(|name| !name.is_empty() && question.contains(&name))
            };
            functions.iter().filter(asked).copied().collect()
        }
    };
    if !request.is_on("parallel_tool_calls") {
        wanted.truncate(1);
    }
    let arguments = |function: &Value| match function.get("parameters") {
        Some(schema) if schema.get("properties").is_some() => sample(schema, &question),
        _ => json!({}),
    };
    let call = |(index, function): (usize, &Value)| ToolCall {
        id: Some(format!(
            "call_{}{index}",
            id.replace('-', "").get(..23).unwrap_or("0")
        )),
        name: name(function).unwrap_or_default(),
        arguments: pieces(&arguments(function).to_string()),
    };
    wanted.into_iter().enumerate().map(call).collect()
}

/// The text, or a JSON document with it if the response format is JSON.
fn formatted(request: &GenerationRequest, text: String) -> String {
    let format = request.parameters.get("response_format");
    let field = |pointer: &str| format.and_then(|format| format.pointer(pointer));
    match field("/type").and_then(Value::as_str) {
        Some("json_object") => json!({ "answer": text }).to_string(),
        Some("json_schema") => match field("/json_schema/schema") {
            Some(schema) => sample(schema, &text).to_string(),
            None => json!({ "answer": text }).to_string(),
        },
        _ => text,
    }
}

fn transcribe(inputs: &AnswerInputs<'_>) -> Answer {
    let request = inputs.request;
    let options = request.parameters.get("asr_options");
    let asked = options.and_then(|options| options.get("language")?.as_str());
    let speech_input = match language(&request.question()) {
        Language::Chinese => "zh",
        Language::English => "en",
    };
    let choice = Choice {
        text: pieces(&describe(request, inputs.media)),
        annotations: vec![
            json!({"type": "audio_info", "language": asked.unwrap_or(speech_input),
            "emotion": "neutral"}),
        ],
        ..Choice::default()
    };
    Answer {
        choices: vec![choice],
        ..Answer::default()
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

fn speech(inputs: &AnswerInputs<'_>) -> Answer {
    let samples = synthesize(inputs.request.speech_input(), voice(inputs.request));
    let name = format!("{}.wav", inputs.id);
    // If the store is full, the URL has no file, like an expired one.
    let file = match inputs.request.stream {
        true => streamed_wav(RATE, &samples),
        false => wav(RATE, &samples),
    };
    let _ = inputs.store.keep(&name, file, "audio/wav", RESULT_LIFETIME);
    let speech = Speech {
        pieces: audio_chunks(&samples),
        url: format!("{}/emulator/files/{name}", inputs.origin),
        id: Some(format!("audio_{}", inputs.id)),
        expires_at: now() + RESULT_LIFETIME.as_secs(),
    };
    Answer {
        speech: Some(speech),
        ..Answer::default()
    }
}

fn draw(inputs: &AnswerInputs<'_>) -> Result<Answer, ApiError> {
    let request = inputs.request;
    let (width, height) = size(request)?;
    let count = request
        .parameters
        .get("n")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let mut choices = Vec::new();
    for number in 1..=count {
        let prompt = format!("{number} {} {:?}", request.question(), inputs.media);
        let image = generate_png(&prompt, width, height).ok_or_else(|| {
            ApiError::new(500, "InternalError", "The image could not be created.")
        })?;
        let name = format!("{}-{number}.png", inputs.id);
        let _ = inputs
            .store
            .keep(&name, image, "image/png", RESULT_LIFETIME);
        choices.push(Choice {
            images: vec![format!("{}/emulator/files/{name}", inputs.origin)],
            ..Choice::default()
        });
    }
    let mut output = Map::new();
    let metric = json!({"FAILED": 0, "SUCCEEDED": count, "TOTAL": count});
    output.insert("task_metric".into(), metric);
    if request.is_on("enable_interleave") {
        output.insert("finished".into(), json!(true));
    }
    Ok(Answer {
        choices,
        output,
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::audio_decoder::decode;
    use crate::emulator::decode_budget::Budget;
    use crate::emulator::image::image_info;

    fn made(model: &str, input: Value, parameters: Value, store: &Store) -> Answer {
        let body = json!({"model": model, "input": input, "parameters": parameters});
        let request = GenerationRequest::read(&body, true).unwrap();
        let inputs = AnswerInputs {
            request: &request,
            media: &[],
            id: "0123456789-0123456789-0123456789",
            store,
            origin: "http://here",
        };
        build_answer(&inputs).unwrap()
    }

    fn chatted(question: &str, parameters: Value) -> Choice {
        let input = json!({"messages": [{"role": "user", "content": question}]});
        let mut answer = made("qwen3-vl-plus", input, parameters, &Store::new(0));
        answer.choices.remove(0)
    }

    fn tools() -> Value {
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"properties":
            {"city": {"type": "string"}, "days": {"type": "integer"}}}}},
            {"type": "function", "function": {"name": "clock"}}])
    }

    #[test]
    fn tools_are_called_when_they_are_named_or_required() {
        let called = |question: &str, choice: Value, parallel: bool| {
            let parameters = json!({"tools": tools(), "tool_choice": choice,
                "parallel_tool_calls": parallel});
            let calls = chatted(question, parameters).tool_calls;
            calls.into_iter().map(|call| call.name).collect::<Vec<_>>()
        };
        assert_eq!(called("hello", Value::Null, false), Vec::<String>::new());
        assert_eq!(called("call weather", Value::Null, false), ["weather"]);
        assert_eq!(
            called("weather and clock", json!("auto"), true),
            ["weather", "clock"]
        );
        assert_eq!(
            called("weather", json!("none"), false),
            Vec::<String>::new()
        );
        assert_eq!(called("hello", json!("required"), false), ["weather"]);
        let forced = json!({"type": "function", "function": {"name": "clock"}});
        assert_eq!(called("hello", forced, false), ["clock"]);
        let choice = chatted("call weather", json!({"tools": tools()}));
        let arguments = choice.tool_calls[0].arguments.concat();
        assert_eq!(arguments, r#"{"city":"call weather","days":1}"#);
        assert_eq!(choice.ends_with(), "tool_calls");
    }

    #[test]
    fn parameters_shape_the_answer() {
        assert!(chatted("hi", json!({})).reasoning.is_empty());
        assert!(
            !chatted("hi", json!({"enable_thinking": true}))
                .reasoning
                .is_empty()
        );
        let short = chatted("hi", json!({"max_tokens": 3}));
        assert_eq!(
            (short.ends_with(), count(&short.text.concat())),
            ("length", 3)
        );
        let stopped = chatted("hi", json!({"stop": ["zzz", "You said"]}));
        assert_eq!(stopped.text.concat(), "[embedded DashScope emulator]\n");
        let sure = chatted("hi", json!({"logprobs": true}));
        assert_eq!(
            sure.logprobs.unwrap()["content"].as_array().unwrap().len(),
            sure.text.len()
        );
        let input = json!({"messages": [{"role": "user", "content": "hi"}]});
        let three = made(
            "qwen3-vl-plus",
            input.clone(),
            json!({"n": 3}),
            &Store::new(0),
        );
        assert_eq!(three.choices.len(), 3);
        let speech_input = json!({"modalities": ["text", "audio"]});
        let omni = made("qwen3-omni-flash", input, speech_input, &Store::new(0));
        assert!(!omni.choices[0].audio.is_empty() && omni.choices[0].reasoning.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn results_can_be_fetched_from_the_store() {
        let store = Store::new(10_000_000);
        let input = json!({"text": "hello", "voice": "Cherry"});
        let speech = made("qwen3-tts-flash", input, json!({}), &store)
            .speech
            .unwrap();
        let name = speech
            .url
            .strip_prefix("http://here/emulator/files/")
            .unwrap();
        let recording =
            decode(store.find(name).unwrap().bytes, 30, &mut Budget::default()).unwrap();
        assert_eq!((recording.rate, recording.frames), (24_000, 5 * 1440));

        let input = json!({"messages": [{"role": "user", "content": [{"text": "a cat"}]}]});
        let answer = made(
            "qwen-image-max",
            input,
            json!({"size": "64*32", "n": 2}),
            &store,
        );
        let url = &answer.choices[1].images[0];
        let name = url.strip_prefix("http://here/emulator/files/").unwrap();
        let image = image_info(&store.find(name).unwrap().bytes).unwrap();
        assert_eq!((image.width, image.height), (64, 32));
        assert_eq!(answer.output["task_metric"]["TOTAL"], 2);
    }

    #[test]
    fn a_transcript_is_annotated() {
        let input = json!({"messages": [{"role": "user", "content": [{"audio": "https://a/b"}]}]});
        let options = json!({"asr_options": {"language": "zh"}});
        let answer = made("qwen3-asr-flash", input, options, &Store::new(0));
        assert_eq!(
            answer.choices[0].annotations[0].to_string(),
            r#"{"type":"audio_info","language":"zh","emotion":"neutral"}"#
        );
    }
}
