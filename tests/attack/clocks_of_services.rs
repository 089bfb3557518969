//! Responses that are not read, of all other services and over gRPC-Web and HTTP/1.1: the same
//! clocks end them.

use dashgate::grpc::pb;
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::Instant;
use tonic::Code;

use crate::clocks::*;
use crate::closed_window::*;
use crate::support::admin::page;
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_unread_watch_and_unread_reflection_are_ended_and_reset() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway_with(settings_of(&upstream)).await;
    let ask = message(&Reflect {
        file_containing_symbol: "dashgate.v1.ConversationService".to_owned(),
    });
    for closed in LEVELS {
        for (path, request) in [
            (WATCH, message(&pb::health::HealthCheckRequest::default())),
            (REFLECTION, ask.clone()),
            (REFLECTION_V1ALPHA, ask.clone()),
        ] {
            for (timeout, limit, code, reason) in LIMITS {
                for reads_again in [true, false] {
                    let mut caller = Caller::connect(gateway.address, closed).await;
                    let start = Instant::now();
                    let timeout = [("grpc-timeout", timeout)];
                    let (call, _open) = match path {
                        WATCH => (caller.call(path, &timeout, request.clone()).await, None),
                        _ => {
                            let opened = caller.open(path, &timeout, request.clone()).await;
                            (opened.0, Some(opened.1))
                        }
                    };
                    tokio::time::sleep_until(start + limit + LATE).await;
                    if reads_again {
                        caller.read_again();
                        assert_ended(&end_of(call).await, code, reason);
                    } else {
                        assert_reset(&end_of(call).await);
                        assert_at(start, limit + SLOW);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reflection_that_is_read_keeps_its_deadline_too() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway_with(settings_of(&upstream)).await;
    for path in [REFLECTION, REFLECTION_V1ALPHA, WATCH] {
        let mut caller = Caller::connect(gateway.address, Closed::Stream).await;
        caller.read_again();
        let start = Instant::now();
        let timeout = [("grpc-timeout", "7S")];
        let request = message(&pb::health::HealthCheckRequest::default());
        let (call, _open) = match path {
            WATCH => (caller.call(path, &timeout, request).await, None),
            _ => {
                let opened = caller.open(path, &timeout, Vec::new()).await;
                (opened.0, Some(opened.1))
            }
        };
        let ended = end_of(call).await;
        assert_ended(&ended, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        assert_at(start, 7 * SECOND);
    }
    // Without a deadline of the caller's that of a stream holds.
    let mut caller = Caller::connect(gateway.address, Closed::Stream).await;
    caller.read_again();
    let start = Instant::now();
    let (call, _open) = caller.open(REFLECTION, &[], Vec::new()).await;
    let ended = end_of(call).await;
    assert_ended(&ended, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_at(start, 600 * SECOND);
}

/// A DashScope that stores what it is sent.
pub async fn with_storage(storage: impl Fn() -> Vec<Step> + Send + 'static) -> Upstream {
    Upstream::start(move |_, request| {
        if !request.path.starts_with("/api/v1/uploads") {
            return storage();
        }
        let host = request.header("host").unwrap();
        let policy = format!(
            "{{\"data\":{{\"policy\":\"cG9s\",\"signature\":\"n3d=\",\"upload_dir\":\"d/1\",\
             \"upload_host\":\"http://{host}/oss\",\"expire_in_seconds\":300,\
             \"max_file_size_mb\":1024,\"capacity_limit_mb\":999999,\"oss_access_key_id\":\"L\",\
             \"x_oss_object_acl\":\"private\",\"x_oss_forbid_overwrite\":\"true\"}},\
             \"request_id\":\"r\"}}"
        );
        json(200, &policy)
    })
    .await
}

fn upload_request() -> Vec<u8> {
    use pb::upload_media_request::Payload;
    let payload = |payload| {
        message(&pb::UploadMediaRequest {
            payload: Some(payload),
        })
    };
    let description = pb::MediaDescription {
        model: "qwen-vl-max".to_owned(),
        mime_type: "video/mp4".to_owned(),
        name: "a.mp4".to_owned(),
        size_bytes: None,
    };
    let chunk = Payload::Chunk(vec![7; 1000].into());
    [payload(Payload::Description(description)), payload(chunk)].concat()
}

#[tokio::test(start_paused = true)]
async fn an_unread_answer_to_an_upload_is_ended_and_reset() {
    let upstream = with_storage(|| http(200, "", b"")).await;
    let gateway = gateway_with(settings_of(&upstream)).await;
    for closed in LEVELS {
        for reads_again in [true, false] {
            let mut caller = Caller::connect(gateway.address, closed).await;
            let start = Instant::now();
            let call = caller.call(UPLOAD, &[], upload_request()).await;
            tokio::time::sleep_until(start + SLOW + LATE).await;
            if reads_again {
                caller.read_again();
                let ended = end_of(call).await;
                assert_ended(&ended, Code::ResourceExhausted, "SLOW_CONSUMER");
            } else {
                assert_reset(&end_of(call).await);
                assert_at(start, 2 * SLOW);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_not_sent_to_its_end_and_one_that_is_not_taken_end_in_time() {
    for (storage, timeout, limit, reason) in [
        // The caller stops to send.
        (http(200, "", b""), "60S", 30, "REQUEST_BODY_TIMEOUT"),
        (http(200, "", b""), "5S", 5, "DEADLINE_EXCEEDED"),
        // The storage does not answer.
        (vec![Step::Hang], "5S", 5, "DEADLINE_EXCEEDED"),
    ] {
        let hangs = storage == [Step::Hang];
        let upstream = with_storage(move || storage.clone()).await;
        let gateway = gateway_with(settings_of(&upstream)).await;
        let mut caller = Caller::connect(gateway.address, Closed::Connection).await;
        let start = Instant::now();
        let timeout = [("grpc-timeout", timeout)];
        let (call, mut body) = caller.open(UPLOAD, &timeout, upload_request()).await;
        if hangs {
            body.send_data(bytes::Bytes::new(), true).unwrap();
        }
        let ended = end_of(call).await;
        assert_ended(&ended, Code::DeadlineExceeded, reason);
        assert_at(start, limit * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn unread_streams_of_grpc_web_end_at_their_limit() {
    for closed in LEVELS {
        for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
            for (timeout, limit, ..) in LIMITS {
                let upstream = Upstream::always(endless()).await;
                let gateway = gateway_with(settings_of(&upstream)).await;
                let mut caller = Caller::connect(gateway.address, closed).await;
                let start = Instant::now();
                let metadata = [("grpc-timeout", timeout), ("content-type", kind)];
                let request = match kind.ends_with("text") {
                    true => {
                        use base64::Engine as _;
                        let engine = base64::engine::general_purpose::STANDARD;
                        engine.encode(stream_request("")).into_bytes()
                    }
                    false => stream_request(""),
                };
                let call = caller.call(STREAM, &metadata, request).await;
                upstream.closes(1).await;
                assert_at(start, limit);
                assert_reset(&end_of(call).await);
                assert_at(start, limit + SLOW);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_grpc_web_that_is_read_again_gets_its_status() {
    let upstream = Upstream::always(endless()).await;
    let gateway = gateway_with(settings_of(&upstream)).await;
    for closed in LEVELS {
        let mut caller = Caller::connect(gateway.address, closed).await;
        let start = Instant::now();
        let metadata = [("content-type", "application/grpc-web+proto")];
        let call = caller.call(STREAM, &metadata, stream_request("")).await;
        tokio::time::sleep_until(start + SLOW + LATE).await;
        caller.read_again();
        match end_of(call).await {
            Ended::Status(status) => assert_eq!(status.code(), Code::ResourceExhausted),
            Ended::Reset(code) => panic!("reset with {code:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unread_stream_over_http1_ends_at_its_limit_and_its_connection_is_closed() {
    for (timeout, limit, ..) in LIMITS {
        // More than the sockets between the two take.
        let long = "长".repeat(100_000);
        let mut steps = vec![sse()];
        steps.extend((1..=200).map(|id| piece(frame(id, &format!("{id}{long}"), "null"))));
        steps.push(Step::Hang);
        let upstream = Upstream::always(steps).await;
        let mut settings = settings_of(&upstream);
        settings.server.max_in_flight = 1;
        let gateway = gateway_with(settings).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stream = socket.connect(gateway.address).await.unwrap();
        let body = stream_request("");
        let head = format!(
            "POST {STREAM} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/grpc-web+proto\
             \r\ngrpc-timeout: {timeout}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let start = Instant::now();
        stream.write_all(&body).await.unwrap();
        upstream.closes(1).await;
        assert_at(start, limit);
        tokio::time::sleep_until(start + limit + SLOW + LATE).await;
        // What lies in the sockets is followed by the end.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest).await;
        assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"), "{ended:?}");
    }
}

/// How a stream of so many small events ends that is not read over HTTP/1.1, after which DashScope
/// says nothing: as its outcome and as its code, unless all of it found room in the sockets.
async fn outcome_over_http1(events: u32) -> Option<(String, String)> {
    let text = "x".repeat(8_000);
    let mut steps = vec![sse()];
    steps.extend((1..=events).map(|id| piece(frame(id, &format!("{id}{text}"), "null"))));
    steps.push(Step::Hang);
    let mut upstream = Upstream::always(steps).await;
    let mut settings = settings_of(&upstream);
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(gateway.address).await.unwrap();
    let body = stream_request("");
    let head = format!(
        "POST {STREAM} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/grpc-web+proto\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let closed = tokio::time::timeout(3 * SLOW, upstream.closed()).await;
    closed.ok()?;
    // The connection may end a moment after the call.
    tokio::time::sleep(2 * SLOW).await;
    let page = page(&gateway, "/metrics").await;
    let label = |metric: &str, name: &str| {
        let lines = page.lines().filter(|line| line.starts_with(metric));
        let mut lines = lines.filter(|line| line.ends_with(" 1"));
        let line = lines.next().unwrap_or_else(|| panic!("{page}"));
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let code = label("grpc_server_handled_total{", "grpc_code");
    Some((label("dashgate_calls_total{", "outcome"), code))
}

#[tokio::test(start_paused = true)]
async fn an_unread_stream_over_http1_ends_as_one_that_is_not_read_however_little_is_left() {
    let expected = ("SLOW_CONSUMER".to_owned(), "ResourceExhausted".to_owned());
    // The socket takes nothing any more, and the little that is left found room in the buffer of
    // the connection: between what the sockets take, which is looked for, and that and the buffer.
    let (mut taken, mut left) = (0, 2_000);
    assert_eq!(outcome_over_http1(left).await.as_ref(), Some(&expected));
    while left - taken > 1 {
        let middle = taken + (left - taken) / 2;
        match outcome_over_http1(middle).await {
            None => taken = middle,
            Some(outcome) => {
                assert_eq!(outcome, expected, "{middle} events");
                left = middle;
            }
        }
    }
    for events in left..left + 6 {
        let outcome = outcome_over_http1(events).await;
        assert!(
            outcome.is_none_or(|outcome| outcome == expected),
            "{events}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_connection_has_to_write_of_calls_that_are_over_does_not_keep_it() {
    let upstream = Upstream::always(json(200, &whole(&"x".repeat(8_000)))).await;
    let mut settings = settings_of(&upstream);
    settings.server.max_connection_age_grace = 5 * SECOND;
    settings.server.max_in_flight = 1;
    let gateway = gateway_with(settings).await;
    // The window holds one byte of the answer: the rest is over and unread.
    let mut caller = Caller::with_window(gateway.address, 1).await;
    let start = Instant::now();
    let call = caller.call(CONVERSE, &[], whole_request("")).await;
    upstream.wait_for_requests(1).await;
    tokio::time::sleep(SECOND / 10).await;
    assert!(!is_full(&gateway).await, "the call is over");
    caller.closed().await;
    let passed = start.elapsed();
    assert!(
        passed >= SLOW && passed <= 2 * SLOW + 5 * SECOND + LATE,
        "{passed:?}"
    );
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_unread_streams_take_no_permit_of_others() {
    let upstream = Upstream::start(|number, _| match number {
        0..1024 => endless(),
        _ => json(200, &whole("x")),
    })
    .await;
    // The defaults, 1,024 places and 30 s, but without shares: this one caller may take them all.
    let mut settings = settings(&upstream);
    settings.server.caller_share_percent = 100;
    let gateway = gateway_with(settings).await;
    for (timeout, limit) in [("20S", 20 * SECOND)] {
        let start = Instant::now();
        let mut callers = Vec::new();
        let mut calls = Vec::new();
        for number in 0..11 {
            let closed = LEVELS[number % 2];
            let mut caller = Caller::connect(gateway.address, closed).await;
            for _ in 0..94 {
                let timeout = [("grpc-timeout", timeout)];
                calls.push(caller.call(STREAM, &timeout, stream_request("")).await);
            }
            callers.push(caller);
        }
        upstream.wait_for_requests(1024).await;
        let begun = start.elapsed();
        assert!(is_full(&gateway).await);
        upstream.closes(1024).await;
        let passed = start.elapsed();
        assert!(
            passed >= limit && passed <= limit + begun + LATE,
            "{passed:?}"
        );
        assert!(!is_full(&gateway).await);
        let mut refused = 0;
        for call in calls {
            match end_of(call).await {
                Ended::Reset(code) => assert_eq!(code, Reason::CANCEL),
                Ended::Status(status) => {
                    assert_fault(&status, Code::Unavailable, "OVERLOADED");
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 10);
    }
}
