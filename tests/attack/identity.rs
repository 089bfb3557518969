//! Callers that take places they have no right to: what they do costs them alone.

use dashgate::grpc::pb;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};

use crate::support::http2_peer::*;
use crate::support::keys::Folder;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
const STREAM: &str = "/dashgate.v1.ConversationService/ConverseStream";

/// The most calls on one connection.
const ON_A_CONNECTION: usize = 100;

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {key}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// Begins so many calls by this key, on as many connections as it takes, and sends nothing but
/// their heads, or all of the request.
async fn begin(gateway: &Running, key: &str, calls: usize, message: Option<&[u8]>) -> Vec<Raw> {
    let authorization = format!("Bearer {key}");
    let path = if message.is_some() { STREAM } else { CONVERSE };
    let head = block(path, &[("authorization", &authorization)]);
    let mut connections = Vec::new();
    for first in (0..calls).step_by(ON_A_CONNECTION) {
        let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
        for call in 0..ON_A_CONNECTION.min(calls - first) {
            let stream = u32::try_from(2 * call + 1).unwrap();
            let mut bytes = h2(HEADERS, END_HEADERS, stream, &head);
            if let Some(message) = message {
                bytes.extend(h2(DATA, END_STREAM, stream, message));
            }
            assert!(raw.send(&bytes).await);
        }
        // The gateway has read all of it when it answers this.
        raw.send(&h2(PING, 0, 0, &[7; 8])).await;
        while raw
            .next()
            .await
            .is_some_and(|frame| frame.kind != PING || frame.flags & ACK == 0)
        {}
        connections.push(raw);
    }
    connections
}

/// How many of these calls in a row are refused.
async fn refused(gateway: &Running, key: &str, calls: usize) -> usize {
    let mut refused = 0;
    for _ in 0..calls {
        let request = with_key(ask_whole(question()), key);
        refused += usize::from(gateway.conversation().converse(request).await.is_err());
    }
    refused
}

#[tokio::test(start_paused = true)]
async fn heads_alone_by_a_caller_over_its_limit_take_nothing_from_others() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, hostile) = folder.key("hostile", |entry| entry.limits.max_streams = Some(1));
    let (_, other) = folder.key("other", |_| ());
    let gateway = gateway_with(folder.settings(&upstream)).await;
    assert_eq!(
        refused(&gateway, &hostile, 1).await,
        0,
        "one at a time it may"
    );
    let heads = begin(&gateway, &hostile, 1_100, None).await;
    assert_eq!(refused(&gateway, &other, 71).await, 0);
    // The caller itself has its one place taken by the first head.
    let request = with_key(ask_whole(question()), &hostile);
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_STREAMS");
    drop(heads);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_sent_has_been_made_all_the_same() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let limit = |entry: &mut dashgate::callers::key_file::Entry| {
        entry.limits.requests_per_minute = Some(3);
    };
    let (_, key) = folder.key("hostile", limit);
    let gateway = gateway_with(folder.settings(&upstream)).await;
    drop(begin(&gateway, &key, 3, None).await);
    let request = with_key(ask_whole(question()), &key);
    let status = gateway.conversation().converse(request).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_RATE");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn heads_without_credentials_take_nothing() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, other) = folder.key("other", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.server.max_in_flight = 8;
    let gateway = gateway_with(settings).await;
    let heads = begin(&gateway, "dg_000000000000_0", 500, None).await;
    assert_eq!(refused(&gateway, &other, 20).await, 0);
    drop(heads);
}

#[tokio::test(start_paused = true)]
async fn half_sent_requests_have_a_bound_of_their_own() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, hostile) = folder.key("hostile", |_| ());
    let (_, other) = folder.key("other", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.server.max_partial_requests = 40;
    let gateway = gateway_with(settings).await;
    let mut heads = begin(&gateway, &hostile, 100, None).await;
    assert_eq!(refused(&gateway, &other, 20).await, 0);
    // Twenty wait for their request; the others were refused after their requests were read.
    let mut answered = std::collections::HashSet::new();
    let raw = &mut heads[0];
    while answered.len() < 80 {
        let frame = raw.next().await.expect("the connection goes on");
        assert_ne!(frame.kind, GOAWAY);
        if frame.kind == HEADERS {
            answered.insert(frame.stream);
        }
    }
    assert_eq!(refused(&gateway, &other, 20).await, 0);
}

/// A hostile caller asks for ten times what there is, and its calls do not end. The others never
/// notice, whoever came first.
#[tokio::test(start_paused = true)]
async fn no_caller_is_refused_beside_one_that_requests_ten_times_the_capacity() {
    let upstream = Upstream::start(|_, request| {
        let body = String::from_utf8_lossy(&request.body);
        match body.contains("forever") {
            true => vec![Step::Hang],
            false => json(200, &whole("x")),
        }
    })
    .await;
    let folder = Folder::new();
    let (_, hostile) = folder.key("hostile", |_| ());
    let others: Vec<_> = (0..5)
        .map(|number| folder.key(&format!("other-{number}"), |_| ()).1)
        .collect();
    let mut settings = folder.settings(&upstream);
    settings.server.max_in_flight = 64;
    let gateway = gateway_with(settings).await;
    let forever = conversation("forever", Vec::new());
    let mut forever = forever;
    forever.messages = question().messages;
    let message = prost::Message::encode_to_vec(&ask_stream(forever));
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &length, &message].concat();
    let calls = begin(&gateway, &hostile, 640, Some(&message)).await;
    upstream.wait_for_requests(58).await;
    for key in &others {
        assert_eq!(refused(&gateway, key, 20).await, 0);
    }
    let running = upstream
        .seen()
        .into_iter()
        .filter(|seen| String::from_utf8_lossy(&seen.body).contains("forever"));
    assert_eq!(running.count(), 58, "90 % of 64");
    // One of the others may stream while the hostile one holds all it can get.
    let request = with_key(ask_stream(question()), &others[0]);
    let stream = gateway.conversation().converse_stream(request).await;
    let events: Vec<_> = stream.unwrap().into_inner().collect().await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    drop(calls);
}

#[tokio::test(start_paused = true)]
async fn watches_without_a_key_keep_out_no_watch_with_one() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, key) = folder.key("known", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.memory.limit = 8 << 20;
    let gateway = gateway_with(settings).await;
    let mut watches = Vec::new();
    let mut refused = false;
    for _ in 0..200 {
        let request = pb::health::HealthCheckRequest::default();
        match gateway.health().watch(request).await {
            Ok(watch) => watches.push(watch),
            Err(_) => refused = true,
        }
    }
    assert!(refused, "the memory of calls without credentials is full");
    let request = pb::health::HealthCheckRequest::default();
    let watch = gateway.health().watch(with_key(request, &key)).await;
    let first = watch.unwrap().into_inner().message().await;
    assert!(first.unwrap().is_some());
}

/// Begins so many watches without credentials on one connection: how many were granted.
async fn watches(raw: &mut Raw, first: u32, count: u32) -> usize {
    let mut granted = 0;
    for number in 0..count {
        let stream = first + 2 * number;
        let head = block("/grpc.health.v1.Health/Watch", &[]);
        raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
        raw.send(&h2(DATA, END_STREAM, stream, &[0; 5])).await;
        loop {
            let frame = raw.next().await.expect("the connection goes on");
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                granted += 1;
            }
            if frame.kind == DATA || frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    granted
}

#[tokio::test(start_paused = true)]
async fn watches_without_a_key_of_one_connection_keep_out_none_of_others() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    folder.key("known", |_| ());
    let mut settings = folder.settings(&upstream);
    // 4 percent of it are 41 watches.
    settings.memory.limit = 8 << 20;
    settings.server.max_streams_per_connection = 1000;
    let gateway = gateway_with(settings).await;
    let connect = || Raw::connect(gateway.address, Manners::Answers);
    let mut hostile = connect().await;
    let granted = watches(&mut hostile, 1, 200).await;
    assert!((1..=21).contains(&granted), "{granted}");
    let mut others = Vec::new();
    for number in 0..10 {
        let mut other = connect().await;
        assert_eq!(watches(&mut other, 1, 1).await, 1, "{number}");
        others.push(other);
    }
    // What the others have left is not for the one that has most.
    assert_eq!(watches(&mut hostile, 1001, 20).await, 0);
    // A check is answered all the same, and a watch again once there are places.
    let request = pb::health::HealthCheckRequest::default();
    gateway.health().check(request).await.unwrap();
    drop(hostile);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(watches(&mut others[0], 3, 10).await == 10);
}
