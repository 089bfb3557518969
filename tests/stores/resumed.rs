//! Streams that are resumed, calls that go on without a reader, and calls that are cancelled by
//! their request id, at the same replica and at another.

use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::call_service_client::CallServiceClient;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, delta};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::replicas::{process, replica};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_stream_is_resumed_at_the_same_and_at_another_replica,
        events_that_do_not_exist_are_out_of_range,
        a_detached_call_goes_on_and_its_answer_is_fetched_at_another_replica,
        a_detached_call_without_a_reader_ends_after_its_grace,
        a_detached_call_that_was_left_at_two_replicas_ends_after_its_grace,
        a_resumable_stream_waits_for_its_reader_at_any_replica,
        a_resumable_stream_without_a_reader_ends_after_its_grace,
        a_resumable_stream_goes_on_for_a_reader_at_another_replica,
        a_call_that_readers_wait_for_is_begun_again,
        a_call_is_cancelled_at_another_replica,
        a_detached_call_without_a_reader_is_cancelled,
        only_the_caller_of_a_running_call_can_cancel_it,
    ]
}

pub fn ask(after_sequence: i32, detached: bool) -> pb::ConverseStreamRequest {
    pb::ConverseStreamRequest {
        request_id: "s".to_owned(),
        after_sequence,
        detached,
        ..ask_stream(question())
    }
}

/// One event after the other, the third after the pause.
pub async fn three(pause: Step) -> Upstream {
    Upstream::always(vec![
        sse(),
        piece(frame(1, "一", "null")),
        piece(frame(2, "二", "null")),
        pause,
        piece(frame(3, "三", "stop")),
        end(),
    ])
    .await
}

pub type Stream = tonic::Streaming<pb::ConverseStreamResponse>;

pub async fn open(replica: &Running, request: pb::ConverseStreamRequest) -> Result<Stream, Status> {
    let answer = replica.conversation().converse_stream(request).await;
    answer.map(tonic::Response::into_inner)
}

/// The next event that is no heartbeat.
pub async fn next(stream: &mut Stream) -> Result<(i32, Option<Event>), Status> {
    loop {
        let message = stream.next().await.expect("an event")?;
        if !matches!(message.event, Some(Event::Heartbeat(_))) {
            return Ok((message.sequence, message.event));
        }
    }
}

/// The numbers and texts of all events.
pub async fn rest(stream: &mut Stream) -> Vec<(i32, String)> {
    let mut all = Vec::new();
    loop {
        let (sequence, event) = next(stream).await.unwrap();
        let text = match event.unwrap() {
            Event::Started(_) => "started".to_owned(),
            Event::Delta(delta) => match delta.part.unwrap() {
                delta::Part::Text(text) => text,
                other => panic!("{other:?}"),
            },
            Event::Completed(_) => {
                all.push((sequence, "completed".to_owned()));
                return all;
            }
            Event::Heartbeat(_) => continue,
        };
        all.push((sequence, text));
    }
}

pub fn expected(from: usize) -> Vec<(i32, String)> {
    let all = ["started", "一", "二", "三", "completed"];
    let numbered = (1..).zip(all.map(str::to_owned));
    numbered.skip(from).collect()
}

async fn a_stream_is_resumed_at_the_same_and_at_another_replica(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(1500))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, false)).await.unwrap();
    for number in 1..=3 {
        assert_eq!(next(&mut first).await.unwrap().0, number);
    }
    let mut others = Vec::new();
    for replica in [&one, &two] {
        for after in [1, 3] {
            let mut stream = open(replica, ask(after, false)).await.unwrap();
            others.push(tokio::spawn(
                async move { (after, rest(&mut stream).await) },
            ));
        }
    }
    assert_eq!(rest(&mut first).await, expected(3));
    for other in others {
        let (after, events) = other.await.unwrap();
        assert_eq!(events, expected(usize::try_from(after).unwrap()));
    }
    // After its end, at every replica.
    for replica in [&one, &two] {
        let mut stream = open(replica, ask(4, false)).await.unwrap();
        assert_eq!(rest(&mut stream).await, expected(4));
    }
    assert_eq!(upstream.seen().len(), 1);
}

async fn events_that_do_not_exist_are_out_of_range(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(2500))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let refused = |status: Status| {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::OutOfRange, "RESUME_GAP")
        );
        status.message().to_owned()
    };
    for replica in [&one, &two] {
        let unknown = open(replica, ask(1, false)).await.unwrap_err();
        assert!(refused(unknown).contains("no events of this call are kept"));
    }
    assert_eq!(upstream.seen().len(), 0);
    let mut first = open(&one, ask(0, false)).await.unwrap();
    for _ in 0..3 {
        next(&mut first).await.unwrap();
    }
    // In the future of a call that runs.
    for replica in [&one, &two] {
        let status = open(replica, ask(77, false)).await.unwrap_err();
        assert!(refused(status).contains("1 to 3 are kept"));
    }
    assert_eq!(rest(&mut first).await, expected(3));
    for (replica, after) in [(&one, 5), (&one, 6), (&two, 5), (&two, 9)] {
        let status = open(replica, ask(after, false)).await.unwrap_err();
        assert!(refused(status).contains("1 to 5 are kept"));
    }
    let mut other = ask(1, false);
    other.options.get_or_insert_default().seed = Some(1);
    for replica in [&one, &two] {
        let status = open(replica, other.clone()).await.unwrap_err();
        assert_eq!(reason(&status), "IDEMPOTENCY_KEY_REUSED");
    }
    for wrong in [ask(-1, false), ask(1, false), ask(0, true)] {
        let request_id = match wrong.after_sequence {
            -1 => "s".to_owned(),
            _ => String::new(),
        };
        let wrong = pb::ConverseStreamRequest {
            request_id,
            ..wrong
        };
        let status = open(&one, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert!(["after_sequence", "detached"].contains(&&*fields[0].field));
    }
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_detached_call_goes_on_and_its_answer_is_fetched_at_another_replica(
    store: StoreSettings,
) {
    let upstream = three(Step::Pause(Duration::from_millis(700))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, true)).await.unwrap();
    assert_eq!(next(&mut first).await.unwrap().0, 1);
    drop(first);
    let mut second = open(&two, ask(1, true)).await.unwrap();
    assert_eq!(rest(&mut second).await, expected(1));
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_detached_call_without_a_reader_ends_after_its_grace(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let mut settings = settings(&upstream);
    settings.store = Some(store.clone());
    settings.idempotency.detached_grace = Duration::from_millis(600);
    let one = gateway_with(settings).await;
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    let dropped = tokio::time::Instant::now();
    drop(first);
    upstream.closed().await;
    assert!(dropped.elapsed() >= Duration::from_millis(500));
}

async fn a_detached_call_that_was_left_at_two_replicas_ends_after_its_grace(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let mut settings = settings(&upstream);
    settings.store = Some(store.clone());
    settings.idempotency.detached_grace = Duration::from_millis(600);
    let one = gateway_with(settings.clone()).await;
    let two = gateway_with(settings).await;
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    let mut second = open(&two, ask(0, true)).await.unwrap();
    next(&mut second).await.unwrap();
    let dropped = tokio::time::Instant::now();
    drop((first, second));
    upstream.closed().await;
    assert!(dropped.elapsed() >= Duration::from_millis(500));
}

pub fn resumable(after_sequence: i32) -> pb::ConverseStreamRequest {
    pb::ConverseStreamRequest {
        resumable: true,
        ..ask(after_sequence, false)
    }
}

async fn a_resumable_stream_waits_for_its_reader_at_any_replica(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(700))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, resumable(0)).await.unwrap();
    let (_, started) = next(&mut first).await.unwrap();
    assert!(matches!(started, Some(Event::Started(started)) if started.resumable));
    drop(first);
    let mut second = open(&two, resumable(1)).await.unwrap();
    assert_eq!(rest(&mut second).await, expected(1));
    assert_eq!(upstream.seen().len(), 1);
    // Another request did not ask for it.
    let mut third = open(&two, ask(0, false)).await.unwrap();
    let (_, started) = next(&mut third).await.unwrap();
    assert!(matches!(started, Some(Event::Started(started)) if !started.resumable));
}

async fn a_resumable_stream_without_a_reader_ends_after_its_grace(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let mut settings = settings(&upstream);
    settings.store = Some(store.clone());
    settings.idempotency.resume_grace = Duration::from_millis(600);
    let one = gateway_with(settings).await;
    let mut first = open(&one, resumable(0)).await.unwrap();
    next(&mut first).await.unwrap();
    let dropped = tokio::time::Instant::now();
    drop(first);
    upstream.closed().await;
    assert!(dropped.elapsed() >= Duration::from_millis(500));
}

async fn a_resumable_stream_goes_on_for_a_reader_at_another_replica(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_secs(3))).await;
    let mut settings = settings(&upstream);
    settings.store = Some(store.clone());
    settings.idempotency.resume_grace = Duration::from_millis(800);
    let one = gateway_with(settings.clone()).await;
    let two = gateway_with(settings).await;
    let mut first = open(&one, resumable(0)).await.unwrap();
    next(&mut first).await.unwrap();
    drop(first);
    let mut second = open(&two, resumable(1)).await.unwrap();
    assert_eq!(rest(&mut second).await, expected(1));
    assert_eq!(upstream.seen().len(), 1);
}

async fn a_call_that_readers_wait_for_is_begun_again(store: StoreSettings) {
    let upstream = Upstream::start(|number, _| match number {
        0 => vec![sse(), piece(frame(1, "一", "null")), Step::Hang],
        _ => vec![sse(), piece(frame(1, "二", "stop")), end()],
    })
    .await;
    let one = process(&upstream, &store);
    let mut client = ConversationServiceClient::with_origin(one.client(), one.origin());
    let lost = client.converse_stream(resumable(0)).await.unwrap();
    upstream.wait_for_requests(1).await;
    drop(one);
    drop(lost);
    let two = replica(&upstream, &store).await;
    // It wants events that the killed replica did not write, and waits for the end of its lease.
    let mut client = two.conversation();
    let gap = tokio::spawn(async move { client.converse_stream(resumable(9)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut whole = open(&two, ask(0, false)).await.unwrap();
    let texts = rest(&mut whole).await;
    assert_eq!(texts[1].1, "二", "{texts:?}");
    let error = gap.await.unwrap().unwrap_err();
    assert_fault(&error, Code::OutOfRange, "RESUME_GAP");
    assert_eq!(upstream.seen().len(), 2);
}

pub fn calls(replica: &Running) -> CallServiceClient<Client> {
    let origin = format!("http://{}", replica.address).parse().unwrap();
    CallServiceClient::with_origin(replica.client.clone(), origin)
}

pub fn cancel() -> pb::CancelCallRequest {
    pb::CancelCallRequest {
        request_id: "s".to_owned(),
    }
}

async fn a_call_is_cancelled_at_another_replica(store: StoreSettings) {
    for here in [true, false] {
        let mut upstream = three(Step::Hang).await;
        let (one, two) = (
            replica(&upstream, &store).await,
            replica(&upstream, &store).await,
        );
        let mut first = open(&one, ask(0, false)).await.unwrap();
        for _ in 0..3 {
            next(&mut first).await.unwrap();
        }
        let mut second = open(&two, ask(0, false)).await.unwrap();
        for _ in 0..3 {
            next(&mut second).await.unwrap();
        }
        let canceller = if here { &one } else { &two };
        calls(canceller).cancel_call(cancel()).await.unwrap();
        let status = next(&mut first).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Aborted, "CALL_CANCELLED")
        );
        let status = next(&mut second).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Aborted, "CALL_CANCELLED")
        );
        upstream.closed().await;
        let status = calls(&two).cancel_call(cancel()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::NotFound, "CALL_NOT_FOUND")
        );
    }
}

async fn a_detached_call_without_a_reader_is_cancelled(store: StoreSettings) {
    let mut upstream = three(Step::Hang).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, true)).await.unwrap();
    next(&mut first).await.unwrap();
    drop(first);
    calls(&two).cancel_call(cancel()).await.unwrap();
    upstream.closed().await;
}

async fn only_the_caller_of_a_running_call_can_cancel_it(store: StoreSettings) {
    let upstream = three(Step::Pause(Duration::from_millis(1200))).await;
    let (one, two) = (
        replica(&upstream, &store).await,
        replica(&upstream, &store).await,
    );
    let mut first = open(&one, ask(0, false)).await.unwrap();
    next(&mut first).await.unwrap();
    for replica in [&one, &two] {
        let mut request = tonic::Request::new(cancel());
        let other = "Bearer other".parse().unwrap();
        request.metadata_mut().insert("authorization", other);
        let status = calls(replica).cancel_call(request).await.unwrap_err();
        assert_eq!(reason(&status), "CALL_NOT_FOUND");
        let nothing = pb::CancelCallRequest::default();
        let status = calls(replica).cancel_call(nothing).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    assert_eq!(rest(&mut first).await, expected(1));
}
