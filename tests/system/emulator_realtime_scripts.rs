//! Scripts of the emulator that are about WebSockets, and what its journal has of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::emulator::TestEmulator;
use crate::support::live::{LiveSocket, SocketEnd, silence, tone};

const OMNI: &str = "qwen3-omni-flash-realtime";

async fn scripted(socket: Value) -> TestEmulator {
    let rule = json!({"match": {"model": "qwen3-omni*"}, "reply": {"socket": socket}});
    TestEmulator::scripted(&json!({"rules": [rule]}).to_string()).await
}

async fn asked(served: &TestEmulator) -> LiveSocket {
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.send(json!({"type": "response.create"})).await;
    socket
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_refused_by_a_script() {
    let script = json!({"rules": [
        {"match": {"path": "/api-ws/*", "count": 1}, "reply": {"headers": {"Retry-After": "1"},
            "error": {"status": 429, "code": "Throttling", "message": "slow down"}}},
        {"match": {"path": "/api-ws/*", "count": 1},
            "reply": {"status": 502, "raw": {"body": "<html>"}}},
    ]});
    let served = TestEmulator::scripted(&script.to_string()).await;
    let path = format!("/api-ws/v1/realtime?model={OMNI}");
    let headers = [("authorization", "Bearer sk-a")];
    let refused = served.call("GET", &path, &headers, b"").await;
    let code = json!("Throttling");
    assert_eq!((refused.status, &refused.json()["code"]), (429, &code));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = LiveSocket::open(served.address, &path, "sk-a").await;
    assert_eq!(refused.err(), Some(502));
    assert!(
        LiveSocket::open(served.address, &path, "sk-a")
            .await
            .is_ok()
    );
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_closed_or_reset_after_a_counted_event() {
    let after = json!({"sent": "response.audio.delta", "count": 3});
    let closed = SocketEnd::Closed(1011, "overloaded".to_owned());
    for (action, end) in [
        (
            json!({"close": {"code": 1011, "reason": "overloaded"}}),
            closed,
        ),
        (json!({"reset": true}), SocketEnd::Lost),
    ] {
        let mut action = action;
        action["after"] = after.clone();
        let served = scripted(json!({"actions": [action]})).await;
        let mut socket = asked(&served).await;
        assert_eq!(socket.end().await, end);
        let deltas = socket.events.iter().map(|event| &event["type"]);
        let deltas = deltas
            .filter(|kind| *kind == "response.audio.delta")
            .count();
        // A reset discards what was not read yet.
        assert!(deltas <= 3, "{deltas}");
        served.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_script_end_the_session_unless_they_are_about_the_request() {
    let served = scripted(json!({"actions": [
        {"after": {"received": "response.create"}, "error": {"type": "invalid_request_error",
            "code": "invalid_value", "message": "not now", "param": "response.create"}},
        {"after": {"received": "response.create", "count": 2},
            "error": {"code": "internal_error", "message": "Internal server error."}},
    ]}))
    .await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    let id = socket.send(json!({"type": "response.create"})).await;
    let error = socket.until("error").await["error"].clone();
    assert_eq!(
        (&error["message"], &error["event_id"]),
        (&json!("not now"), &json!(id))
    );
    socket.send(json!({"type": "response.create"})).await;
    let error = socket.until("error").await["error"].clone();
    assert_eq!(
        (&error["type"], &error["param"]),
        (&json!("server_error"), &Value::Null)
    );
    let end = socket.end().await;
    assert_eq!(end, SocketEnd::Closed(1011, "internal error".to_owned()));
    assert!(!socket.kinds().iter().any(|kind| kind == "response.created"));
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn frames_are_added_delayed_and_held_back() {
    let served = scripted(json!({"idle_ms": 5000, "actions": [
        {"send": "{oops"},
        {"after": {"sent": "session.created"}, "send_base64": "AAE="},
        {"after": {"sent": "response.created"}, "delay_ms": 2000},
        {"after": {"sent": "response.output_item.added"}, "silence": true},
    ]}))
    .await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    assert_eq!(socket.next().await.unwrap()["raw"], "{oops");
    socket.until("session.created").await;
    assert_eq!(socket.next().await.unwrap()["binary"], 2);
    socket.send(json!({"type": "response.create"})).await;
    let began = Instant::now();
    socket.until("response.created").await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    socket.until("response.output_item.added").await;
    assert_eq!(began.elapsed().as_secs(), 2);
    // Nothing more comes, and the end of the session is not announced.
    assert_eq!(socket.end().await, SocketEnd::Lost);
    assert_eq!(began.elapsed().as_secs(), 7);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_script_sets_answers_transcripts_and_the_form_of_the_end() {
    let rule = json!({"match": {"path": "/api-ws/*", "model": "mine"}, "reply": {
        "answer": {"chunks": ["It is ", "sunny."]},
        "delays": {"first_ms": 300, "between_ms": 100},
        "socket": {"transcript": ["one", "two"], "done_after_cancel": false, "finish": "refuse",
            "lifetime_ms": 60_000}}});
    let served = TestEmulator::scripted(&json!({"rules": [rule]}).to_string()).await;
    let mut socket = LiveSocket::session(served.address, "mine").await;
    for heard in ["one", "two", "two"] {
        let audio = [tone(500), silence(1000)];
        socket.speak(&audio.concat()).await;
        let kind = "conversation.item.input_audio_transcription.completed";
        assert_eq!(socket.until(kind).await["transcript"], heard);
        socket.until("response.created").await;
        let began = Instant::now();
        socket.until("response.audio.delta").await;
        assert_eq!(began.elapsed(), Duration::from_millis(400));
        let done = socket.until("response.done").await["response"].clone();
        assert_eq!(
            done["output"][0]["content"][0]["transcript"],
            "It is sunny."
        );
    }
    socket.send(json!({"type": "response.create"})).await;
    socket.until("response.created").await;
    socket.send(json!({"type": "response.cancel"})).await;
    socket.until("response.output_item.done").await;
    socket.send(json!({"type": "session.finish"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "error");
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_transcription_fails_by_a_script_and_the_turn_is_answered() {
    let error = json!({"code": "audio_unintelligible", "message": "no speech"});
    let served = scripted(json!({ "transcription_error": error })).await;
    let mut socket = LiveSocket::session(served.address, OMNI).await;
    socket.speak(&[tone(500), silence(1000)].concat()).await;
    let kind = "conversation.item.input_audio_transcription.failed";
    let failed = socket.until(kind).await;
    assert_eq!(failed["error"]["code"], "audio_unintelligible");
    socket.until("response.done").await;
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_journal_has_the_frames_of_a_socket() {
    let served = TestEmulator::plain().await;
    let mut socket = asked(&served).await;
    socket.until("response.done").await;
    socket.close().await;
    let entry = served.journal().await[0].clone();
    assert_eq!(
        (&entry["status"], &entry["end"]),
        (&json!(101), &json!("client closed"))
    );
    let rows = entry["socket"].as_array().unwrap();
    let find = |kind: &str| rows.iter().find(|row| row["type"] == kind).unwrap();
    assert_eq!(find("response.create")["from"], "client");
    let audio = find("response.audio.delta");
    assert!(
        audio["frame"]["delta"].as_str().unwrap().starts_with('<'),
        "{audio}"
    );
    assert!(audio["bytes"].as_u64().unwrap() > 6400);
    served.stop().await;
}

#[tokio::test(start_paused = true)]
async fn errors_in_a_socket_script_are_reported_with_their_paths() {
    let served = TestEmulator::plain().await;
    let script = json!({"rules": [{"reply": {"socket": {"actions": [{"reset": true}, {}],
        "finish": "now", "idle_ms": 0}}}]});
    let answer = served
        .call(
            "PUT",
            "/emulator/script",
            &[],
            script.to_string().as_bytes(),
        )
        .await;
    let text = answer.text();
    assert_eq!(answer.status, 400);
    for path in [
        "socket.actions[1]: must have one of",
        "socket.finish: ",
        "socket.idle_ms: ",
    ] {
        assert!(text.contains(&format!("rules[0].reply.{path}")), "{text}");
    }
    served.stop().await;
}
