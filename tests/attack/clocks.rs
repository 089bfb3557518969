//! Responses that are not read: whatever was called and on whichever level of HTTP/2 the window is
//! closed, the deadline and the limit for unread responses end the call, close DashScope and free
//! its places. The caller gets the status if it reads again, and a reset if it does not.

use std::time::Duration;

use dashgate::config;
use dashgate::grpc::pb;
use h2::Reason;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::closed_window::*;
use crate::support::*;

pub const SECOND: Duration = Duration::from_secs(1);
pub const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
pub const STREAM: &str = "/dashgate.v1.ConversationService/ConverseStream";
pub const UPLOAD: &str = "/dashgate.v1.MediaService/UploadMedia";
pub const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
pub const REFLECTION_V1ALPHA: &str =
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// How long a response may stay unread in these tests.
pub const SLOW: Duration = Duration::from_secs(3);

/// How late a clock may be: row C16 of the table of faults.
pub const LATE: Duration = Duration::from_millis(50);

pub fn whole_request(name: &str) -> Vec<u8> {
    message(&pb::ConverseRequest {
        request_id: name.to_owned(),
        ..ask_whole(question())
    })
}

pub fn stream_request(name: &str) -> Vec<u8> {
    message(&pb::ConverseStreamRequest {
        request_id: name.to_owned(),
        ..ask_stream(question())
    })
}

pub fn settings_of(upstream: &Upstream) -> config::Settings {
    let mut settings = settings(upstream);
    settings.timeouts.slow_consumer = SLOW;
    settings
}

/// A stream that begins and then waits for its caller.
pub fn endless() -> Vec<Step> {
    let pieces = (1..=3).map(|id| piece(frame(id, &format!("{id}"), "null")));
    let mut steps = vec![sse()];
    steps.extend(pieces);
    steps.push(Step::Hang);
    steps
}

/// A whole answer that no window holds.
pub fn large() -> String {
    whole(&"长".repeat(1_000_000))
}

/// Whether a new call finds a place.
pub async fn is_full(gateway: &Running) -> bool {
    let answer = gateway.conversation().converse(ask_whole(question())).await;
    match answer {
        Ok(_) => false,
        Err(status) => {
            assert_fault(&status, Code::Unavailable, "OVERLOADED");
            true
        }
    }
}

#[track_caller]
pub fn assert_at(since: Instant, expected: Duration) {
    let passed = since.elapsed();
    let in_time = passed >= expected && passed <= expected + LATE;
    assert!(in_time, "after {passed:?} and not {expected:?}");
}

#[track_caller]
pub fn assert_reset(ended: &Ended) {
    assert!(matches!(ended, Ended::Reset(Reason::CANCEL)), "{ended:?}");
}

#[track_caller]
pub fn assert_ended(ended: &Ended, code: Code, reason: &str) {
    match ended {
        Ended::Status(status) => assert_fault(status, code, reason),
        Ended::Reset(code) => panic!("reset with {code:?}"),
    }
}

/// The two limits: what is asked for, when it ends, and how.
pub const LIMITS: [(&str, Duration, Code, &str); 2] = [
    (
        "2S",
        Duration::from_secs(2),
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
    ),
    ("60S", SLOW, Code::ResourceExhausted, "SLOW_CONSUMER"),
];

#[tokio::test(start_paused = true)]
async fn c16_c19_an_unread_stream_ends_at_its_limit_and_its_place_is_free() {
    for closed in LEVELS {
        for (timeout, limit, code, reason) in LIMITS {
            for reads_again in [true, false] {
                let upstream = Upstream::start(|number, _| match number {
                    0 => endless(),
                    _ => json(200, &whole("x")),
                })
                .await;
                let mut settings = settings_of(&upstream);
                settings.server.max_in_flight = 1;
                let gateway = gateway_with(settings).await;
                let mut caller = Caller::connect(gateway.address, closed).await;
                let start = Instant::now();
                let timeout = [("grpc-timeout", timeout)];
                let call = caller.call(STREAM, &timeout, stream_request("")).await;
                upstream.wait_for_requests(1).await;
                tokio::time::sleep(SECOND).await;
                assert!(is_full(&gateway).await);

                upstream.closes(1).await;
                assert_at(start, limit);
                assert!(!is_full(&gateway).await, "{closed:?}");

                if reads_again {
                    caller.read_again();
                    assert_ended(&end_of(call).await, code, reason);
                    assert_at(start, limit);
                } else {
                    assert_reset(&end_of(call).await);
                    assert_at(start, limit + SLOW);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_unary_answer_keeps_its_permit_while_it_is_unread_within_its_limit() {
    for closed in LEVELS {
        for (timeout, limit, code, reason) in LIMITS {
            for reads_again in [true, false] {
                let upstream = Upstream::start(|number, _| match number {
                    0 => json(200, &large()),
                    _ => json(200, &whole("x")),
                })
                .await;
                let mut settings = settings_of(&upstream);
                settings.server.max_in_flight = 1;
                let gateway = gateway_with(settings).await;
                let mut caller = Caller::connect(gateway.address, closed).await;
                let start = Instant::now();
                let timeout = [("grpc-timeout", timeout)];
                let call = caller.call(CONVERSE, &timeout, whole_request("")).await;
                upstream.wait_for_requests(1).await;
                tokio::time::sleep_until(start + limit - LATE).await;
                assert!(is_full(&gateway).await, "{closed:?}");
                tokio::time::sleep_until(start + limit + LATE).await;
                assert!(!is_full(&gateway).await, "{closed:?}");
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

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_slowly_is_not_ended() {
    let upstream = Upstream::always(json(200, &large())).await;
    let gateway = gateway_with(settings_of(&upstream)).await;
    let mut caller = Caller::connect(gateway.address, Closed::Connection).await;
    let start = Instant::now();
    let call = caller.call(CONVERSE, &[], whole_request("")).await;
    caller.read_again();
    let mut body = call.await.unwrap().into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        tokio::time::sleep(SLOW / 10).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert!(start.elapsed() > 2 * SLOW, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn replays_of_a_named_call_hold_places_until_their_limit() {
    for closed in LEVELS {
        for (timeout, limit, code, reason) in LIMITS {
            for reads_again in [true, false] {
                let upstream = Upstream::always(json(200, &large())).await;
                let mut settings = settings_of(&upstream);
                settings.server.max_in_flight = 2;
                let gateway = gateway_with(settings).await;
                let mut first = gateway.conversation();
                let named = pb::ConverseRequest {
                    request_id: "named".to_owned(),
                    ..ask_whole(question())
                };
                first.converse(named).await.unwrap();

                let mut caller = Caller::connect(gateway.address, closed).await;
                let start = Instant::now();
                let timeout = [("grpc-timeout", timeout)];
                let mut calls = Vec::new();
                for _ in 0..2 {
                    let call = caller.call(CONVERSE, &timeout, whole_request("named"));
                    calls.push(call.await);
                }
                tokio::time::sleep_until(start + limit - LATE).await;
                assert!(is_full(&gateway).await, "{closed:?}");
                tokio::time::sleep_until(start + limit + LATE).await;
                assert!(!is_full(&gateway).await, "{closed:?}");
                if reads_again {
                    caller.read_again();
                }
                // Together: what is unread of one uses the window of the other.
                let mut ends = JoinSet::new();
                for call in calls {
                    ends.spawn(end_of(call));
                }
                for ended in ends.join_all().await {
                    match reads_again {
                        true => assert_ended(&ended, code, reason),
                        false => assert_reset(&ended),
                    }
                }
                assert_eq!(upstream.seen().len(), 2, "one call and the last question");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replayed_stream_holds_its_place_until_its_limit() {
    for closed in LEVELS {
        let mut steps = vec![sse()];
        let text = |id| format!("{id}{}", "长".repeat(20_000));
        steps.extend((1..20).map(|id| piece(frame(id, &text(id), "null"))));
        steps.extend([piece(frame(20, &text(20), "stop")), end()]);
        let upstream = Upstream::start(move |number, _| match number {
            0 => steps.clone(),
            _ => json(200, &whole("x")),
        })
        .await;
        let mut settings = settings_of(&upstream);
        settings.server.max_in_flight = 1;
        let gateway = gateway_with(settings).await;
        let named = pb::ConverseStreamRequest {
            request_id: "named".to_owned(),
            ..ask_stream(question())
        };
        let first = gateway.conversation().converse_stream(named).await;
        let mut first = first.unwrap().into_inner();
        while first.message().await.unwrap().is_some() {}
        drop(first);

        let mut caller = Caller::connect(gateway.address, closed).await;
        let start = Instant::now();
        let call = caller.call(STREAM, &[], stream_request("named")).await;
        tokio::time::sleep_until(start + SLOW - LATE).await;
        assert!(is_full(&gateway).await, "{closed:?}");
        tokio::time::sleep_until(start + SLOW + LATE).await;
        assert!(!is_full(&gateway).await, "{closed:?}");
        assert_reset(&end_of(call).await);
        assert_at(start, 2 * SLOW);
    }
}
