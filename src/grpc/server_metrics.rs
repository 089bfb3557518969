//! Counts each call of every service: its start, its messages, its status. Counters per message and
//! per frame are increments of a handle obtained at the start.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::Code;
use tonic::body::Body;

use crate::telemetry::Telemetry;
use crate::telemetry::metrics::Method as MethodCounters;
use crate::telemetry::trace::{Parent, Span};

use super::metadata_keys;
use super::method::Method;
use super::orca::Load;
use super::response_body::ResponseBody;
use super::status;
use super::status_code::{self, CODES, is_server_error};
use crate::server::call_clock::CallClock;

/// The labels of a call whose method the gateway does not have: its name comes from the caller.
const OTHER: [&str; 3] = ["unary", "other", "other"];

/// Counts calls.
pub struct ServerMetrics {
    telemetry: Arc<Telemetry>,
    load: Option<Arc<Load>>,
    methods: [Arc<MethodCounters>; Method::ALL.len()],
    other: Arc<MethodCounters>,
}

impl ServerMetrics {
    /// Counts with this telemetry. With a load, responses report it.
    pub fn new(telemetry: Arc<Telemetry>, load: Option<Load>) -> Self {
        let codes = CODES.map(|(_, metric, _)| metric);
        let counters =
            |labels: [&'static str; 3]| Arc::new(telemetry.metrics.method(labels, &codes));
        Self {
            load: load.map(Arc::new),
            methods: Method::ALL.map(|one| counters([one.grpc_type(), one.service(), one.name()])),
            other: counters(OTHER),
            telemetry,
        }
    }

    /// Begins to count a call of this method; `None` is one that the gateway does not have.
    pub fn start(
        &self,
        method: Option<Method>,
        headers: &HeaderMap,
        clock: Arc<CallClock>,
    ) -> Metered {
        let counters = method.and_then(|method| self.methods.get(method as usize));
        let counters = counters.unwrap_or(&self.other);
        counters.started.inc();
        if let Some(load) = &self.load {
            load.began();
        }
        Metered {
            method: Arc::clone(counters),
            clock,
            code: Code::Cancelled,
            span: method.and_then(|method| self.span(method, headers)),
            load: self.load.clone(),
        }
    }

    /// The span of a call. Health checks are frequent and not traced.
    fn span(&self, method: Method, headers: &HeaderMap) -> Option<Span> {
        let tracer = self.telemetry.tracer.as_ref()?;
        if !method.service().starts_with("dashgate.") {
            return None;
        }
        let text = |name| headers.get(name)?.to_str().ok();
        let parent = Parent {
            traceparent: text("traceparent"),
            tracestate: text("tracestate"),
        };
        let name = format!("{}/{}", method.service(), method.name());
        Some(tracer.call(&name, parent))
    }
}

/// A call that is being counted. It has ended when this is dropped.
pub struct Metered {
    method: Arc<MethodCounters>,
    clock: Arc<CallClock>,
    code: Code,
    span: Option<Span>,
    load: Option<Arc<Load>>,
}

impl Metered {
    /// The `traceparent` for requests of this call, if it is traced.
    pub fn traceparent(&self) -> Option<String> {
        self.span.as_ref().map(Span::traceparent)
    }

    /// Counts the messages of its request.
    pub fn request_counter(&self) -> RequestCounter {
        RequestCounter {
            frames: Frames::default(),
            method: Arc::clone(&self.method),
        }
    }

    /// Counts the messages of its response, and the code at its end.
    pub fn response(
        mut self,
        mut response: Response<Body>,
        request_id: Arc<str>,
    ) -> Response<CountedResponse> {
        if let Some(span) = &mut self.span
            && let Some(name) = response.headers().get(metadata_keys::X_REQUEST_ID)
            && let Ok(name) = name.to_str()
        {
            span.set("dashgate.request_id", name.to_owned());
        }
        self.read(response.headers_mut());
        let clock = Arc::clone(&self.clock);
        response.map(|body| CountedResponse {
            body: ResponseBody::new(body, clock, request_id),
            frames: Frames::default(),
            call: Some(self),
        })
    }

    /// Reads the code if present, and adds the load report.
    fn read(&mut self, headers: &mut HeaderMap) {
        if let Some(code) = headers.get(metadata_keys::GRPC_STATUS) {
            self.code = Code::from_bytes(code.as_bytes());
            if let Some(load) = &self.load {
                load.tell(headers);
            }
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        // A stream that was reset had no trailers; the reason is known from its clock.
        if self.code == Code::Cancelled
            && let Some(error) = self.clock.error()
        {
            self.code = status::code(error.kind());
        }
        if let Some(handled) = self.method.handled.get(self.code as usize) {
            handled.inc();
        }
        let took = self.clock.began().elapsed();
        self.method.handling.observe(took.as_secs_f64());
        if let Some(span) = &mut self.span {
            span.set_status(status_code::name(self.code), is_server_error(self.code));
        }
        if let Some(load) = self.load.as_ref().filter(|_| self.code != Code::Ok) {
            load.failed();
        }
    }
}

/// Counts the messages of a request.
pub struct RequestCounter {
    frames: Frames,
    method: Arc<MethodCounters>,
}

impl RequestCounter {
    /// Counts the messages that end in this frame of the body.
    pub(super) fn count(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            let messages = self.frames.take(data);
            self.method.received.inc_by(messages);
        }
    }
}

/// The body of a response whose messages are counted.
pub struct CountedResponse {
    body: ResponseBody,
    frames: Frames,
    call: Option<Metered>,
}

/// Not the response of a call: nothing is counted.
impl From<Body> for CountedResponse {
    fn from(body: Body) -> Self {
        Self {
            body: ResponseBody::of_no_call(body),
            frames: Frames::default(),
            call: None,
        }
    }
}

impl HttpBody for CountedResponse {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(call)) = (&mut polled, &mut this.call) {
            if let Some(data) = frame.data_ref() {
                let messages = this.frames.take(data);
                call.method.sent.inc_by(messages);
            } else if let Some(trailers) = frame.trailers_mut() {
                call.read(trailers);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Finds the ends of gRPC messages: a flag, four bytes of length, then the message.
#[derive(Default)]
struct Frames {
    /// How many bytes of a message's prefix were read.
    head: usize,
    length: usize,
    /// How many bytes of a message are left.
    left: usize,
}

/// The prefix of each message.
const HEAD: usize = 5;

impl Frames {
    /// The number of messages that end in these bytes.
    fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut messages = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                bytes = bytes.get(part..).unwrap_or_default();
                self.left -= part;
                messages += u64::from(self.left == 0);
                continue;
            }
            bytes = rest;
            self.head += 1;
            if self.head > 1 {
                self.length = (self.length << 8) | usize::from(*first);
            }
            if self.head == HEAD {
                self.left = self.length;
                messages += u64::from(self.left == 0);
                (self.head, self.length) = (0, 0);
            }
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::time::Instant;

    proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            lengths in proptest::collection::vec(0_u32..300, 0..20),
            cut in 1_usize..40,
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend(length.to_be_bytes());
                bytes.extend(vec![7; *length as usize]);
            }
            let mut frames = Frames::default();
            let counted: u64 = bytes.chunks(cut).map(|piece| frames.take(piece)).sum();
            prop_assert_eq!(counted, lengths.len() as u64);
            prop_assert_eq!(frames.take(&[0, 0, 0, 0, 9, 1]), 0);
        }
    }

    #[test]
    fn names_from_outside_are_one_method() {
        let settings = crate::telemetry::TelemetryConfig::default();
        let (telemetry, _) = Telemetry::new(&settings).unwrap();
        let telemetry = Arc::new(telemetry);
        let meter = ServerMetrics::new(Arc::clone(&telemetry), None);
        let none = HeaderMap::new();
        for path in [
            "/made.Up/Method",
            "",
            "/",
            "/dashgate.v1.ConversationService/Made",
        ] {
            drop(meter.start(Method::parse(path), &none, CallClock::new(Instant::now())));
        }
        let clock = CallClock::new(Instant::now());
        drop(meter.start(Some(Method::HealthCheck), &none, clock));
        let text = telemetry.metrics.text();
        for line in [
            r#"{grpc_method="other",grpc_service="other",grpc_type="unary"} 4"#,
            r#"{grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1"#,
        ] {
            let line = format!("grpc_server_started_total{line}");
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
