//! A call with a name is done once.

use std::time::Duration;

use dashgate::grpc::pb::{self, content};
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn c21_twins_in_flight_share_one_call() {
    let upstream = numbering(Duration::from_secs(2)).await;
    let gateway = gateway(&upstream).await;
    let calls = (0..16).map(|_| {
        let mut client = gateway.conversation();
        tokio::spawn(async move { client.converse(named("twin")).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut replays = 0;
    for call in calls {
        let response = call.await.unwrap();
        replays += usize::from(response.metadata().contains_key("idempotent-replay"));
        let answer = response.into_inner();
        assert_eq!(answer.request_id, "twin");
        let text = answer.choices[0].message.as_ref().unwrap().content[0]
            .kind
            .clone();
        assert_eq!(text, Some(content::Kind::Text("answer 0".to_owned())));
    }
    assert_eq!((upstream.seen().len(), replays), (1, 15));
}

#[tokio::test(start_paused = true)]
async fn c21_a_twin_of_a_stream_gets_it_from_the_start() {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(Duration::from_secs(5)),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let gateway = gateway(&upstream).await;
    let first = gateway
        .conversation()
        .converse_stream(named_stream("s"))
        .await
        .unwrap();
    let mut first = first.into_inner();
    first.next().await.unwrap().unwrap();
    first.next().await.unwrap().unwrap();

    let second = gateway
        .conversation()
        .converse_stream(named_stream("s"))
        .await
        .unwrap();
    assert!(second.metadata().contains_key("idempotent-replay"));
    let second: Vec<_> = second.into_inner().collect().await;
    assert_eq!(texts(&second), ["一", "二"]);
    let numbers: Vec<_> = second
        .iter()
        .map(|event| event.as_ref().unwrap().sequence)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let rest: Vec<_> = first.collect().await;
    assert_eq!(texts(&rest), ["二"]);
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn c23_an_answer_is_kept_for_a_while_and_not_for_ever() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let ask = || async {
        gateway
            .conversation()
            .converse(named("kept"))
            .await
            .unwrap()
    };
    let first = ask().await;
    let second = ask().await;
    assert!(!first.metadata().contains_key("idempotent-replay"));
    assert!(second.metadata().contains_key("idempotent-replay"));
    assert_eq!(first.get_ref().choices, second.get_ref().choices);
    assert_eq!(first.get_ref().usage, second.get_ref().usage);
    assert_eq!(upstream.seen().len(), 1);
    tokio::time::advance(Duration::from_secs(601)).await;
    ask().await;
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn c22_the_same_name_for_another_request_is_refused() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    gateway.conversation().converse(named("n")).await.unwrap();
    let changes: [fn(&mut pb::ConverseRequest); 4] = [
        |request| request.conversation.as_mut().unwrap().model.push('x'),
        |request| {
            request.options = Some(Box::new(pb::GenerationOptions {
                n: Some(2),
                ..<_>::default()
            }))
        },
        |request| {
            let options = pb::GenerationOptions {
                temperature: Some(0.1),
                ..<_>::default()
            };
            request.options = Some(Box::new(options));
        },
        |request| {
            let parts = &mut request.conversation.as_mut().unwrap().messages[0].content;
            parts[1].kind = Some(content::Kind::Text("?".to_owned()));
        },
    ];
    for change in changes {
        let mut request = named("n");
        change(&mut request);
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(violations(&status), ["request_id"]);
    }
    // A stream and a whole answer of one name are two requests as well.
    let status = gateway
        .conversation()
        .converse_stream(named_stream("n"))
        .await
        .unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn x27_another_caller_may_use_the_same_name() {
    let upstream = Upstream::start(|number, _| json(200, &whole(&number.to_string()))).await;
    let gateway = gateway(&upstream).await;
    for (number, key) in ["Bearer a", "Bearer b", "Bearer a"].into_iter().enumerate() {
        let mut request = Request::new(named("n"));
        request
            .metadata_mut()
            .insert("authorization", key.parse().unwrap());
        let response = gateway.conversation().converse(request).await.unwrap();
        let replayed = response.metadata().contains_key("idempotent-replay");
        assert_eq!(replayed, number == 2);
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_shared_by_twins_and_not_kept() {
    let upstream = Upstream::start(|number, _| match number {
        0 => {
            let mut steps = vec![Step::Pause(Duration::from_secs(1))];
            steps.extend(json(
                400,
                r#"{"code":"DataInspectionFailed","message":"m"}"#,
            ));
            steps
        }
        _ => json(200, &whole("x")),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let (mut one, mut two) = (gateway.conversation(), gateway.conversation());
    let (one, two) = tokio::join!(one.converse(named("n")), two.converse(named("n")));
    for outcome in [one, two] {
        assert_fault(
            &outcome.unwrap_err(),
            Code::InvalidArgument,
            "CONTENT_BLOCKED",
        );
    }
    gateway.conversation().converse(named("n")).await.unwrap();
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_named_call_ends_with_its_last_listener_only() {
    let mut upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway(&upstream).await;
    let start = || {
        let mut client = gateway.conversation();
        tokio::spawn(async move { client.converse(named("n")).await })
    };
    let (one, two) = (start(), start());
    upstream.wait_for_requests(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.abort();
    let still = tokio::time::timeout(Duration::from_secs(5), upstream.closed()).await;
    assert!(still.is_err(), "a listener is left");
    two.abort();
    assert!(upstream.is_closed_at_once().await, "no listener is left");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_one_is_refused() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for name in ["with space", "名", "\n", &"x".repeat(129)] {
        let status = gateway
            .conversation()
            .converse(named(name))
            .await
            .unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), ["request_id"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_named_calls_is_bounded() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    settings.idempotency.max_calls = 4;
    let gateway = gateway_with(settings).await;
    for number in 0..10 {
        gateway
            .conversation()
            .converse(named(&number.to_string()))
            .await
            .unwrap();
    }
    gateway.conversation().converse(named("9")).await.unwrap();
    assert_eq!(upstream.seen().len(), 10, "the newest is remembered");
    gateway.conversation().converse(named("0")).await.unwrap();
    assert_eq!(upstream.seen().len(), 11, "the oldest is forgotten");
}

#[tokio::test(start_paused = true)]
async fn an_answer_too_long_to_keep_still_reaches_its_caller_and_is_not_paid_for_twice() {
    // Each piece is another, or they would look like a text that is sent again and again.
    let long = |id: u32| format!("{id} {}", "x".repeat(200_000));
    let mut steps = vec![sse()];
    steps.extend((1..100).map(|id| piece(frame(id, &long(id), "null"))));
    steps.extend([piece(frame(100, &long(100), "stop")), end()]);
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let events = gateway
        .conversation()
        .converse_stream(named_stream("long"))
        .await
        .unwrap();
    let events: Vec<_> = events.into_inner().collect().await;
    let said = texts(&events).concat();
    assert!(
        said == (1..=100).map(long).collect::<String>(),
        "{} bytes",
        said.len()
    );
    assert!(events.iter().all(Result::is_ok));

    let status = gateway
        .conversation()
        .converse_stream(named_stream("long"))
        .await
        .unwrap_err();
    assert_fault(&status, Code::Aborted, "CALL_IN_PROGRESS");
    assert_eq!(upstream.seen().len(), 1);
}
