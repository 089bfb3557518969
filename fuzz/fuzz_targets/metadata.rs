//! Any lines as the metadata of a call: it is refused, or what is kept of them fits into the head
//! of a request to DashScope.
#![no_main]

use dashgate::callers::{Callers, CallersConfig};
use dashgate::chat::call::Connection;
use dashgate::grpc::call_context::{self, CallContext};
use dashgate::http1::head::Request;
use dashgate_fuzz::{requests, statuses};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

static CALLERS: LazyLock<Callers> = LazyLock::new(|| {
    let settings = CallersConfig {
        pass_through: true,
        max_tracked: 100,
        ..CallersConfig::default()
    };
    Callers::new(&settings, None).expect("it names no files")
});

fuzz_target!(|text: &[u8]| {
    let headers = headers(text);
    let settings = requests::settings();
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    match requests::context(&headers) {
        Ok(context) => {
            assert!(size <= settings.max_metadata_bytes);
            check(&context);
        }
        Err((request_id, error)) => {
            assert!(call_context::is_request_id(&request_id));
            statuses::check(&error);
        }
    }
    let connection = Connection::default();
    let credentials = call_context::credentials(&headers, &connection);
    let identity = pin!(CALLERS.authenticate(&credentials));
    match identity.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(identity)) => {
            let key = identity.api_key.expect("nothing else is accepted");
            assert!(
                Request::post("/", "h")
                    .line("authorization", key.expose())
                    .is_ok()
            );
        }
        Poll::Ready(Err(error)) => statuses::check(&error),
        Poll::Pending => panic!("no key is fetched"),
    }
});

/// One header a line, as far as HTTP takes it.
fn headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts.next().map(HeaderValue::from_bytes);
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn check(context: &CallContext) {
    assert!(call_context::is_request_id(&context.request_id));
    let passing = &context.passing;
    assert!(passing.api_key.is_none());
    let mut head = Request::post("/", "h");
    for text in [
        &passing.workspace,
        &passing.data_inspection,
        &passing.traceparent,
        &passing.tracestate,
    ] {
        if let Some(text) = text {
            assert!(text.len() <= 512);
            assert!(head.line("x", text).is_ok());
        }
    }
    let trace_id = context.report().trace_id;
    assert!(trace_id.is_empty() || trace_id.len() == 32);
    assert!(trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}
