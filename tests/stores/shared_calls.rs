//! A call with a request id is done once over all replicas.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, delta};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_types::StatusExt;

use crate::kept::text;
use crate::replicas::{process, replica};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_retry_at_another_replica_returns_the_stored_answer,
        twins_at_many_replicas_share_one_call,
        a_stream_is_followed_at_another_replica,
        a_request_id_of_another_request_is_refused_at_another_replica,
        callers_do_not_share_request_ids,
        a_failed_call_can_be_made_again_at_another_replica,
        the_error_of_a_call_reaches_its_followers,
        a_call_that_is_given_up_can_be_made_again_at_another_replica,
        a_call_that_is_made_again_at_once_keeps_its_whole_answer,
        a_call_of_a_killed_replica_is_taken_over_after_its_lease,
        a_follower_of_a_killed_replica_fails_after_its_lease,
        answers_survive_a_restart,
    ]
}

async fn a_retry_at_another_replica_returns_the_stored_answer(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let first = one.conversation().converse(named("a")).await.unwrap();
    assert!(!first.metadata().contains_key("idempotent-replay"));
    let first = first.into_inner();
    let again = two.conversation().converse(named("a")).await.unwrap();
    assert_eq!(again.metadata().get("idempotent-replay").unwrap(), "true");
    let again = again.into_inner();
    assert_eq!(
        (text(&first), text(&again)),
        ("answer 0".into(), "answer 0".into())
    );
    assert_eq!(
        (&first.usage, &first.choices),
        (&again.usage, &again.choices)
    );
    assert_eq!(first.upstream_request_id, again.upstream_request_id);
    assert_eq!(upstream.seen().len(), 1);
}

async fn twins_at_many_replicas_share_one_call(store: StoreSettings) {
    let upstream = numbering(Duration::from_millis(700)).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(&upstream, &store).await);
    }
    let calls = (0..12).map(|number: usize| {
        let mut client = replicas[number % 3].conversation();
        tokio::spawn(async move { client.converse(named("twin")).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut replays = 0;
    for call in calls {
        let response = call.await.unwrap();
        replays += usize::from(response.metadata().contains_key("idempotent-replay"));
        assert_eq!(text(response.get_ref()), "answer 0");
    }
    assert_eq!((upstream.seen().len(), replays), (1, 11));
}

pub async fn deltas(client: &mut ConversationServiceClient<Client>, name: &str) -> Vec<String> {
    let stream = client.converse_stream(named_stream(name)).await.unwrap();
    texts(stream.into_inner()).await
}

pub async fn texts(mut stream: tonic::Streaming<pb::ConverseStreamResponse>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(message) = stream.next().await {
        match message.unwrap().event.unwrap() {
            Event::Delta(delta) => match delta.part.unwrap() {
                delta::Part::Text(text) => texts.push(text),
                other => panic!("{other:?}"),
            },
            Event::Completed(completed) => {
                assert!(completed.usage.is_some());
                return texts;
            }
            Event::Started(_) | Event::Heartbeat(_) => {}
        }
    }
    panic!("the stream has no end");
}

async fn a_stream_is_followed_at_another_replica(store: StoreSettings) {
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        Step::Pause(Duration::from_millis(900)),
        piece(frame(2, "二", "stop")),
        end(),
    ])
    .await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut client = one.conversation();
    let first = client.converse_stream(named_stream("s")).await.unwrap();
    assert!(!first.metadata().contains_key("idempotent-replay"));
    let second = two.conversation().converse_stream(named_stream("s")).await;
    let second = second.unwrap();
    assert!(second.metadata().contains_key("idempotent-replay"));
    let (first, second) = tokio::join!(texts(first.into_inner()), texts(second.into_inner()));
    assert_eq!(first.concat(), "一二");
    assert_eq!(first, second);
    // A third one reads it when it has ended.
    assert_eq!(deltas(&mut two.conversation(), "s").await, first);
    let three = replica(&upstream, &store).await;
    assert_eq!(deltas(&mut three.conversation(), "s").await, first);
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_request_id_of_another_request_is_refused_at_another_replica(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    one.conversation().converse(named("a")).await.unwrap();
    let mut other = named("a");
    other.options.get_or_insert_default().seed = Some(7);
    let error = two.conversation().converse(other).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(reason(&error), "IDEMPOTENCY_KEY_REUSED");
    // Whole and streamed are two requests.
    let error = two.conversation().converse_stream(named_stream("a")).await;
    assert_eq!(reason(&error.unwrap_err()), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(upstream.seen().len(), 1);
}

fn with_key<T>(message: T, key: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn callers_do_not_share_request_ids(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    for (key, expected) in [("a", "answer 0"), ("b", "answer 1"), ("a", "answer 0")] {
        for replica in [&one, &two] {
            let request = with_key(named("same"), key);
            let answer = replica.conversation().converse(request).await.unwrap();
            assert_eq!(text(answer.get_ref()), expected, "{key}");
        }
    }
    assert_eq!(upstream.seen().len(), 2);
}

async fn a_failed_call_can_be_made_again_at_another_replica(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => json(
            400,
            r#"{"code":"InvalidParameter","message":"no","request_id":"r"}"#,
        ),
        _ => json(200, &whole("fine")),
    })
    .await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let error = one.conversation().converse(named("a")).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let answer = two.conversation().converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "fine");
}

async fn the_error_of_a_call_reaches_its_followers(store: StoreSettings) {
    let refused = r#"{"code":"DataInspectionFailed","message":"no","request_id":"r"}"#;
    let mut steps = vec![Step::Pause(Duration::from_millis(900))];
    steps.extend(json(400, refused));
    let upstream = Upstream::always(steps).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut client = one.conversation();
    let first = tokio::spawn(async move { client.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    let second = two.conversation().converse(named("a")).await.unwrap_err();
    let first = first.await.unwrap().unwrap_err();
    assert_eq!(
        (first.code(), reason(&first).as_str()),
        (Code::InvalidArgument, "CONTENT_BLOCKED")
    );
    assert_eq!(
        (second.code(), second.message()),
        (first.code(), first.message())
    );
    assert_eq!(
        second.get_details_error_info().unwrap().metadata,
        first.get_details_error_info().unwrap().metadata
    );
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_call_that_is_given_up_can_be_made_again_at_another_replica(store: StoreSettings) {
    let mut upstream = Upstream::start(|number, _| match number {
        0 => vec![sse(), piece(frame(1, "一", "null")), Step::Hang],
        _ => vec![sse(), piece(frame(1, "二", "stop")), end()],
    })
    .await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut client = one.conversation();
    let first = client.converse_stream(named_stream("s")).await.unwrap();
    drop(first);
    upstream.closed().await;
    assert_eq!(deltas(&mut two.conversation(), "s").await, ["二"]);
}

async fn a_call_that_is_made_again_at_once_keeps_its_whole_answer(store: StoreSettings) {
    let steps = vec![
        sse(),
        piece(frame(1, "一", "null")),
        piece(frame(2, "二", "stop")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    for number in 0..20 {
        let name = format!("s{number}");
        // Given up before, during or after its answer.
        let mut client = one.conversation();
        let first = client.converse_stream(named_stream(&name));
        let pause = Duration::from_millis(number % 5);
        let _ = tokio::time::timeout(pause, first).await;
        for replica in [&one, &two] {
            let texts = deltas(&mut replica.conversation(), &name).await;
            assert_eq!(texts.concat(), "一二");
        }
    }
}

async fn a_call_of_a_killed_replica_is_taken_over_after_its_lease(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![Step::Hang],
        _ => json(200, &whole("fine")),
    })
    .await;
    let one = process(&upstream, &store);
    let mut client = ConversationServiceClient::with_origin(one.client(), one.origin());
    let lost = tokio::spawn(async move { client.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    drop(one);
    lost.await.unwrap().unwrap_err();
    let two = replica(&upstream, &store).await;
    let answer = two.conversation().converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "fine");
    assert_eq!(upstream.seen().len(), 2);
}

async fn a_follower_of_a_killed_replica_fails_after_its_lease(store: StoreSettings) {
    let steps = vec![sse(), piece(frame(1, "一", "null")), Step::Hang];
    let upstream = Upstream::always(steps).await;
    let one = process(&upstream, &store);
    let mut client = ConversationServiceClient::with_origin(one.client(), one.origin());
    let first = client.converse_stream(named_stream("s")).await.unwrap();
    let two = replica(&upstream, &store).await;
    let mut other = two.conversation();
    let second = other.converse_stream(named_stream("s")).await.unwrap();
    drop((one, first));
    let mut second = second.into_inner();
    let error = loop {
        match second.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(
        (error.code(), reason(&error).as_str()),
        (Code::Internal, "OWNER_LOST")
    );
    assert_eq!(upstream.seen().len(), 1);
}

async fn answers_survive_a_restart(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let one = replica(&upstream, &store).await;
    one.conversation().converse(named("a")).await.unwrap();
    one.stop().await;
    one.ended().await;
    let one = replica(&upstream, &store).await;
    let answer = one.conversation().converse(named("a")).await.unwrap();
    assert_eq!(text(answer.get_ref()), "answer 0");
}
