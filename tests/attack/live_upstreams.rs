//! A DashScope that violates the realtime interface, or refuses it: every end is typed, and nothing
//! of it is unbounded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::config::{Account, Endpoint};
use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::secret::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tonic::{Code, Status};

use crate::support::live_call::{LiveCall, answer, setup, started};
use crate::support::realtime::{RealtimeUpstream, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const SECOND: Duration = Duration::from_secs(1);

fn reason(status: &Status) -> &'static str {
    call_failure(status).reason().as_str_name()
}

/// The status of a session whose upgrade is refused so, every time.
async fn refused(code: u16, body: &serde_json::Value) -> (Status, usize) {
    let upstream = RealtimeUpstream::start().await;
    for _ in 0..10 {
        upstream.refuse(code, None, body);
    }
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
    (status, upstream.requests().len())
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_has_the_status_that_it_has_over_http() {
    for (code, name, expected, tries) in [
        (401, "InvalidApiKey", "UPSTREAM_CREDENTIAL", 1),
        (403, "AccessDenied", "UPSTREAM_PERMISSION", 1),
        (429, "Throttling.RateQuota", "UPSTREAM_RATE", 2),
        (500, "InternalError", "UPSTREAM_INTERNAL", 3),
    ] {
        let body = json!({"code": name, "message": "m", "request_id": "up-9"});
        let (status, seen) = refused(code, &body).await;
        let http = Upstream::always(json(code, &body.to_string())).await;
        let gateway = gateway(&http).await;
        let asked = gateway.conversation().converse(ask_whole(question())).await;
        assert_fault(&status, asked.unwrap_err().code(), expected);
        assert!(seen >= tries, "{code}: {seen}");
        assert_eq!(attempts(&status), seen.to_string());
    }
}

fn account(name: &str, upstream: &RealtimeUpstream) -> Account {
    Account {
        name: name.to_owned(),
        endpoint: Endpoint::Remote {
            base_url: upstream.base_url(),
            api_key: Secret::new(format!("sk-canary-{name}")),
        },
        workspace: None,
        weight: 1,
        models: Vec::new(),
        roots: None,
        limits: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_whose_key_is_refused_is_paused_and_another_one_is_used() {
    let (bad, mut good) = (
        RealtimeUpstream::start().await,
        RealtimeUpstream::start().await,
    );
    for _ in 0..20 {
        let body = json!({"code": "InvalidApiKey", "message": "m", "request_id": "up-9"});
        bad.refuse(401, None, &body);
    }
    let accounts = vec![account("bad", &bad), account("good", &good)];
    let gateway = gateway_at(good.base_url(), |settings| {
        settings.upstream.accounts = accounts;
    })
    .await;
    for _ in 0..6 {
        let (mut call, mut socket) = good.open(&gateway, setup(OMNI)).await;
        call.half_close();
        socket.finish().await;
        call.rest().await;
    }
    assert_eq!(good.requests().len(), 6);
    assert_eq!(bad.requests().len(), 1);
}

/// A listener that answers each request with these bytes, and reads what follows. `KEY` in them
/// becomes the key that belongs to the request.
async fn raw(answer: &'static [u8], then: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(play(stream, answer, then));
        }
    });
    address
}

async fn play(mut stream: TcpStream, answer: &'static [u8], then: &'static [u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap() == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value)
    });
    let key = derive_accept_key(key.unwrap().as_bytes());
    let answer = String::from_utf8_lossy(answer).replace("KEY", &key);
    stream.write_all(answer.as_bytes()).await.unwrap();
    // Again and again, if there is anything.
    while !then.is_empty() && stream.write_all(then).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                          connection: upgrade\r\nsec-websocket-accept: KEY\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_no_websocket_is_refused_typed() {
    for answer in [
        &b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
           sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          sec-websocket-accept: KEY\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"garbage\r\n\r\n",
    ] {
        let address = raw(answer, b"").await;
        let gateway = gateway_at(format!("http://{address}/api/v1"), |_| {}).await;
        let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
        assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
    }
}

#[tokio::test]
async fn a_session_that_never_starts_fails_in_time() {
    // Silence, pings, and events that start nothing. Time is real: a flood would stop it.
    let event = b"\x81\x1b{\"type\": \"session.updated\"}";
    assert_eq!(event.len(), 2 + usize::from(event[1]));
    for (then, reason) in [
        (&b""[..], "FIRST_EVENT_TIMEOUT"),
        (b"\x89\x04ping", "FIRST_EVENT_TIMEOUT"),
        (event, "FIRST_EVENT_TIMEOUT"),
        (b"\x81\x02{}", "FIRST_EVENT_TIMEOUT"),
        (b"\x81\x01[", "UPSTREAM_PROTOCOL"),
    ] {
        let address = raw(UPGRADED, then).await;
        let gateway = gateway_at(format!("http://{address}/api/v1"), |settings| {
            settings.timeouts.first_event = SECOND / 2;
        })
        .await;
        let begun = Instant::now();
        let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
        assert!(begun.elapsed() < 20 * SECOND);
        assert_fault(&status, status.code(), reason);
    }
}

#[tokio::test]
async fn a_frame_that_claims_a_hundred_megabytes_is_refused_by_its_head() {
    // An unmasked text frame of 100 MB.
    let address = raw(UPGRADED, b"\x81\x7f\0\0\0\0\x05\xf5\xe1\0").await;
    let gateway = gateway_at(format!("http://{address}/api/v1"), |_| {}).await;
    let status = LiveCall::open(&gateway, setup(OMNI)).await.err().unwrap();
    assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
}

/// Plays something after the session has started; the status that the caller gets.
async fn status_after(play: impl FnOnce(&UpstreamSocket)) -> Status {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    play(&socket);
    call.status().await
}

#[tokio::test(start_paused = true)]
async fn frames_that_cannot_be_read_end_the_session_typed() {
    let delta = |audio: &str| {
        json!({"type": "response.audio.delta", "response_id": "resp_1", "item_id": "item_1",
            "delta": audio})
        .to_string()
    };
    for text in [
        delta("***"),
        delta("A"),
        "{".to_owned(),
        "[]".to_owned(),
        "1".to_owned(),
    ] {
        let status = status_after(|socket| socket.send_text(text.clone())).await;
        assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
    }
    let status = status_after(|socket| {
        socket.send_message(Message::binary(vec![0xff; 100]));
    })
    .await;
    assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
    let large = format!("{{\"type\": \"{}\"}}", "x".repeat(9 << 20));
    let status = status_after(|socket| socket.send_text(large)).await;
    assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_in_any_state_is_a_typed_status() {
    type Act = fn(&UpstreamSocket);
    let before: [(&str, Act); 5] = [
        ("silence", |_| {}),
        ("speech", |socket| socket.speech_started("item_1")),
        ("turn", |socket| socket.speech_stopped("item_1")),
        ("response", |socket| socket.response_created("resp_1")),
        ("audio", |socket| {
            socket.response_created("resp_1");
            socket.speak("resp_1", &[1; 640]);
        }),
    ];
    let ends: [(&str, Act); 5] = [
        ("1000", |socket| socket.close(1000, "")),
        ("1011", |socket| socket.close(1011, "InternalError")),
        ("1007", |socket| {
            socket.close(1007, "Throttling.RateQuota: too fast")
        }),
        ("reset", UpstreamSocket::reset),
        ("cut", UpstreamSocket::cut),
    ];
    for (state, act) in before {
        for (name, end) in ends {
            let status = status_after(|socket| {
                act(socket);
                end(socket);
            })
            .await;
            let found = reason(&status);
            assert_fault(&status, status.code(), found);
            let expected = match name {
                "1011" => "UPSTREAM_INTERNAL",
                "1007" => "UPSTREAM_RATE",
                _ => "STREAM_TRUNCATED",
            };
            assert_eq!(found, expected, "{state} {name}: {status:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_in_an_impossible_order_neither_end_nor_confuse_the_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    started(&mut call).await;
    socket.response_done("resp_0", "completed");
    socket.item_done("resp_0");
    socket.speech_stopped("item_0");
    socket.text("resp_1", "early ");
    socket.response_created("resp_1");
    socket.response_created("resp_1");
    socket.text("resp_1", "late");
    socket.response_done("resp_1", "completed");
    socket.text("resp_1", "never");
    socket.response_done("resp_1", "completed");
    socket.session_created();
    socket.answer("resp_2", "next");
    let mut running: Option<String> = None;
    let mut text = String::new();
    loop {
        match call.event().await {
            Heard::ResponseStarted(start) => {
                assert_eq!(running.replace(start.response_id), None);
            }
            Heard::ResponseDelta(delta) => {
                assert_eq!(running.as_deref(), Some(&*delta.response_id));
                text += &answer(&[Heard::ResponseDelta(delta)]).0;
            }
            Heard::ResponseCompleted(end) => {
                assert_eq!(running.take(), Some(end.response_id.clone()));
                if end.response_id == "resp_2" {
                    break;
                }
            }
            _ => {}
        }
    }
    assert_eq!(text, "early latenext");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_and_unknown_events_keeps_neither_input_nor_deadline_from_working() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |_| {}).await;
    let brief: &[(&str, &str)] = &[("grpc-timeout", "60S")];
    let opening = LiveCall::open_with(&gateway, gateway.client.clone(), setup(OMNI), brief);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    for number in 0..3_000 {
        socket.send_message(Message::Ping(vec![0; 125].into()));
        if number % 3 == 0 {
            socket.send(json!({"type": "new.event", "number": number}));
        }
    }
    call.send(Ask::Text("hello".to_owned())).await;
    socket.until("conversation.item.create").await;
    let mut warnings = 0;
    let begun = Instant::now();
    let status = loop {
        match call.next().await {
            Ok(Some(Heard::SessionWarning(_))) => warnings += 1,
            Ok(Some(_)) => {}
            Ok(None) => panic!("the session ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(warnings, 1_000);
    assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert!(begun.elapsed() <= 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_endless_response_is_bounded_by_what_its_caller_reads() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.memory.limit = 64 << 20;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    let audio = STANDARD.encode([7; 9600]);
    for _ in 0..4_000 {
        socket.send(
            json!({"type": "response.audio.delta", "response_id": "resp_1",
            "item_id": "item_1", "delta": audio}),
        );
    }
    // 38 MB, of a caller that reads slowly and then cancels.
    let mut bytes = 0;
    while bytes < 20 << 20 {
        let event = call.event().await;
        bytes += answer(&[event]).2;
    }
    call.send(Ask::CancelResponse(pb::CancelResponse {})).await;
    socket.until("response.cancel").await;
    call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    sleep(SECOND).await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
}
