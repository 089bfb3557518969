//! The emulator's generation endpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::emulator::{GENERATION, TestEmulator, TestResponse, wav};

pub const SAMPLES: &str = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/";

fn sample(file: &str, parameters: Value) -> Value {
    json!({"model": "qwen-audio-turbo", "parameters": parameters, "input": {"messages": [
        {"role": "user", "content": [{"audio": format!("{SAMPLES}{file}")},
            {"text": "这段音频在说什么?"}]}]}})
}

fn said(model: &str, text: &str, parameters: Value) -> Value {
    json!({"model": model, "parameters": parameters,
        "input": {"messages": [{"role": "user", "content": [{"text": text}]}]}})
}

pub fn frames(answer: &TestResponse) -> Vec<Value> {
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
    let image = |side: u8| {
        // The head of the file, which has its size.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend([0, 0, 0, side, 0, 0, 0, side, 8, 2, 0, 0, 0]);
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
