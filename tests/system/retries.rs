//! Second attempts: only before the first event, only for faults that pass, only within the
//! deadline and the budget; and other models, when one cannot answer.

use std::time::Duration;

use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::support::*;

fn fault(status: u16, code: &str, message: &str) -> Vec<Step> {
    json(
        status,
        &format!(r#"{{"code":"{code}","message":"{message}","request_id":"up-9"}}"#),
    )
}

#[tokio::test(start_paused = true)]
async fn u13_a_transient_error_is_retried_and_hidden() {
    let upstream = Upstream::start(|number, _| match number {
        0 => fault(500, "InternalError", "m"),
        1 => fault(503, "ModelUnavailable", "m"),
        _ => json(200, &whole("x")),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let response = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
    assert_eq!(response.into_inner().timing.unwrap().attempts, 3);
    let bodies: Vec<_> = upstream.seen().into_iter().map(|seen| seen.body).collect();
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "one body for all attempts"
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_event_that_is_an_error_is_tried_again_and_a_later_one_is_not() {
    let error = "id:1\nevent:error\n:HTTP_STATUS/500\n\
                 data:{\"code\":\"InternalError\",\"message\":\"m\",\"request_id\":\"up-9\"}\n\n";
    let upstream = Upstream::start(move |number, _| match number {
        0 => vec![sse(), piece(error), end()],
        _ => vec![sse(), piece(frame(1, "一", "null")), piece(error), end()],
    })
    .await;
    let gateway = gateway(&upstream).await;
    let events = gateway
        .conversation()
        .converse_stream(ask_stream(question()))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().collect().await;
    assert_eq!(texts(&events), ["一"]);
    let status = events.last().unwrap().as_ref().unwrap_err();
    // The model has run: no mesh may take this for a call that was never made.
    assert_fault(status, Code::Internal, "UPSTREAM_INTERNAL");
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "-1"
    );
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn u4_a_broken_connection_is_not_retried_unless_configured() {
    for (after_reset, requests) in [(false, 1), (true, 2)] {
        let upstream = Upstream::always(vec![Step::Reset]).await;
        let mut settings = settings(&upstream);
        settings.retry.after_reset = after_reset;
        let gateway = gateway_with(settings).await;
        let status = gateway
            .conversation()
            .converse(ask_whole(question()))
            .await
            .unwrap_err();
        assert_fault(&status, Code::Internal, "UPSTREAM_RESET");
        assert_eq!(
            status.metadata().get("grpc-retry-pushback-ms").unwrap(),
            "-1"
        );
        assert_eq!(upstream.seen().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn u2_a_refused_connection_is_unavailable_after_three_attempts() {
    let upstream = Upstream::always(Vec::new()).await;
    let settings = settings(&upstream);
    drop(upstream);
    tokio::task::yield_now().await;
    let gateway = gateway_with(settings).await;
    let status = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_CONNECT");
    assert_eq!(attempts(&status), "3");
}

#[tokio::test(start_paused = true)]
async fn u11_throttling_waits_as_dashscope_says_if_that_fits() {
    let throttled = |seconds: u32| {
        let body = br#"{"code":"Throttling.RateQuota","message":"m","request_id":"up-9"}"#;
        http(429, &format!("retry-after: {seconds}\r\n"), body)
    };
    let upstream = Upstream::start(move |number, _| match number {
        0 => throttled(4),
        1 => json(200, &whole("x")),
        _ => throttled(30),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let started = Instant::now();
    gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
    assert!(
        (4..6).contains(&started.elapsed().as_secs()),
        "{:?}",
        started.elapsed()
    );

    let mut request = Request::new(ask_whole(question()));
    request.set_timeout(Duration::from_secs(10));
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "UPSTREAM_RATE");
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "30000"
    );
    assert_eq!(
        upstream.seen().len(),
        3,
        "thirty seconds do not fit into ten"
    );
}

#[tokio::test(start_paused = true)]
async fn u13_retries_stay_a_tenth_of_all_calls() {
    let upstream = Upstream::always(fault(500, "InternalError", "m")).await;
    let mut settings = settings(&upstream);
    // The budget alone, without the circuit that would open long before.
    settings.upstream.breaker_failures = 0;
    let gateway = gateway_with(settings).await;
    let calls = 400;
    for _ in 0..calls {
        let status = gateway
            .conversation()
            .converse(ask_whole(question()))
            .await
            .unwrap_err();
        assert_fault(&status, Code::Unavailable, "UPSTREAM_INTERNAL");
    }
    let retries = upstream.seen().len() - calls;
    assert!(
        (calls / 10..=calls / 10 + 10).contains(&retries),
        "{retries}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_alias_and_its_fallbacks_are_tried_in_order_and_the_answer_names_the_model() {
    let upstream = Upstream::start(|_, seen| match seen.json()["model"].as_str().unwrap() {
        "second" => json(200, &whole("x")),
        _ => fault(404, "ModelNotFound", "m"),
    })
    .await;
    let mut settings = settings(&upstream);
    settings.models.aliases = vec![("qwen-audio-turbo".to_owned(), "first".to_owned())];
    settings.models.fallbacks = vec![("first".to_owned(), vec!["second".to_owned()])];
    let gateway = gateway_with(settings).await;
    let response = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
    assert_eq!(response.into_inner().model, "second");
    let models: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.json()["model"].clone())
        .collect();
    assert_eq!(models, ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn no_fallback_is_tried_for_an_invalid_request() {
    let upstream = Upstream::always(fault(400, "InvalidParameter", "Range of top_p")).await;
    let mut settings = settings(&upstream);
    let fallback = ("qwen-audio-turbo".to_owned(), vec!["second".to_owned()]);
    settings.models.fallbacks = vec![fallback];
    let gateway = gateway_with(settings).await;
    let status = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(violations(&status), ["options.top_p"]);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_a_unary_request_gets_a_stream() {
    let page = || http(500, "content-type: text/html\r\n", b"<html>oops</html>");
    let refusals: [fn() -> Vec<Step>; 3] = [
        || fault(500, "InternalError", "m"),
        || fault(500, "NewCodeOfTheDay", "m"),
        page,
    ];
    for refusal in refusals {
        let upstream = Upstream::start(move |_, seen| match seen.header("x-dashscope-sse") {
            Some(_) => vec![sse(), piece(frame(1, "x", "stop")), end()],
            None => refusal(),
        })
        .await;
        let gateway = gateway(&upstream).await;
        let mut client = gateway.conversation();
        client.converse(ask_whole(question())).await.unwrap();
        assert_eq!(upstream.seen().len(), 3);
        client.converse(ask_whole(question())).await.unwrap();
        assert_eq!(upstream.seen().len(), 4, "it is remembered");
    }
    // Not after a fault of the way to DashScope.
    let upstream = Upstream::always(http(502, "", b"<html>oops</html>")).await;
    let gateway = gateway(&upstream).await;
    let mut client = gateway.conversation();
    client.converse(ask_whole(question())).await.unwrap_err();
    let asked = upstream.seen();
    assert!(
        asked
            .iter()
            .all(|seen| seen.header("x-dashscope-sse").is_none())
    );
}
