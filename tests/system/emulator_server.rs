//! The emulator's server: keys, the journal, and how responses are sent.

use std::time::Duration;

use dashgate::emulator::EmulatorConfig;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::emulator::{End, GENERATION, TestEmulator};

fn question() -> Value {
    json!({"model": "qwen-audio-turbo", "parameters": {"incremental_output": true},
        "input": {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}})
}

fn with_reply(reply: &Value) -> String {
    json!({"rules": [{"reply": reply}]}).to_string()
}

const THREE: [&str; 3] = ["one", "two", "three"];

#[tokio::test(start_paused = true)]
async fn keys_are_checked_before_bodies() {
    let settings = EmulatorConfig {
        bad_keys: vec!["sk-worn".into()],
        ..EmulatorConfig::default()
    };
    let served = TestEmulator::start(settings).await;
    for (key, good) in [
        (None, false),
        (Some("Bearer sk-bad"), false),
        (Some("Bearer sk-worn"), false),
        (Some("Bearer sk-"), false),
        (Some("Basic sk-good"), false),
        (Some("Bearer st-1-2"), false),
        (Some("Bearer sk-good"), true),
    ] {
        let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
        let answer = served.call("POST", GENERATION, &headers, b"not JSON").await;
        let (status, code) = match good {
            true => (400, "BadRequest.IllegalInput"),
            false => (401, "InvalidApiKey"),
        };
        assert_eq!(answer.status, status, "{key:?}");
        assert_eq!(answer.json()["code"], code);
        let id = answer.json()["request_id"].as_str().map(str::to_owned);
        assert_eq!(answer.header("x-request-id"), id.as_deref());
    }
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_key_is_accepted_until_it_expires() {
    let served = TestEmulator::plain().await;
    let path = "/api/v1/tokens?expire_in_seconds=20";
    let given = served
        .call("POST", path, &[("authorization", "Bearer sk-a")], b"")
        .await;
    let token = format!("Bearer {}", given.json()["token"].as_str().unwrap());
    let headers = [("authorization", token.as_str())];
    let body = question().to_string();
    let status = async || {
        served
            .call("POST", GENERATION, &headers, body.as_bytes())
            .await
            .status
    };
    assert_eq!(status().await, 200);
    tokio::time::advance(Duration::from_secs(21)).await;
    assert_eq!(status().await, 401);
    let path = "/api/v1/tokens?expire_in_seconds=1801";
    let given = served
        .call("POST", path, &[("authorization", "Bearer sk-a")], b"")
        .await;
    assert_eq!(given.status, 400);
}

#[tokio::test(start_paused = true)]
async fn delays_apply_where_the_script_sets_them() {
    let reply = json!({"answer": {"chunks": THREE},
        "delays": {"head_ms": 1000, "first_ms": 2000, "between_ms": 300, "heartbeat_ms": 900}});
    let served = TestEmulator::scripted(&with_reply(&reply)).await;
    let began = Instant::now();
    let mut stream = served.open_stream(&question()).await;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(began.elapsed().as_millis() / 10, 100);
    let rest = read_all(stream).await;
    assert_eq!(began.elapsed().as_millis() / 10, 360);
    assert_eq!(rest.matches(":heartbeat\n\n").count(), 2);
    let entry = served.ended().await;
    assert_eq!(
        (&entry["frames"], &entry["end"]),
        (&json!(3), &json!("completed"))
    );
    assert!((1000.0..1010.0).contains(&entry["head_ms"].as_f64().unwrap()));
}

async fn read_all(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_disconnecting_client_is_noticed_immediately() {
    for delays in [
        json!({"delays": {"head_ms": 60_000}}),
        json!({"delays": {"first_ms": 60_000}}),
        json!({"answer": {"chunks": THREE}, "delays": {"between_ms": 60_000}}),
        json!({"wire": {"cut": {"how": "hang", "before_head": true}}}),
        json!({"wire": {"cut": {"how": "hang", "after_frames": 1}}}),
    ] {
        let served = TestEmulator::scripted(&with_reply(&delays)).await;
        let stream = served.open_stream(&question()).await;
        // The request has arrived once the journal has it.
        while served.journal().await.is_empty() {}
        assert_eq!(served.journal().await[0]["end"], "running");
        drop(stream);
        let entry = served.ended().await;
        assert_eq!(entry["end"], "client closed", "{delays}");
        assert!(entry["end_ms"].as_f64().unwrap() < 10_000.0, "{entry}");
    }
}

#[tokio::test(start_paused = true)]
async fn responses_are_cut_where_the_script_sets_it() {
    let frame = |n: usize, text: &str, usage: u64, end: &str| {
        format!(
            "id:{n}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\
             \"message\":{{\"content\":[{{\"text\":\"{text}\"}}],\"role\":\"assistant\"}},\
             \"finish_reason\":\"{end}\"}}]}},\"usage\":{{\"output_tokens\":{usage}}},\
             \"request_id\":\"r-1\"}}\n\n"
        )
    };
    let (one, two) = (frame(1, "one", 1, "null"), frame(2, "two", 2, "null"));
    let whole = format!("{one}{two}{}", frame(3, "three", 3, "stop"));
    let at = one.len() + 10;
    for (how, place, end, expected) in [
        ("close", json!({"before_head": true}), End::Closed, ""),
        ("reset", json!({"before_head": true}), End::Reset, ""),
        ("close", json!({"after_frames": 0}), End::Closed, ""),
        (
            "close",
            json!({"after_frames": 2}),
            End::Closed,
            &whole[..one.len() + two.len()],
        ),
        ("reset", json!({"after_frames": 1}), End::Reset, &one),
        ("close", json!({"at_byte": at}), End::Closed, &whole[..at]),
        ("reset", json!({"at_byte": at}), End::Reset, &whole[..at]),
    ] {
        let mut cut = place.clone();
        cut["how"] = json!(how);
        let reply = json!({"request_id": "r-1", "wire": {"cut": cut},
            "answer": {"chunks": THREE, "usage": {"output_tokens": 3}}});
        let served = TestEmulator::scripted(&with_reply(&reply)).await;
        let answer = served.request_stream(&question()).await;
        assert_eq!(answer.end, end, "{how} {place}");
        assert_eq!(answer.text(), expected, "{how} {place}");
        let by_script = if how == "reset" {
            "reset by script"
        } else {
            "closed by script"
        };
        assert_eq!(served.ended().await["end"], by_script);
    }
}

#[tokio::test(start_paused = true)]
async fn raw_bytes_are_sent_unchanged() {
    let reply = json!({"status": 502, "headers": {"content-type": "text/html"},
        "raw": {"pieces": [{"text": "<html>"}, {"base64": "/wA=", "delay_ms": 5000}]}});
    let served = TestEmulator::scripted(&with_reply(&reply)).await;
    let began = Instant::now();
    let answer = served.request(&question()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (502, Some("text/html"))
    );
    assert_eq!(answer.body, b"<html>\xff\0");
    assert_eq!(answer.header("x-request-id"), None);
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_script_can_be_replaced_and_the_journal_cleared() {
    let served = TestEmulator::plain().await;
    let put = async |script: String| {
        served
            .call("PUT", "/emulator/script", &[], script.as_bytes())
            .await
    };
    let refused = put(r#"{"rules":[{"replay":{}}]}"#.to_owned()).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused
            .text()
            .contains("rules[0].replay: unknown field `replay`")
    );
    let reply = json!({"error": {"status": 429, "code": "Throttling", "message": "slow"},
        "headers": {"retry-after": "7"}});
    assert_eq!(put(with_reply(&reply)).await.status, 204);
    let answer = served.request(&question()).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("7"))
    );
    let entry = served.ended().await;
    assert_eq!(
        (&entry["rule"], &entry["status"]),
        (&json!("rules[0]"), &json!(429))
    );
    assert_eq!(
        served
            .call("DELETE", "/emulator/journal", &[], b"")
            .await
            .status,
        204
    );
    assert_eq!(served.journal().await, Vec::<Value>::new());
    assert_eq!(
        served
            .call("GET", "/emulator/nothing", &[], b"")
            .await
            .status,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn the_size_of_bodies_is_limited() {
    let settings = EmulatorConfig {
        max_body_bytes: 100,
        ..EmulatorConfig::default()
    };
    let served = TestEmulator::start(settings).await;
    let headers = [("authorization", "Bearer sk-a"), ("expect", "")];
    let answer = served
        .call("POST", GENERATION, &headers, &[b' '; 101])
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &json!("BadRequest.TooLarge"))
    );
}

#[tokio::test(start_paused = true)]
async fn it_stops_while_a_response_hangs() {
    let hang = json!({"wire": {"cut": {"how": "hang", "after_frames": 1}}});
    let served = TestEmulator::scripted(&with_reply(&hang)).await;
    let mut stream = served.open_stream(&question()).await;
    stream.read_exact(&mut [0; 10]).await.unwrap();
    let began = Instant::now();
    served.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let rest = read_all(stream).await;
    assert!(
        rest.contains("id:1\n") && !rest.contains("id:2\n"),
        "{rest}"
    );
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
