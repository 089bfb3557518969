//! Requests, as far as the socket: from the message to the bytes for DashScope.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dashgate::chat::call::{Call, Delivery};
use dashgate::dashscope::{self, DashScope, Prepared, RequestTarget, Stored};
use dashgate::error::Error;
use dashgate::grpc::call_context::CallContext;
use dashgate::grpc::config::GrpcConfig;
use dashgate::grpc::pb;
use dashgate::grpc::request::{self, Ask};
use dashgate::secret::Secret;
use dashgate::server::call_clock::CallClock;
use serde_json::Value;
use tokio::time::Instant;

/// More than any input makes, so that nothing is stored for the sake of the body.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The limits that the gateway has by default.
pub fn settings() -> GrpcConfig {
    GrpcConfig {
        max_request_bytes: 16 << 20,
        max_chunk_bytes: 1 << 20,
        max_metadata_bytes: 8 << 10,
        request_body_timeout: Duration::from_secs(30),
        unary_timeout: Duration::from_secs(120),
        stream_timeout: Duration::from_secs(600),
        live_timeout: Duration::from_secs(600),
        max_timeout: Duration::from_secs(600),
        slow_consumer_timeout: Duration::from_secs(30),
        heartbeat_after: Duration::from_secs(15),
        open_reflection: true,
        show_upstream_messages: false,
    }
}

/// A DashScope that nothing is sent to.
pub fn dashscope() -> DashScope {
    let url = "http://127.0.0.1:9/api/v1".parse().expect("a URL");
    let settings = dashscope::DashScopeConfig::new(url, Secret::new("sk-fuzz"));
    DashScope::new(settings).expect("these settings are right")
}

/// What is known of a call by its metadata.
pub fn context(headers: &http::HeaderMap) -> Result<Box<CallContext>, (Arc<str>, Error)> {
    CallContext::read(headers, &settings(), CallClock::new(Instant::now()))
}

/// The call of a request, as the service makes it.
pub fn call(request: pb::ConverseRequest, delivery: Delivery) -> Result<Arc<Call>, Error> {
    let settings = settings();
    let context = context(&http::HeaderMap::new());
    let ask = Ask {
        conversation: request.conversation,
        options: request.options,
        request_id: request.request_id,
        expected_turn: request.expected_turn,
        history: request.history,
        uses_model: false,
        delivery,
        after_sequence: 0,
        detached: request.detached,
        resumable: false,
    };
    request::call(ask, &context.expect("no metadata"), &settings)
}

/// The request of a call. Its media must be small enough to go inline.
pub fn prepare(dashscope: &DashScope, call: &Call) -> Result<Prepared, Error> {
    let target = RequestTarget {
        model: &call.prompt.model,
        delivery: call.delivery,
        max_bytes: MAX_BODY_BYTES,
    };
    let mut stored = Stored::default();
    let prepared = pin!(dashscope.prepare(call, target, &mut stored));
    match prepared.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(prepared) => prepared,
        Poll::Pending => panic!("nothing is uploaded, so nothing is waited for"),
    }
}

/// The body of a request. Its head must be well formed and fit it.
pub fn body(prepared: &Prepared) -> Value {
    let body = prepared.body();
    let head = std::str::from_utf8(prepared.head().as_bytes()).expect("the head is text");
    let head = head.strip_suffix("\r\n\r\n").expect("it ends");
    let first = "POST /api/v1/services/aigc/multimodal-generation/generation HTTP/1.1\r\n";
    let lines = head.strip_prefix(first).expect("a request line");
    let length = format!("\r\ncontent-length: {}", body.len());
    let lines = lines.strip_suffix(&length).expect("the length comes last");
    for line in lines.split("\r\n") {
        let (name, value) = line.split_once(": ").expect("a name and a value");
        let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(name.bytes().all(known), "{name:?}");
        assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
    }
    serde_json::from_slice(body).expect("the body is JSON")
}
