//! Converts answers to the chunks of an OpenAI-style stream.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice, ToolCall};
use super::dialect::Dialect;
use super::openai_response::{ResponseHead, choices, extend};
use super::openai_usage::so_far;

/// One chunk of one choice.
#[derive(Clone, Debug)]
struct Chunk {
    index: usize,
    delta: Value,
    reason: Value,
    logprobs: Value,
    /// Whether it has audio.
    audio: bool,
    /// Whether it is the last one of its choice, or of its modality.
    last: bool,
}

/// The chunks of a stream, with the usage at its end.
pub(super) fn chunks(
    answer: &Answer,
    usage: &Map<String, Value>,
    head: &ResponseHead<'_>,
) -> Vec<Value> {
    let choices = choices(answer);
    let tracks = choices.iter().enumerate();
    let tracks: Vec<Vec<Chunk>> = tracks
        .map(|(index, choice)| track(index, choice, head))
        .collect();
    let longest = tracks.iter().map(Vec::len).max().unwrap_or(0);
    let all = tracks.iter().flatten().filter(|chunk| !chunk.audio).count();
    let mut bodies = Vec::new();
    let mut sent = 0;
    // Several choices are interleaved, one in each chunk.
    for round in 0..longest {
        for chunk in tracks.iter().filter_map(|track| track.get(round)) {
            sent += usize::from(!chunk.audio);
            let usage = chunk_usage(chunk, usage, (sent, all), head);
            bodies.push(envelope(chunk, usage, head));
        }
    }
    if head.options.include_usage && head.dialect != Dialect::SglangOmni {
        bodies.push(last_usage(usage, head));
    }
    bodies
}

/// The usage in a chunk with a choice: absent, null, so far, or whole.
fn chunk_usage(
    chunk: &Chunk,
    usage: &Map<String, Value>,
    (sent, all): (usize, usize),
    head: &ResponseHead<'_>,
) -> Option<Value> {
    let continuous = head.options.continuous_usage;
    match head.dialect {
        // The audio stage does not know the tokens of the text stage, and always has a usage.
        Dialect::VllmOmni if chunk.audio => Some(so_far(usage, 0, all)),
        Dialect::Vllm | Dialect::VllmOmni => continuous.then(|| so_far(usage, sent, all)),
        Dialect::Sglang if continuous => Some(so_far(usage, sent, all)),
        Dialect::Sglang | Dialect::DashScope => Some(Value::Null),
        Dialect::SglangOmni => chunk.last.then(|| json!(usage)),
        Dialect::OpenAi => head.options.include_usage.then_some(Value::Null),
    }
}

fn envelope(chunk: &Chunk, usage: Option<Value>, head: &ResponseHead<'_>) -> Value {
    let (index, delta, reason) = (chunk.index, &chunk.delta, &chunk.reason);
    let logprobs = &chunk.logprobs;
    let choice = match head.dialect {
        Dialect::DashScope => json!({"delta": delta, "finish_reason": reason, "index": index,
            "logprobs": logprobs}),
        Dialect::VllmOmni if chunk.audio => {
            let data = delta.get("content").and_then(Value::as_str);
            let metadata = head.audio_metadata(data.unwrap_or_default());
            json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason,
                "stop_reason": null, "token_ids": null, "audio_metadata": metadata})
        }
        Dialect::Vllm | Dialect::VllmOmni if chunk.last => json!({"index": index, "delta": delta,
            "logprobs": logprobs, "finish_reason": reason, "stop_reason": null,
            "token_ids": null}),
        Dialect::Vllm | Dialect::VllmOmni => json!({"index": index, "delta": delta,
            "logprobs": logprobs, "finish_reason": reason, "token_ids": null}),
        Dialect::Sglang => json!({"index": index, "delta": delta, "logprobs": logprobs,
            "finish_reason": reason, "matched_stop": null}),
        Dialect::SglangOmni => json!({"index": index, "delta": delta, "finish_reason": reason}),
        Dialect::OpenAi => json!({"index": index, "delta": delta, "logprobs": logprobs,
            "finish_reason": reason}),
    };
    let mut body = chunk_body(json!([choice]), usage, head);
    if head.dialect == Dialect::VllmOmni {
        let modality = if chunk.audio { "audio" } else { "text" };
        extend(&mut body, json!({"modality": modality, "metrics": null}));
    }
    body
}

fn chunk_body(choices: Value, usage: Option<Value>, head: &ResponseHead<'_>) -> Value {
    let model = &head.options.model;
    if head.dialect == Dialect::DashScope {
        return json!({"choices": choices, "object": "chat.completion.chunk", "usage": usage,
            "created": head.created, "system_fingerprint": null, "model": model,
            "id": head.chat_id()});
    }
    let mut body = json!({"id": head.chat_id(), "object": "chat.completion.chunk",
        "created": head.created, "model": model});
    if head.dialect == Dialect::OpenAi {
        extend(
            &mut body,
            json!({"service_tier": "default", "system_fingerprint": null}),
        );
    }
    extend(&mut body, json!({ "choices": choices }));
    if let Some(usage) = usage {
        extend(&mut body, json!({ "usage": usage }));
    }
    body
}

fn last_usage(usage: &Map<String, Value>, head: &ResponseHead<'_>) -> Value {
    chunk_body(json!([]), Some(json!(usage)), head)
}

/// The chunks of one choice.
fn track(index: usize, choice: &Choice, head: &ResponseHead<'_>) -> Vec<Chunk> {
    let dialect = head.dialect;
    let audio = match dialect.speaks() {
        true => audio_deltas(choice, head),
        false => Vec::new(),
    };
    let silent = audio.is_empty();
    let mut track = Vec::new();
    let chunk = |delta: Value, audio: bool| Chunk {
        index,
        delta: completed(delta, dialect),
        reason: Value::Null,
        logprobs: Value::Null,
        audio,
        last: false,
    };
    let texts = text_deltas(choice, head);
    let mute = texts.is_empty() && !silent;
    if dialect != Dialect::SglangOmni && !(mute && dialect == Dialect::VllmOmni) {
        track.push(chunk(first_delta(dialect), false));
    }
    for (delta, logprobs) in texts {
        track.push(Chunk {
            logprobs,
            ..chunk(delta, false)
        });
    }
    let ends_with_audio = dialect == Dialect::VllmOmni && !silent;
    if ends_with_audio && !mute {
        track.push(Chunk {
            last: true,
            ..chunk(json!({"content": ""}), false)
        });
    }
    track.extend(audio.into_iter().map(|delta| chunk(delta, true)));
    if !ends_with_audio {
        track.push(chunk(last_delta(dialect), false));
    }
    if let Some(last) = track.last_mut() {
        last.reason = head.reason(choice);
        last.last = true;
    }
    if let (Dialect::SglangOmni, Some(first)) = (dialect, track.first_mut())
        && !first.last
    {
        let mut delta = json!({"role": "assistant"});
        extend(&mut delta, first.delta.take());
        first.delta = delta;
    }
    track
}

fn first_delta(dialect: Dialect) -> Value {
    match dialect {
        Dialect::DashScope => json!({"content": "", "role": "assistant"}),
        Dialect::OpenAi => json!({"role": "assistant", "content": "", "refusal": null}),
        Dialect::Vllm | Dialect::VllmOmni | Dialect::Sglang | Dialect::SglangOmni => {
            json!({"role": "assistant", "content": ""})
        }
    }
}

fn last_delta(dialect: Dialect) -> Value {
    match dialect {
        Dialect::OpenAi | Dialect::Sglang | Dialect::SglangOmni => json!({}),
        Dialect::DashScope | Dialect::Vllm | Dialect::VllmOmni => json!({"content": ""}),
    }
}

/// SGLang writes every field of a delta.
fn completed(mut delta: Value, dialect: Dialect) -> Value {
    if dialect != Dialect::Sglang {
        return delta;
    }
    let mut whole = json!({"role": null, "content": null, "reasoning_content": null,
        "tool_calls": null});
    extend(&mut whole, delta.take());
    whole
}

/// Deltas of reasoning, text and tool calls, each with the log probabilities of its tokens.
fn text_deltas(choice: &Choice, head: &ResponseHead<'_>) -> Vec<(Value, Value)> {
    let mut deltas = Vec::new();
    if let Some(field) = head.dialect.reasoning_field() {
        for thought in &choice.reasoning {
            let mut delta = Map::new();
            if head.dialect == Dialect::DashScope {
                delta.insert("content".into(), Value::Null);
            }
            delta.insert(field.to_owned(), json!(thought));
            deltas.push((delta.into(), Value::Null));
        }
    }
    let transcribed = head.dialect == Dialect::OpenAi && !choice.audio.is_empty();
    let mut so_far = String::new();
    for (n, piece) in choice.text.iter().enumerate().filter(|_| !transcribed) {
        if !head.cumulative {
            so_far.clear();
        }
        so_far.push_str(piece);
        let mut delta = json!({ "content": so_far });
        if head.dialect == Dialect::DashScope && !choice.annotations.is_empty() {
            extend(&mut delta, json!({ "annotations": choice.annotations }));
        }
        deltas.push((delta, logprobs(choice, n)));
    }
    for (index, call) in choice.tool_calls.iter().enumerate() {
        let calls = tool_deltas(index, call, head.dialect);
        deltas.extend(calls.into_iter().map(|call| (call, Value::Null)));
    }
    deltas
}

/// The log probabilities of the n-th piece of text; all of them with the first one if they are not
/// one for each piece.
fn logprobs(choice: &Choice, n: usize) -> Value {
    let Some(logprobs) = &choice.logprobs else {
        return Value::Null;
    };
    let tokens = logprobs.get("content").and_then(Value::as_array);
    match tokens {
        Some(tokens) if tokens.len() == choice.text.len() => {
            json!({"content": tokens.get(n..=n).unwrap_or_default()})
        }
        _ if n == 0 => logprobs.clone(),
        _ => Value::Null,
    }
}

/// The first delta names the function and has no arguments.
fn tool_deltas(index: usize, call: &ToolCall, dialect: Dialect) -> Vec<Value> {
    let id = call.id.as_deref().unwrap_or("call_0");
    let mut deltas = vec![json!({"index": index, "id": id, "type": "function",
        "function": {"name": call.name, "arguments": ""}})];
    let native = dialect == Dialect::DashScope;
    for arguments in &call.arguments {
        let function = json!({ "arguments": arguments });
        deltas.push(if native {
            json!({"index": index, "id": "", "type": "function", "function": function})
        } else {
            json!({"index": index, "function": function})
        });
    }
    let delta = |call| {
        if native {
            json!({"content": null, "tool_calls": [call]})
        } else {
            json!({"tool_calls": [call]})
        }
    };
    deltas.into_iter().map(delta).collect()
}

fn audio_deltas(choice: &Choice, head: &ResponseHead<'_>) -> Vec<Value> {
    let (id, expires_at) = (head.audio_id(), head.expires_at());
    let data = choice.audio.iter().map(|pcm| head.audio(pcm));
    match head.dialect {
        Dialect::DashScope => data
            .map(|data| json!({"audio": {"data": data, "expires_at": expires_at, "id": id}}))
            .collect(),
        Dialect::VllmOmni => data
            .map(|data| json!({"role": "assistant", "content": data}))
            .collect(),
        Dialect::OpenAi if choice.audio.is_empty() => Vec::new(),
        Dialect::OpenAi => {
            let mut deltas = vec![json!({ "id": id })];
            deltas.extend(choice.text.iter().map(|text| json!({ "transcript": text })));
            deltas.extend(data.map(|data| json!({ "data": data })));
            deltas.push(json!({ "expires_at": expires_at }));
            let delta = |audio| json!({ "audio": audio });
            deltas.into_iter().map(delta).collect()
        }
        Dialect::SglangOmni | Dialect::Vllm | Dialect::Sglang => data
            .map(|data| json!({"audio": {"id": id, "data": data}}))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::openai_request::ChatOptions;
    use crate::emulator::openai_response::tests::{choice, head};

    fn stream(answer: &Answer, dialect: Dialect, options: &ChatOptions) -> Vec<Value> {
        let usage = json!({"prompt_tokens": 207, "completion_tokens": 103, "total_tokens": 310});
        chunks(answer, usage.as_object().unwrap(), &head(dialect, options))
    }

    fn options() -> ChatOptions {
        ChatOptions {
            model: "qwen3-omni-flash".into(),
            include_usage: true,
            pcm: true,
            ..ChatOptions::default()
        }
    }

    #[test]
    fn the_compatible_mode_is_as_documented() {
        let chunks = stream(&choice(&["我"], &["AAAA"]), Dialect::DashScope, &options());
        let rest = "\"created\":1757647879,\"system_fingerprint\":null,\
                    \"model\":\"qwen3-omni-flash\",\"id\":\"chatcmpl-r-1\"}";
        let texts: Vec<_> = chunks[1..].iter().map(Value::to_string).collect();
        assert_eq!(
            texts,
            [
                format!(
                    "{{\"choices\":[{{\"delta\":{{\"content\":\"我\"}},\"finish_reason\":null,\
                     \"index\":0,\"logprobs\":null}}],\"object\":\"chat.completion.chunk\",\
                     \"usage\":null,{rest}"
                ),
                format!(
                    "{{\"choices\":[{{\"delta\":{{\"audio\":{{\"data\":\"AAAA\",\
                     \"expires_at\":1757734279,\"id\":\"audio_r-1\"}}}},\"finish_reason\":null,\
                     \"index\":0,\"logprobs\":null}}],\"object\":\"chat.completion.chunk\",\
                     \"usage\":null,{rest}"
                ),
                format!(
                    "{{\"choices\":[{{\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"stop\",\
                     \"index\":0,\"logprobs\":null}}],\"object\":\"chat.completion.chunk\",\
                     \"usage\":null,{rest}"
                ),
                format!(
                    "{{\"choices\":[],\"object\":\"chat.completion.chunk\",\
                     \"usage\":{{\"prompt_tokens\":207,\"completion_tokens\":103,\
                     \"total_tokens\":310}},{rest}"
                ),
            ]
        );
    }

    #[test]
    fn vllm_omni_finishes_with_the_last_modality() {
        let options = ChatOptions {
            pcm: false,
            ..options()
        };
        let chunks = stream(
            &choice(&["a", "b"], &["AAAA", "AQA="]),
            Dialect::VllmOmni,
            &options,
        );
        let field = |pointer: &str| {
            let found = chunks.iter().map(|chunk| chunk.pointer(pointer).cloned());
            found.map(Option::unwrap_or_default).collect::<Vec<_>>()
        };
        assert_eq!(
            field("/modality"),
            [
                json!("text"),
                json!("text"),
                json!("text"),
                json!("text"),
                json!("audio"),
                json!("audio"),
                Value::Null
            ]
        );
        let reasons = field("/choices/0/finish_reason");
        assert!(reasons[..5].iter().all(Value::is_null), "{reasons:?}");
        assert_eq!(reasons[5], "stop");
        assert!(chunks[..4].iter().all(|chunk| chunk["usage"].is_null()));
        assert_eq!(chunks[4]["usage"]["completion_tokens"], 0);
        assert_eq!(chunks[6]["usage"]["completion_tokens"], 103);
        assert_eq!(
            chunks[4]["choices"][0]["audio_metadata"],
            json!({"format": "wav", "sample_rate_hz": 24_000, "frame_count": 1, "channels": 1})
        );
        for chunk in &chunks[4..6] {
            let data = chunk["choices"][0]["delta"]["content"].as_str().unwrap();
            assert!(data.starts_with("UklGR"), "{chunk}");
        }
    }

    #[test]
    fn sglang_omni_has_the_usage_in_its_last_chunk() {
        let chunks = stream(&choice(&["a"], &["AAAA"]), Dialect::SglangOmni, &options());
        assert_eq!(chunks.len(), 3);
        assert_eq!(
            chunks[0]["choices"][0]["delta"],
            json!({"role": "assistant", "content": "a"})
        );
        let audio = json!({"audio": {"id": "audio-r-1", "data": "AAAA"}});
        assert_eq!(chunks[1]["choices"][0]["delta"], audio);
        assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks[2]["usage"]["total_tokens"], 310);
    }

    #[test]
    fn tool_calls_reasoning_and_logprobs_are_deltas() {
        let mut answer = choice(&["a", "b"], &[]);
        answer.choices[0].reasoning = vec!["hm".into()];
        answer.choices[0].logprobs = Some(json!({"content": [{"token": "a"}, {"token": "b"}]}));
        answer.choices[0].tool_calls = vec![ToolCall {
            id: None,
            name: "f".into(),
            arguments: vec!["{}".into()],
        }];
        let chunks = stream(&answer, Dialect::Sglang, &ChatOptions::default());
        let deltas: Vec<_> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"])
            .collect();
        assert_eq!(deltas[1]["reasoning_content"], "hm");
        assert_eq!(deltas[2]["content"], "a");
        assert_eq!(deltas[2]["reasoning_content"], Value::Null);
        assert_eq!(
            chunks[3]["choices"][0]["logprobs"],
            json!({"content": [{"token": "b"}]})
        );
        assert_eq!(
            deltas[4]["tool_calls"][0],
            json!({"index": 0, "id": "call_0", "type": "function",
                "function": {"name": "f", "arguments": ""}})
        );
        let arguments = json!({"index": 0, "function": {"arguments": "{}"}});
        assert_eq!(deltas[5]["tool_calls"][0], arguments);
        assert_eq!(chunks[6]["choices"][0]["finish_reason"], "tool_calls");
        let vllm = stream(&answer, Dialect::Vllm, &ChatOptions::default());
        assert_eq!(vllm[1]["choices"][0]["delta"], json!({"reasoning": "hm"}));
    }

    #[test]
    fn openai_streams_audio_with_its_transcript() {
        let chunks = stream(&choice(&["a"], &["AAAA"]), Dialect::OpenAi, &options());
        let audio = |n: usize| chunks[n]["choices"][0]["delta"]["audio"].clone();
        assert_eq!(audio(1), json!({"id": "audio_r-1"}));
        assert_eq!(audio(2), json!({"transcript": "a"}));
        assert_eq!(audio(3), json!({"data": "AAAA"}));
        assert_eq!(chunks[0]["usage"], Value::Null);
        assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    }
}
