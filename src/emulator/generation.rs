//! The multimodal generation endpoint.

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use bytes::Bytes;

use super::answer::Answer;
use super::answerer::{AnswerInputs, build_answer};
use super::checks::{check, size};
use super::decode_budget::Budget;
use super::error::ApiError;
use super::family::{Family, UsageForm};
use super::media::{MediaLocations, Medium, Source, analyse_media, find};
use super::media_limits::{frames as frames_fit, sizes};
use super::render::{RenderStyle, frames, whole};
use super::request::{GenerationRequest, Message, model, subject};
use super::request_journal::shown_body;
use super::response_plan::Plan;
use super::rule::{BodyFormat, Reply};
use super::script::Call;
use super::state::{RequestContext, ServerState};
use super::usage::{Input, usage};
use super::wire_format::{ResponseContent, raw};

/// Answers a generation request.
pub(super) async fn generate(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    body: &Bytes,
) -> Plan {
    let stream = streams(&parts.headers);
    // A body that is not JSON is processed as null, for which DashScope has the same error.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    context.entry.note("stream", stream.into());
    context.entry.note("body", shown_body(&body));
    let subject = subject(&body);
    let call = Call {
        path: parts.uri.path(),
        model: model(&body),
        text: &subject,
        stream,
    };
    let mut reply = state.scripted_reply(call, context);
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let as_stream = reply
        .wire
        .body
        .map_or(stream, |body| body == BodyFormat::Sse);
    let lone = reply.answer.is_none() && !(as_stream && after_chunks(&reply));
    if let Some(refusal) = reply.refusal.as_ref().filter(|_| lone) {
        return ResponseContent::refusal(refusal, as_stream, &context.id, Vec::new())
            .into_plan(&reply, &context.id);
    }
    let made = match reply.answer.take() {
        Some(answer) => Ok(scripted(answer, &body, stream)),
        None => generate_answer(state, context, call, &parts.headers, &body).await,
    };
    let content = match made {
        Ok(made) => made.into_content(&reply, as_stream, &context.id),
        Err(error) => ResponseContent::error(&error, as_stream, &context.id),
    };
    content.into_plan(&reply, &context.id)
}

/// Either header requests a stream: one recorded call has only the second.
fn streams(headers: &HeaderMap) -> bool {
    let has = |name: &str, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_lowercase().contains(wanted))
    };
    has("x-dashscope-sse", "enable") || has("accept", "text/event-stream")
}

fn after_chunks(reply: &Reply) -> bool {
    let refusal = reply.refusal.as_ref();
    refusal.is_some_and(|refusal| refusal.after_chunks > Some(0))
}

/// An answer, and what its encoding depends on.
struct GeneratedAnswer {
    answer: Answer,
    input: Input,
    form: UsageForm,
    style: RenderStyle,
}

impl GeneratedAnswer {
    fn new(answer: Answer, input: Input, family: Option<&Family>, deltas: bool) -> Self {
        Self {
            answer,
            input,
            form: family.map_or(UsageForm::Detailed, |family| family.usage),
            style: RenderStyle {
                deltas,
                empty_last: family.is_some_and(|family| family.empty_last),
                unfinished: false,
                no_reason: family.is_some_and(|family| family.no_reason),
            },
        }
    }

    fn into_content(self, reply: &Reply, stream: bool, id: &str) -> ResponseContent {
        let style = RenderStyle {
            deltas: reply.wire.incremental.unwrap_or(self.style.deltas),
            unfinished: reply.wire.finish_reason == Some(false),
            ..self.style
        };
        let usage: Map<String, Value> = usage(&self.answer, &self.input, self.form, stream);
        match &reply.refusal {
            Some(refusal) => {
                let frames = frames(&self.answer, &usage, style, id);
                ResponseContent::refusal(refusal, stream, id, frames)
            }
            None if stream => ResponseContent::frames(frames(&self.answer, &usage, style, id)),
            None => ResponseContent::Json(200, whole(&self.answer, &usage, style, id)),
        }
    }
}

/// The answer of a script, which is independent of the request: the model may be unknown.
fn scripted(answer: Answer, body: &Value, stream: bool) -> GeneratedAnswer {
    match GenerationRequest::read(body, stream) {
        Ok(request) => {
            let input = Input::count(&request, &[], (0, 0));
            GeneratedAnswer::new(answer, input, Some(request.family), request.deltas())
        }
        Err(_) => {
            let asked = body.pointer("/parameters/incremental_output");
            let deltas = asked.and_then(Value::as_bool).unwrap_or(false);
            GeneratedAnswer::new(answer, Input::default(), None, deltas)
        }
    }
}

async fn generate_answer(
    state: &ServerState,
    context: &RequestContext,
    call: Call<'_>,
    headers: &HeaderMap,
    body: &Value,
) -> Result<GeneratedAnswer, ApiError> {
    if says_enable(headers, "x-dashscope-async") {
        let words = "Current user api does not support asynchronous calls.";
        return Err(ApiError::new(403, "AccessDenied", words));
    }
    let request = GenerationRequest::read(body, call.stream)?;
    check(&request)?;
    let sample = state
        .samples
        .matching_rule(call)
        .and_then(|matching_rule| matching_rule.reply.answer);
    if let Some(answer) = sample {
        return Ok(scripted(answer, body, call.stream));
    }
    frames_fit(&request)?;
    let media = media(state, context, &request, headers).await?;
    sizes(&request, &media)?;
    let inputs = AnswerInputs {
        request: &request,
        media: &media,
        id: &context.id,
        store: &state.store,
        origin: &context.origin,
    };
    let answer = build_answer(&inputs)?;
    let input = Input::count(&request, &media, size(&request)?);
    Ok(GeneratedAnswer::new(
        answer,
        input,
        Some(request.family),
        request.deltas(),
    ))
}

fn says_enable(headers: &HeaderMap, name: &str) -> bool {
    let value = headers.get(name);
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enable"))
}

/// Resolves all media, and analyses those of the last message that has any.
async fn media(
    state: &ServerState,
    context: &RequestContext,
    request: &GenerationRequest,
    headers: &HeaderMap,
) -> Result<Vec<Medium>, ApiError> {
    let locations = MediaLocations {
        resolve: says_enable(headers, "x-dashscope-ossresourceresolve"),
        store: &state.store,
        origin: &context.origin,
    };
    let found = |message: &Message| find(&message.parts, request, locations);
    let messages = request.messages.iter().map(found);
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let last = messages.into_iter().rfind(|sources| !sources.is_empty());
    let sources: Vec<Source> = last.unwrap_or_default();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let max_audio_seconds = request.family.max_audio_seconds;
    let failed = || ApiError::new(500, "InternalError", "The media could not be decoded.");
    let permit = state.decode_permits.clone().acquire_owned().await;
    let permit = permit.map_err(|_| failed())?;
    // Dropped with this call, which cancels the decoding when the client disconnects.
    let (mut budget, _guard) = Budget::guarded();
    let work = move || {
        // Held by the work, which ends shortly after the client has disconnected.
        let _permit = permit;
        let sources = sources.into_iter();
        let media = sources.map(|source| analyse_media(source, max_audio_seconds, &mut budget));
        media.collect::<Result<Vec<_>, _>>()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| failed())?
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;
    use crate::emulator::client::{TestEmulator, TestResponse};
    use crate::emulator::script::GENERATION;
    use crate::emulator::speech_synthesis::wav;

    const SAMPLES: &str = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/";

    fn sample(file: &str, parameters: Value) -> Value {
        json!({"model": "qwen-audio-turbo", "parameters": parameters, "input": {"messages": [
            {"role": "user", "content": [{"audio": format!("{SAMPLES}{file}")},
                {"text": "这段音频在说什么?"}]}]}})
    }

    fn said(model: &str, text: &str, parameters: Value) -> Value {
        json!({"model": model, "parameters": parameters,
            "input": {"messages": [{"role": "user", "content": [{"text": text}]}]}})
    }

    fn frames(answer: &TestResponse) -> Vec<Value> {
        let text = answer.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
        lines
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_quick_start_is_answered_as_documented() {
        let served = TestEmulator::plain().await;
        let answer = served.request(&sample("2channel_16K.wav", json!({}))).await;
        let body = answer.json();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            body["output"].to_string(),
            "{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"role\":\"assistant\",\
             \"content\":[{\"text\":\"这段音频在说中文:\\\"未来没有互联网\\\"。\"}]}}]}"
        );
        let usage = json!({"input_tokens": 1276, "audio_tokens": 768, "output_tokens": 19});
        assert_eq!(body["usage"], usage);
        let body = served
            .request(&sample("welcome.mp3", json!({})))
            .await
            .json();
        let content = &body["output"]["choices"][0]["message"]["content"];
        assert_eq!(
            *content,
            json!([{"text": "这段音频说的是:'欢迎使用阿里云'"}])
        );
        let usage = json!({"input_tokens": 33, "audio_tokens": 85, "output_tokens": 10});
        assert_eq!(body["usage"], usage);
    }

    #[tokio::test(start_paused = true)]
    async fn cumulative_and_incremental_streams_match_the_recording() {
        let script = json!({"rules": [{"reply": {"request_id": "1341c517-71bf-94f5",
            "answer": {"chunks": ["这段音频", "说的是", "'"],
                "usage": {"audio_tokens": 85, "input_tokens": 33, "output_tokens": 9}}}}]});
        let served = TestEmulator::scripted(&script.to_string()).await;
        let stream = |texts: [&str; 3]| {
            let frame = |n: usize| {
                let end = if n == 2 { "stop" } else { "null" };
                format!(
                    "id:{}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\
                     \"message\":{{\"content\":[{{\"text\":\"{}\"}}],\"role\":\"assistant\"}},\
                     \"finish_reason\":\"{end}\"}}]}},\"usage\":{{\"audio_tokens\":85,\
                     \"input_tokens\":33,\"output_tokens\":{}}},\"request_id\":\
                     \"1341c517-71bf-94f5\"}}\n\n",
                    n + 1,
                    texts[n],
                    (n + 1) * 3
                )
            };
            (0..3).map(frame).collect::<String>()
        };
        let cumulative = stream(["这段音频", "这段音频说的是", "这段音频说的是'"]);
        let deltas = stream(["这段音频", "说的是", "'"]);
        for (parameters, expected) in [
            (json!({}), &cumulative),
            (json!({"incremental_output": false}), &cumulative),
            (json!({"incremental_output": true}), &deltas),
        ] {
            let answer = served
                .request_stream(&sample("welcome.mp3", parameters))
                .await;
            assert_eq!(answer.text(), *expected);
            let mime = answer.header("content-type");
            assert_eq!(mime, Some("text/event-stream;charset=UTF-8"));
            assert_eq!(answer.header("x-request-id"), Some("1341c517-71bf-94f5"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn either_header_requests_a_stream() {
        let served = TestEmulator::plain().await;
        let body = said("qwen-vl-plus", "hi", json!({})).to_string();
        for (name, value, stream) in [
            ("x-dashscope-sse", "enable", true),
            ("accept", "text/event-stream", true),
            ("x-dashscope-sse", "disable", false),
            ("accept", "application/json", false),
        ] {
            let headers = [("authorization", "Bearer sk-a"), (name, value)];
            let answer = served
                .call("POST", GENERATION, &headers, body.as_bytes())
                .await;
            assert_eq!(
                answer.text().starts_with("id:1\n"),
                stream,
                "{name} {value}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_a_status_or_the_first_event() {
        let served = TestEmulator::plain().await;
        let body = said("qwen-audio-turbo", "hi", json!({"top_p": 2}));
        let answer = served.request(&body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (400, &json!("InvalidParameter"))
        );
        let answer = served.request_stream(&body).await;
        assert_eq!(answer.status, 200);
        let id = answer.header("x-request-id").unwrap();
        let expected = format!(
            "id:1\nevent:error\n:HTTP_STATUS/400\ndata:{{\"code\":\"InvalidParameter\",\"message\":\
             \"Range of top_p should be (0.0, 1.0]\",\"request_id\":\"{id}\"}}\n\n"
        );
        assert_eq!(answer.text(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_can_follow_frames() {
        let error = json!({"status": 429, "code": "Throttling", "message": "m", "after_chunks": 1});
        for answer in [json!({"chunks": ["a", "b"]}), Value::Null] {
            let script = json!({"rules": [{"reply": {"answer": answer, "error": error}}]});
            let served = TestEmulator::scripted(&script.to_string()).await;
            let text = served
                .request_stream(&said("qwen-vl-plus", "hi", json!({})))
                .await
                .text();
            assert!(text.starts_with("id:1\nevent:result\n"), "{text}");
            assert!(
                text.contains("\n\nid:2\nevent:error\n:HTTP_STATUS/429\n"),
                "{text}"
            );
            assert!(
                text.ends_with("}\n\n") && text.matches("id:").count() == 2,
                "{text}"
            );
            let unary = served.request(&said("qwen-vl-plus", "hi", json!({}))).await;
            assert_eq!(unary.status, 429);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn scripts_answer_for_unknown_models() {
        let script = json!({"rules": [{"match": {"model": "mine"}, "reply": {"answer": "yes"}}]});
        let served = TestEmulator::scripted(&script.to_string()).await;
        let content = "/output/choices/0/message/content/0/text";
        let answer = served.request(&said("mine", "hi", json!({}))).await.json();
        assert_eq!(answer.pointer(content), Some(&json!("yes")));
        assert_eq!(
            served.request(&said("yours", "hi", json!({}))).await.status,
            404
        );
    }

    #[tokio::test(start_paused = true)]
    async fn models_of_another_path_are_refused() {
        let served = TestEmulator::plain().await;
        for model in [
            "qwen-plus",
            "qwen3-max",
            "qwen3.7-max",
            "deepseek-v3.2",
            "qwq-plus",
        ] {
            let answer = served.request(&said(model, "hi", json!({}))).await;
            assert_eq!(answer.status, 400, "{model}");
            assert_eq!(answer.json()["code"], "InvalidParameter");
            assert_eq!(answer.json()["message"], "url error, please check url!");
        }
        for model in ["kimi-k2.5", "kimi-k2.6", "qwen3.6-plus", "qwen3.8-max"] {
            let answer = served.request(&said(model, "hi", json!({}))).await;
            assert_eq!(answer.status, 200, "{model}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fun_asr_answers_in_its_own_format() {
        let served = TestEmulator::plain().await;
        let data = STANDARD.encode(wav(8000, &[900; 8000]));
        let body = |parameters: Value| {
            json!({"model": "fun-asr-flash-2026-06-15", "parameters": parameters,
                "input": {"messages": [{"role": "user", "content": [{"type": "input_audio",
                    "input_audio": {"data": format!("data:audio/wav;base64,{data}")}}]}]}})
        };
        let good = body(json!({"format": "wav", "sample_rate": "8000"}));
        let answer = served.request(&good).await.json();
        let text = answer["output"]["text"].as_str().unwrap().to_owned();
        assert!(text.contains("1.00 s, 8000 Hz"), "{text}");
        assert!(answer["output"].get("choices").is_none());
        assert_eq!(answer["usage"], json!({"duration": 1}));
        let streamed = frames(&served.request_stream(&good).await);
        assert!(streamed.len() > 1);
        assert_eq!(streamed.last().unwrap()["output"]["text"], json!(text));
        for missing in [
            body(json!({})),
            said("qwen-audio-3.1-asr-flash", "hi", json!({"format": "wav"})),
        ] {
            let answer = served.request(&missing).await;
            assert_eq!((answer.status, answer.text().as_str()), (400, "{}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn transcriptions_take_an_empty_context() {
        let served = TestEmulator::plain().await;
        let body = json!({"model": "qwen3-asr-flash", "input": {"messages": [
            {"role": "system", "content": [{"text": ""}]},
            {"role": "user", "content": [{"audio": format!("{SAMPLES}welcome.mp3")}]}]}});
        let answer = served.request(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = "/output/choices/0/message/content/0/text";
        let text = answer.json().pointer(text).cloned();
        assert!(text.is_some_and(|text| !text.as_str().unwrap().is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn newer_audio_models_answer_as_fun_asr_does() {
        let served = TestEmulator::plain().await;
        let data = STANDARD.encode(wav(8000, &[900; 8000]));
        let body = json!({"model": "qwen-audio-3.1-asr-flash", "parameters": {"format": "wav"},
            "input": {"messages": [{"role": "user", "content": [{"type": "input_audio",
                "input_audio": {"data": format!("data:audio/wav;base64,{data}")}}]}]}});
        let answer = served.request(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.json()["output"]["text"].as_str().unwrap().to_owned();
        assert!(text.contains("1.00 s, 8000 Hz"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_of_streamed_speech_has_placeholder_sizes() {
        let served = TestEmulator::plain().await;
        let body = json!({"model": "qwen3-tts-flash", "input": {"text": "hi", "voice": "Cherry"}});
        let frames = frames(&served.request_stream(&body).await);
        let urls = frames.iter().map(|frame| &frame["output"]["audio"]["url"]);
        let url = urls.filter_map(Value::as_str).rfind(|url| !url.is_empty());
        let origin = format!("http://{}", served.address);
        let path = url.unwrap().strip_prefix(&origin).unwrap();
        let file = served.call("GET", path, &[], b"").await;
        assert_eq!(file.status, 200);
        let size = |at: usize| u32::from_le_bytes(file.body[at..at + 4].try_into().unwrap());
        assert_eq!((&file.body[..4], size(4)), (&b"RIFF"[..], 0x7fff_ffbf));
        assert_eq!((&file.body[36..40], size(40)), (&b"data"[..], 0x7fff_ff9b));
    }

    /// Recorded requests that DashScope would refuse, and its words: their answers were played.
    const REFUSED: [(&str, &str); 6] = [
        (
            "006-base64-audio-data-uri",
            "Input files format not supported.",
        ),
        ("008-sampling-parameters", "must contain the word 'json'"),
        (
            "042-voice-only-input",
            "Required input parameter missing from request.",
        ),
        (
            "052-upload-missing-bare-path",
            "The provided URL does not appear to be valid.",
        ),
        (
            "096-v2-client-inline-audio",
            "Input files format not supported.",
        ),
        (
            "envelope-that-names-a-parameter",
            "Temperature should be in [0.0, 2.0)",
        ),
    ];

    #[tokio::test(start_paused = true)]
    async fn recorded_requests_of_the_sdks_are_answered() {
        let served = TestEmulator::plain().await;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures");
        let (mut answered, mut failed) = (0, Vec::new());
        for entry in std::fs::read_dir(folder).unwrap() {
            let cases = std::fs::read(entry.unwrap().path()).unwrap();
            let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
            for case in cases {
                let body = &case["sent"]["body"];
                let model = body["model"].as_str().unwrap_or_default();
                // Files that only the recorded storage has, and models that are not played.
                let stored = body.to_string().contains("oss://");
                if stored || crate::emulator::family::family(model).is_none() {
                    continue;
                }
                let stream = case["call"]["method"] == "ConverseStream";
                let answer = match stream {
                    true => served.request_stream(body).await,
                    false => served.request(body).await,
                };
                answered += 1;
                let name = case["case"].as_str().unwrap().to_owned();
                let text = answer.text();
                let is_refused = answer.status != 200 || text.contains("event:error");
                let refusal = REFUSED.iter().find(|(case, _)| *case == name);
                let right =
                    refusal.map_or(!is_refused, |(_, words)| is_refused && text.contains(words));
                if !right {
                    failed.push((name, text));
                }
            }
        }
        assert!(answered > 50, "{answered} requests");
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn newer_image_models_answer_in_their_own_formats() {
        let served = TestEmulator::plain().await;
        let asked = json!({"size": "64*32"});
        let answer = served
            .request(&said("z-image-turbo", "a cat", asked))
            .await
            .json();
        let choice = &answer["output"]["choices"][0];
        assert!(choice.get("finish_reason").is_none(), "{choice}");
        assert!(choice["message"]["content"][0]["image"].is_string());
        let asked = json!({"size": "64*32", "enable_interleave": true, "n": 2});
        let frames = frames(
            &served
                .request_stream(&said("wan2.6-image", "a cat", asked))
                .await,
        );
        let finished: Vec<_> = frames
            .iter()
            .map(|f| f["output"]["finished"].clone())
            .collect();
        assert_eq!(finished, [json!(false), json!(true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn images_and_frames_have_limits() {
        let served = TestEmulator::plain().await;
        let image = |side: u32| {
            let png = crate::emulator::image::generate_png("x", side, side).unwrap();
            format!("data:image/png;base64,{}", STANDARD.encode(png))
        };
        let asked = |part: Value| {
            json!({"model": "qwen3-vl-plus", "input": {"messages": [
                {"role": "user", "content": [part, {"text": "What is it?"}]}]}})
        };
        for (part, words) in [
            (json!({"image": image(10)}), "must be larger than 10]"),
            (
                json!({"video": [image(32)]}),
                "sequence images shoule be (4, 512).",
            ),
            (
                json!({"video": vec![image(10); 4]}),
                "must be larger than 10]",
            ),
        ] {
            let answer = served.request(&asked(part)).await;
            assert_eq!(answer.status, 400);
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.ends_with(words), "{message}");
            assert!(message.starts_with("<400> InternalError.Algo.InvalidParameter: "));
        }
        for part in [
            json!({"image": image(11)}),
            json!({"video": vec![image(32); 4]}),
        ] {
            assert_eq!(served.request(&asked(part)).await.status, 200);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn samples_are_served_and_analysed() {
        let served = TestEmulator::plain().await;
        let file = served
            .call("GET", "/samples/2channel_16K.wav", &[], b"")
            .await;
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, Some("audio/wav"))
        );
        let host = served.address;
        for address in [
            format!("http://{host}/samples/2channel_16K.wav"),
            format!("{SAMPLES}2channel_16K.wav"),
        ] {
            let body = json!({"model": "qwen-audio-turbo", "input": {"messages": [
                {"role": "user", "content": [{"audio": address}, {"text": "How long?"}]}]}});
            let text = served.request(&body).await.text();
            assert!(text.contains("16000 Hz, 2 channels"), "{text}");
        }
        assert!(
            served
                .journal()
                .await
                .iter()
                .all(|entry| entry["path"] == GENERATION)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn speech_counts_chinese_characters_twice() {
        let served = TestEmulator::plain().await;
        let body = json!({"model": "qwen3-tts-flash", "input": {"text": "你好,世界",
            "voice": "Cherry", "language_type": "Chinese"}});
        let answer = served.request(&body).await.json();
        assert_eq!(answer["usage"], json!({"characters": 9}));
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_can_send_the_other_kind_of_body() {
        let json_to_stream = json!({"rules": [{"reply": {"wire": {"body": "json"}}}]});
        let served = TestEmulator::scripted(&json_to_stream.to_string()).await;
        let answer = served
            .request_stream(&said("qwen-vl-plus", "hi", json!({})))
            .await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.json()["output"].is_object());
        let stream_to_unary = json!({"rules": [{"reply": {"wire": {"body": "sse"}}}]});
        let served = TestEmulator::scripted(&stream_to_unary.to_string()).await;
        let answer = served.request(&said("qwen-vl-plus", "hi", json!({}))).await;
        assert!(answer.text().starts_with("id:1\nevent:result\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn inline_audio_is_analysed() {
        let served = TestEmulator::plain().await;
        let file = wav(16_000, &[700; 32_000]);
        let uri = format!("data:audio/wav;base64,{}", STANDARD.encode(&file));
        let mut body = sample("x", json!({}));
        body["input"]["messages"][0]["content"][0] = json!({ "audio": uri });
        let answer = served.request(&body).await.json();
        let text = answer["output"]["choices"][0]["message"]["content"][0]["text"].to_string();
        for words in [
            "模拟器",
            "2.00 秒",
            "16000 Hz",
            "64044 字节",
            "这段音频在说什么?",
        ] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        assert_eq!(answer["usage"]["audio_tokens"], 50);
        body["input"]["messages"][0]["content"][0] = json!({"audio": "data:audio/wav;base64,AAAA"});
        let error = served.request(&body).await;
        assert_eq!(error.status, 400);
        assert_eq!(error.json()["message"], "Input files format not supported.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_is_reported_without_its_query() {
        let served = TestEmulator::plain().await;
        let mut body = sample("x", json!({}));
        body["input"]["messages"][0]["content"][0] =
            json!({"audio": "https://a.example/b.wav?Signature=canary"});
        let text = served.request(&body).await.text();
        assert!(
            text.contains("https://a.example/b.wav") && !text.contains("canary"),
            "{text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_omni_model_streams_text_then_audio_then_an_empty_frame() {
        let served = TestEmulator::plain().await;
        let parameters = json!({"modalities": ["text", "audio"], "incremental_output": true});
        let answer = served
            .request_stream(&said("qwen3-omni-flash", "hi", parameters))
            .await;
        let frames = frames(&answer);
        let content = |frame: &Value| frame["output"]["choices"][0]["message"]["content"].clone();
        assert!(content(&frames[0])[0]["text"].is_string());
        let recording = &content(&frames[frames.len() - 2])[0]["audio"]["data"];
        assert!(STANDARD.decode(recording.as_str().unwrap()).unwrap().len() > 100);
        let last = frames.last().unwrap();
        assert_eq!(content(last), json!([]));
        assert_eq!(last["output"]["choices"][0]["finish_reason"], "stop");
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_served() {
        let served = TestEmulator::plain().await;
        let body = json!({"model": "qwen3-tts-flash", "parameters": {"enable_search": false},
            "input": {"messages": [], "text": "hi", "voice": "Cherry"}});
        let url = served.request(&body).await.json()["output"]["audio"]["url"].clone();
        let origin = format!("http://{}", served.address);
        let path = url
            .as_str()
            .unwrap()
            .strip_prefix(&origin)
            .unwrap()
            .to_owned();
        let file = served.call("GET", &path, &[], b"").await;
        assert_eq!(file.header("content-type"), Some("audio/wav"));
        assert!(file.body.starts_with(b"RIFF") && file.body.len() == 44 + 2 * 2 * 1440);
    }
}
