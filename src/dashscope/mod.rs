//! The DashScope client. HTTP headers and DashScope's JSON are known only here.
//!
//! It runs single exchanges and has no policy: concurrency, retries and deadlines belong to
//! `relay`. A call is prepared once ([`DashScope::prepare`]) and opened once per attempt
//! ([`DashScope::open`]); its response is a stream of events that closes the connection when
//! dropped ([`Exchange`]).

mod annotations;
pub(crate) mod answer_json;
mod audio;
pub(crate) mod body_reader;
mod choice;
mod completion;
mod delta_detector;
pub(crate) mod elements;
mod error_codes;
mod error_fields;
mod error_in_answer;
mod error_messages;
mod error_phrases;
pub mod errors;
mod event_template;
pub(crate) mod exchange;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod json_fields;
pub(crate) mod json_text;
pub(crate) mod json_tree;
pub(crate) mod json_writer;
pub(crate) mod lenient;
mod lenient_end;
mod lenient_output;
mod logprobs;
pub(crate) mod media_transfer;
pub(crate) mod parameters;
pub mod realtime;
mod repeated_parts;
pub mod reply;
pub(crate) mod request;
pub(crate) mod request_json;
mod samples;
pub(crate) mod send;
mod sentences;
pub mod sse;
mod stored_media;
mod strict;
pub(crate) mod strict_object;
mod temporary_storage;
mod tool_calls;
pub(crate) mod tools;
mod upload_policy;
mod upload_replay;
mod usage;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use futures_core::Stream;
use url::Url;

pub use delta_detector::TextForm;
pub use exchange::Exchange;
pub use request::Prepared;
pub use stored_media::Stored;

use crate::chat::call::{Call, Delivery, Passing};
use crate::chat::upload::{Upload, Uploaded};
use crate::error::{Error, Kind, Reason};
use crate::net::Network;
use crate::net::proxy::Proxy;
use crate::secret::Secret;
use media_transfer::MediaTransfer;
use request::FixedHeaders;
use send::MethodUrl;
use temporary_storage::Storage;

/// DashScope's limit for one `data:` URI, in encoded bytes. Larger media use temporary storage.
pub const INLINE_LIMIT: usize = 10_485_760;

/// The default connect timeout, DNS and TLS included. DashScope is reached in well under a second
/// from anywhere; a slower host is unreachable.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The default maximum age of a connection: DashScope's hosts move within minutes, and one
/// handshake in five minutes is negligible.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(5 * 60);

/// The default maximum length of a line. The longest known hold a second of audio as base64: 64
/// KiB.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// The default maximum data of one event: as for a line, because DashScope writes one data line.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// The default maximum response that is not a stream: minutes of audio as base64.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// The configuration of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DashScopeConfig {
    /// The base URL, `/api/v1` included. `https`, or `http` on loopback or where that is allowed.
    pub base_url: Url,
    /// The default API key.
    pub api_key: Secret,
    /// The workspace of calls that specify none.
    pub workspace: Option<String>,
    /// The data inspection header of calls that specify none.
    pub data_inspection: Option<String>,
    /// The maximum length of a `data:` URI. Default: [`INLINE_LIMIT`].
    pub inline_limit: usize,
    /// The connect timeout. Default: [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// Proxies and root certificates. Default: no proxy, and the root certificates of the machine.
    pub network: Network,
    /// Whether `http` is allowed to hosts other than loopback. Default: no.
    pub allow_plaintext: bool,
    /// The maximum age of a connection. Default: [`MAX_CONNECTION_AGE`].
    pub max_connection_age: Duration,
    /// The maximum length of a line. Default: [`MAX_LINE_BYTES`].
    pub max_line_bytes: usize,
    /// The maximum data of one event. Default: [`MAX_EVENT_BYTES`].
    pub max_event_bytes: usize,
    /// The maximum response that is not a stream. Default: [`MAX_BODY_BYTES`].
    pub max_body_bytes: usize,
    /// The dialects of realtime models that the built-in table does not have right. The first
    /// pattern that matches applies. Default: none.
    pub dialects: Vec<(String, &'static realtime::Dialect)>,
    /// The text forms of models whose streams do not prove it. The first pattern that matches
    /// applies, and `*` matches any characters. Default: none.
    pub text_forms: Vec<(String, TextForm)>,
}

impl DashScopeConfig {
    /// The configuration with every default.
    pub fn new(base_url: Url, api_key: Secret) -> Self {
        Self {
            base_url,
            api_key,
            workspace: None,
            data_inspection: None,
            inline_limit: INLINE_LIMIT,
            connect_timeout: CONNECT_TIMEOUT,
            network: Network::default(),
            allow_plaintext: false,
            max_connection_age: MAX_CONNECTION_AGE,
            max_line_bytes: MAX_LINE_BYTES,
            max_event_bytes: MAX_EVENT_BYTES,
            max_body_bytes: MAX_BODY_BYTES,
            dialects: Vec::new(),
            text_forms: Vec::new(),
        }
    }
}

/// The parameters of a request that may differ from the caller's.
#[derive(Clone, Copy, Debug)]
pub struct RequestTarget<'a> {
    /// The model.
    pub model: &'a Arc<str>,
    /// Whether the response is streamed.
    pub delivery: Delivery,
    /// The maximum length of the body, in bytes.
    pub max_bytes: usize,
}

/// A client of DashScope, or of a server that emulates it. Cheap to clone.
#[derive(Clone)]
pub struct DashScope {
    inner: Arc<Inner>,
}

struct Inner {
    settings: DashScopeConfig,
    generation: MethodUrl,
    fixed_headers: FixedHeaders,
    storage: Storage,
    inline_limit: usize,
    limits: sse::Limits,
    max_body_bytes: usize,
}

impl std::fmt::Debug for DashScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DashScope").finish_non_exhaustive()
    }
}

impl DashScope {
    /// Validates the configuration and builds the client. Does not connect.
    pub fn new(settings: DashScopeConfig) -> Result<Self, Error> {
        let kept = settings.clone();
        let base_url = checked(settings.base_url, settings.allow_plaintext)?;
        let generation = ["services", "aigc", "multimodal-generation", "generation"];
        let generation = http::below(&base_url, &generation)?;
        let fixed_headers = FixedHeaders::new(
            ("POST", &generation),
            Some(&settings.api_key),
            settings.workspace,
            settings.data_inspection,
            settings.network.proxies.of(&generation),
        )?;
        let storage = temporary_storage::UploadConfig {
            network: settings.network.clone(),
            allow_plaintext: settings.allow_plaintext,
            connect_timeout: settings.connect_timeout,
            max_connection_age: settings.max_connection_age,
        };
        let generation = MethodUrl::new(
            generation,
            settings.network,
            settings.connect_timeout,
            settings.max_connection_age,
        )?;
        Ok(Self {
            inner: Arc::new(Inner {
                settings: kept,
                generation,
                storage: Storage::new(storage, http::below(&base_url, &["uploads"])?),
                fixed_headers,
                inline_limit: settings.inline_limit,
                limits: sse::Limits {
                    line_bytes: settings.max_line_bytes,
                    event_bytes: settings.max_event_bytes,
                },
                max_body_bytes: settings.max_body_bytes,
            }),
        })
    }

    /// Whether the other client has the same configuration, the API key included.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inner.settings == other.inner.settings
    }

    /// The host and port of the base URL.
    pub fn address(&self) -> (String, u16) {
        self.inner.generation.address()
    }

    /// The proxy for the base URL, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.inner.generation.proxy()
    }

    /// Converts a call to a request, which is built once and shared by all attempts. Media that are
    /// too large for it are uploaded first; `stored` keeps their URLs for later attempts.
    pub async fn prepare(
        &self,
        call: &Call,
        wanted: RequestTarget<'_>,
        stored: &mut Stored,
    ) -> Result<Prepared, Error> {
        let (model, delivery) = (wanted.model, wanted.delivery);
        let write = |transfers: &[MediaTransfer<'_>]| {
            request_json::write(&call.prompt, model, delivery, transfers, wanted.max_bytes)
        };
        let (body, names_storage) = self.stored_body(call, wanted, stored, write).await?;
        let fixed_headers = &self.inner.fixed_headers;
        let head = fixed_headers.head(&call.passing, delivery, names_storage)?;
        let form = TextForm::of(&self.inner.settings.text_forms, model);
        Ok(Prepared::new(body, head, model, call, form, None))
    }

    /// Writes the body of a request, after media that are too large for it were uploaded. Returns
    /// it, and whether it has URLs of the temporary storage.
    pub(crate) async fn stored_body<B: AsRef<[u8]>>(
        &self,
        call: &Call,
        wanted: RequestTarget<'_>,
        stored: &mut Stored,
        write: impl Fn(&[MediaTransfer<'_>]) -> Result<B, Error>,
    ) -> Result<(B, bool), Error> {
        let RequestTarget {
            model, max_bytes, ..
        } = wanted;
        let mut transfers = media_transfer::transfers(&call.prompt.turns, self.inner.inline_limit)?;
        let has_media = !transfers.is_empty();
        let mut excess = match stored.nothing_inline {
            true => usize::MAX,
            false if has_media => request_json::checked_len(&call.prompt, &transfers, max_bytes)?
                .saturating_sub(max_bytes),
            false => 0,
        };
        let body = loop {
            let replaced = media_transfer::store_largest(&mut transfers, excess);
            let stuck = excess > 0 && replaced.is_empty();
            let refused = match has_media {
                true => {
                    self.store(call, model, &mut transfers, replaced, stored)
                        .await?
                }
                false => false,
            };
            let body = write(&transfers)?;
            let length = body.as_ref().len();
            excess = length.saturating_sub(max_bytes);
            // Media that the storage does not accept are sent inline; DashScope may still reject
            // them.
            if excess == 0 || refused {
                break body;
            }
            if stuck {
                return Err(request_json::too_large(length, max_bytes));
            }
        };
        let names_storage = transfers.iter().any(MediaTransfer::is_stored);
        Ok((body, names_storage))
    }

    /// Sends a request. Resolves when response headers with a success status have arrived; the body
    /// is the stream.
    pub async fn open(&self, prepared: &Prepared) -> Result<Exchange, Error> {
        let answer = self.inner.generation.send(prepared).await?;
        let opening = prepared.opening(errors::request_id(&answer.headers));
        Ok(Exchange::new(
            answer.body,
            reply::Reply::new(opening),
            self.inner.limits,
            self.inner.max_body_bytes,
        ))
    }

    /// Streams a file to DashScope's temporary storage. `chunks` is polled as fast as the storage
    /// accepts data; at most one chunk is buffered.
    pub async fn upload<S>(&self, upload: Upload, chunks: S) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        let headers = self.headers(&upload.passing)?;
        self.inner.storage.stream(upload, chunks, headers).await
    }

    /// Uploads the media items that use temporary storage. Those that fit inline are sent inline if
    /// the storage refuses them; returns whether that happened.
    async fn store<'a>(
        &self,
        call: &Call,
        model: &Arc<str>,
        transfers: &mut [MediaTransfer<'a>],
        mut replaced: Vec<(usize, MediaTransfer<'a>)>,
        stored: &mut Stored,
    ) -> Result<bool, Error> {
        let mut refused = false;
        for (place, transfer) in transfers.iter_mut().enumerate() {
            let MediaTransfer::Store(mime_type, bytes) = transfer else {
                continue;
            };
            if let Some(uri) = stored.uri(place) {
                *transfer = MediaTransfer::Address(Cow::Owned(uri.clone()));
                continue;
            }
            let headers = self.headers(&call.passing)?;
            let storage = &self.inner.storage;
            let (bytes, failures) = (bytes.clone(), &mut stored.failures);
            // Boxed, because it is rare and would enlarge the future of every call.
            let put = Box::pin(storage.put(model, mime_type, bytes, headers, failures));
            let inside = replaced.iter().position(|(replaced, _)| *replaced == place);
            match (put.await, inside) {
                (Ok(uri), _) => {
                    stored.put(place, uri.clone());
                    *transfer = MediaTransfer::Address(Cow::Owned(uri));
                }
                (Err(error), Some(inside)) if !may_pass(&error) => {
                    refused = true;
                    *transfer = replaced.swap_remove(inside).1;
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(refused)
    }

    fn headers(&self, passing: &Passing) -> Result<HeaderMap, Error> {
        self.inner.fixed_headers.headers(passing)
    }
}

/// Whether an upload that failed with this error may succeed later.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Exhausted)
}

/// A base URL that is safe for an API key.
pub(crate) fn checked(url: Url, plaintext: bool) -> Result<Url, Error> {
    let wrong = |what: &'static str| Err(Error::new(Reason::GatewayConfig, what));
    if !upload_policy::is_safe(&url, plaintext) {
        return wrong("the base url must be https, or http on loopback or where it is allowed");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("the base url must not have a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("the base url must not have a query or fragment");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::call::{Caller, Joining, Prompt, Tenant};
    use crate::chat::document::{Document, Object, Real};
    use crate::chat::event::{Event, Piece};
    use crate::chat::media::{Audio, Image, Medium, Source};
    use crate::chat::message::{Body, Role, Turn};
    use crate::error::Sent;
    use serde_json::{Value, json};
    use std::collections::VecDeque;
    use std::io::Write as _;
    use std::pin::Pin;
    use std::task::Poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_stream::StreamExt as _;

    /// A request as the server received it.
    struct Request {
        head: String,
        body: Vec<u8>,
    }

    impl Request {
        fn header(&self, name: &str) -> Option<&str> {
            let mut lines = self.head.lines().skip(1).filter_map(|l| l.split_once(':'));
            let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        }

        fn json(&self) -> Value {
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    async fn read_request(stream: &mut TcpStream) -> Option<Request> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65536];
        let end = loop {
            let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            bytes.extend_from_slice(&buffer[..n]);
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut request = Request {
            head,
            body: bytes[end..].to_vec(),
        };
        let chunked = request.header("transfer-encoding") == Some("chunked");
        let length: usize = request
            .header("content-length")
            .map_or(0, |n| n.parse().unwrap());
        while request.body.len() < length || chunked && !request.body.ends_with(b"0\r\n\r\n") {
            let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
            request.body.extend_from_slice(&buffer[..n]);
        }
        Some(request)
    }

    /// A server that sends each request the next response, byte for byte, each on its own
    /// connection, which it then closes.
    async fn serve(answers: Vec<Vec<u8>>) -> (Url, tokio::task::JoinHandle<Vec<Request>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let url_text = url.clone();
        let mut answers: VecDeque<_> = answers.into();
        let task = tokio::spawn(async move {
            let mut requests = Vec::new();
            while let Some(answer) = answers.pop_front() {
                let (mut stream, _) = listener.accept().await.unwrap();
                requests.push(read_request(&mut stream).await.unwrap());
                let host = url_text.trim_end_matches("/api/v1");
                let answer = replace(&answer, b"HOST", host.as_bytes());
                stream.write_all(&answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            requests
        });
        (url.parse().unwrap(), task)
    }

    fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        match bytes.windows(from.len()).position(|w| w == from) {
            Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
            None => bytes.to_vec(),
        }
    }

    fn answer(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let head = format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n");
        [head.as_bytes(), body.as_ref()].concat()
    }

    fn sized(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
        let head = format!("{status}\r\ncontent-length: {}", body.as_ref().len());
        answer(&head, body)
    }

    fn frame(text: &str, finish: &str) -> String {
        format!(
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n",
            json!({
                "output": { "choices": [{
                    "message": { "content": [{ "text": text }], "role": "assistant" },
                    "finish_reason": finish,
                }] },
                "usage": { "input_tokens": 3, "output_tokens": 1 },
                "request_id": "req-1",
            })
        )
    }

    fn chunked(chunks: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        for chunk in chunks {
            write!(body, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        answer("200 OK\r\ntransfer-encoding: chunked", body)
    }

    const ANSWER: &str = r#"{"output":{"choices":[{"finish_reason":"stop","message":{"role":
        "assistant","content":[{"text":"hello"}]}}]},"usage":{"input_tokens":3},"request_id":"r"}"#;

    fn call(parts: Vec<Body>) -> Call {
        let mut turn = Turn::new(Role::User);
        turn.parts = parts.into_iter().map(Into::into).collect();
        Call {
            method: "Converse",
            request_id: "id".into(),
            named: false,
            caller: Caller(0),
            tenant: Tenant::default(),
            share: Caller::default(),
            caller_name: None,
            delivery: Delivery::Whole,
            timeout: Duration::from_secs(1),
            prompt: Prompt {
                model: "asked".into(),
                turns: vec![turn],
                tools: Vec::new(),
                tool_choice: None,
                options: Box::default(),
            },
            passing: Passing::default(),
            joining: Joining::default(),
            stored: None,
            warnings: Vec::new(),
        }
    }

    fn wanted(model: &Arc<str>, delivery: Delivery) -> RequestTarget<'_> {
        RequestTarget {
            model,
            delivery,
            max_bytes: usize::MAX,
        }
    }

    fn text(text: &str) -> Body {
        Body::Text(text.into())
    }

    fn sound(bytes: impl Into<Bytes>) -> Body {
        Body::Audio(Audio {
            medium: Some(Medium {
                mime_type: "audio/wav".into(),
                source: Source::Inline(bytes.into()),
            }),
            file: None,
        })
    }

    fn uri(uri: &str) -> Body {
        Body::Image(Image {
            medium: Medium {
                mime_type: String::new(),
                source: Source::Uri(uri.into()),
            },
            min_pixels: Some(4),
            max_pixels: None,
            enable_rotate: None,
        })
    }

    fn dashscope(url: Url) -> DashScope {
        DashScope::new(DashScopeConfig::new(url, Secret::new("sk-canary"))).unwrap()
    }

    async fn run(
        dashscope: &DashScope,
        call: &Call,
        delivery: Delivery,
    ) -> Result<Vec<Event>, (Vec<Event>, Error)> {
        let mut events = Vec::new();
        let fail = |error| (Vec::new(), error);
        let prepared = dashscope
            .prepare(call, wanted(&"m".into(), delivery), &mut Stored::default())
            .await
            .map_err(fail)?;
        let mut exchange = dashscope.open(&prepared).await.map_err(fail)?;
        while let Some(event) = exchange.next().await {
            match event {
                Ok(event) => events.push(event),
                Err(error) => {
                    assert!(exchange.next().await.is_none());
                    return Err((events, error));
                }
            }
        }
        Ok(events)
    }

    fn text_of(events: &[Event]) -> String {
        let mut joined = String::new();
        for event in events {
            if let Event::Delta(delta) = event
                && let Piece::Text(text) = &delta.piece
            {
                joined.push_str(text);
            }
        }
        joined
    }

    async fn answered(answer: Vec<u8>) -> Result<Vec<Event>, (Vec<Event>, Error)> {
        let (url, server) = serve(vec![answer]).await;
        let outcome = run(&dashscope(url), &call(vec![text("hi")]), Delivery::Stream).await;
        server.await.unwrap();
        outcome
    }

    #[tokio::test]
    async fn a_fast_upstream_is_read_in_bounded_bursts() {
        const EVENTS: usize = 8192;
        let events: String = (0..EVENTS)
            .map(|number| frame(&format!("{number} "), "null"))
            .collect();
        let answer = chunked(&[&events]);
        let (url, server) = serve(vec![answer]).await;
        let (dashscope, call) = (dashscope(url), call(vec![text("hi")]));
        let model = "m".into();
        let wanted = wanted(&model, Delivery::Stream);
        let mut stored = Stored::default();
        let prepared = dashscope.prepare(&call, wanted, &mut stored).await;
        let prepared = prepared.unwrap();
        let mut exchange = dashscope.open(&prepared).await.unwrap();
        exchange.next().await.unwrap().unwrap();
        let mut most = 0;
        for _ in 0..EVENTS {
            // Meanwhile the server fills all socket buffers.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let read = std::future::poll_fn(|cx| {
                let mut read = 0;
                loop {
                    match Pin::new(&mut exchange).poll_next(cx) {
                        Poll::Ready(Some(Ok(_))) => read += 1,
                        Poll::Ready(_) => return Poll::Ready((read, true)),
                        Poll::Pending => return Poll::Ready((read, false)),
                    }
                }
            });
            let (read, ended) = tokio::task::unconstrained(read).await;
            most = most.max(read);
            if ended {
                break;
            }
        }
        drop((exchange, server));
        assert!(most > 0);
        let bytes = most * events.len() / EVENTS;
        assert!(bytes < 160 * 1024, "{most} events in one go, {bytes} bytes");
    }

    async fn fault(answer: Vec<u8>) -> (usize, Reason, Sent) {
        let (events, error) = answered(answer).await.unwrap_err();
        (events.len(), error.reason(), error.sent())
    }

    #[tokio::test]
    async fn a_call_without_streaming_sends_the_documented_request() {
        let (url, server) = serve(vec![sized("200 OK", ANSWER)]).await;
        let mut settings = DashScopeConfig::new(url, Secret::new("sk-canary"));
        settings.workspace = Some("operator".into());
        settings.data_inspection = Some("enable".into());
        let mut call = call(vec![uri("https://x.test/a.png"), text("say \"hi\"\n你好")]);
        call.passing.workspace = Some("caller".into());
        call.passing.traceparent = Some("00-1".into());
        call.prompt.options.temperature = Some(Real(1e-5));
        call.prompt.options.extra_parameters = Object(vec![
            ("a".into(), Document::Number(Real(2.0))),
            ("none".into(), Document::Null),
            ("incremental_output".into(), Document::Bool(true)),
            ("b".into(), Document::List(vec![Document::Null])),
        ]);
        let dashscope = DashScope::new(settings).unwrap();
        let events = run(&dashscope, &call, Delivery::Whole).await.unwrap();
        assert_eq!(text_of(&events), "hello");
        let request = server.await.unwrap().remove(0);
        let line = "POST /api/v1/services/aigc/multimodal-generation/generation HTTP/1.1";
        assert_eq!(request.head.lines().next(), Some(line));
        let body = String::from_utf8(request.body.clone()).unwrap();
        assert_eq!(
            body,
            "{\"model\":\"m\",\"parameters\":{\"temperature\":0.00001,\"a\":2,\"b\":[null]},\
             \"input\":{\"messages\":[{\"role\":\"user\",\"content\":[{\"image\":\
             \"https://x.test/a.png\",\"min_pixels\":4},{\"text\":\"say \\\"hi\\\"\\n你好\"}]}]}}"
        );
        for (name, value) in [
            ("authorization", Some("Bearer sk-canary")),
            ("content-type", Some("application/json; charset=utf-8")),
            ("accept", Some("application/json; charset=utf-8")),
            ("x-dashscope-sse", None),
            ("x-dashscope-workspace", Some("caller")),
            ("x-dashscope-datainspection", Some("enable")),
            ("x-dashscope-ossresourceresolve", None),
            ("traceparent", Some("00-1")),
            ("tracestate", None),
            ("accept-encoding", Some("gzip")),
            (
                "user-agent",
                Some(concat!("dashgate/", env!("CARGO_PKG_VERSION"))),
            ),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
    }

    #[tokio::test]
    async fn a_streaming_call_sets_the_sse_and_storage_headers() {
        let stream = [frame("he", "null"), frame("llo", "stop")].concat();
        let (url, server) = serve(vec![sized("200 OK", stream)]).await;
        let call = call(vec![uri("OSS://bucket/a.png")]);
        let events = run(&dashscope(url), &call, Delivery::Stream).await.unwrap();
        assert_eq!(text_of(&events), "hello");
        let Event::Started(started) = &events[0] else {
            panic!("{events:?}");
        };
        assert_eq!(
            (&*started.model, &*started.upstream_request_id),
            ("m", "req-1")
        );
        let request = server.await.unwrap().remove(0);
        assert_eq!(
            request.json()["parameters"],
            json!({ "incremental_output": true })
        );
        for (name, value) in [
            ("accept", "text/event-stream"),
            ("x-dashscope-sse", "enable"),
            ("x-accel-buffering", "no"),
            ("x-dashscope-ossresourceresolve", "enable"),
        ] {
            assert_eq!(request.header(name), Some(value), "{name}");
        }
    }

    #[tokio::test]
    async fn the_format_of_a_response_is_detected_by_its_bytes() {
        let events = [frame("he", "null"), frame("llo", "stop")].concat();
        let zip = |text: &str| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        for body in [
            sized("200 OK\r\ncontent-type: text/event-stream", ANSWER),
            sized("200 OK\r\ncontent-type: application/json", &events),
            sized("200 OK", format!("\u{feff}{ANSWER}")),
            sized("200 OK", format!("\u{feff}{events}")),
            sized("200 OK", format!("\r\n {ANSWER}")),
            sized("200 OK\r\ncontent-encoding: gzip", zip(ANSWER)),
            sized("200 OK\r\ncontent-encoding: gzip", zip(&events)),
            answer("200 OK", events.replace("\n\n", "\n")),
            answer("200 OK", events.replace('\n', "\r\n")),
        ] {
            assert_eq!(text_of(&answered(body).await.unwrap()), "hello");
        }
    }

    #[tokio::test]
    async fn u8_a_truncated_answer_is_never_complete() {
        use Reason::*;
        let (first, last) = (frame("he", "null"), frame("llo", "stop"));
        let unended = answer("200 OK\r\ncontent-length: 9999", &first);
        assert_eq!(fault(unended).await, (2, StreamTruncated, Sent::Begun));
        assert_eq!(
            fault(chunked(&[&first])).await,
            (2, StreamTruncated, Sent::Begun)
        );
        assert_eq!(
            fault(sized("200 OK", &first)).await,
            (2, StreamTruncated, Sent::Begun)
        );
        let half = sized("200 OK", [&first, &last[..last.len() - 9]].concat());
        assert_eq!(fault(half).await, (2, StreamTruncated, Sent::Begun));
        assert_eq!(
            fault(sized("200 OK", "")).await,
            (0, StreamTruncated, Sent::Maybe)
        );
        assert_eq!(
            fault(chunked(&["id:1\n"])).await,
            (0, StreamTruncated, Sent::Maybe)
        );
        let cut = answer("200 OK\r\ncontent-length: 9999", ANSWER);
        assert_eq!(fault(cut).await, (0, StreamTruncated, Sent::Maybe));
        // Once the answer is complete, the end of the body does not matter.
        let complete = chunked(&[&first, &last]);
        assert_eq!(text_of(&answered(complete).await.unwrap()), "hello");
    }

    #[tokio::test]
    async fn u10_an_error_is_detected_at_every_position() {
        use Reason::*;
        let error = r#"{"code":"Throttling.RateQuota","message":"m","request_id":"r"}"#;
        let event = format!("event:error\n:HTTP_STATUS/429\ndata:{error}\n\n");
        let first = frame("he", "null");
        let rate = (0, UpstreamRate, Sent::Refused);
        assert_eq!(fault(sized("429 Too Many Requests", error)).await, rate);
        assert_eq!(fault(sized("200 OK", error)).await, rate);
        assert_eq!(fault(sized("200 OK", &event)).await, rate);
        assert_eq!(
            fault(sized("500 Internal Server Error", &event)).await,
            rate
        );
        let late = fault(sized("200 OK", [first, event].concat())).await;
        assert_eq!(late, (2, UpstreamRate, Sent::Begun));
        let html = fault(sized("502 Bad Gateway", "<html>")).await;
        assert_eq!(html, (0, UpstreamUnknown, Sent::Refused));
        let html = fault(sized("200 OK", "<html>")).await;
        assert_eq!(html, (0, UpstreamProtocol, Sent::Maybe));
        let redirect = answer("302 Found\r\nlocation: HOST/elsewhere", "");
        assert_eq!(fault(redirect).await.1, UpstreamProtocol);
        let brotli = sized("200 OK\r\ncontent-encoding: br", "x");
        assert_eq!(fault(brotli).await, (0, UpstreamProtocol, Sent::Maybe));
        let corrupt = sized("200 OK\r\ncontent-encoding: gzip", "not gzip at all");
        assert_eq!(fault(corrupt).await, (0, UpstreamProtocol, Sent::Maybe));
        let malformed = sized("200 OK", "{\"output\": {\"choices\": [");
        assert_eq!(fault(malformed).await, (0, UpstreamProtocol, Sent::Maybe));
    }

    #[tokio::test]
    async fn retry_after_is_passed_on() {
        let head = "503 Service Unavailable\r\nretry-after: 7\r\nx-request-id: from-head";
        let (_, error) = answered(sized(head, "")).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.upstream().unwrap().request_id, "from-head");
    }

    #[tokio::test]
    async fn failures_before_a_response_are_distinguished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let garbage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = format!("https://{}/", garbage.local_addr().unwrap());
        let reset = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let resets = format!("http://{}/", reset.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = garbage.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            let (mut stream, _) = reset.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
        });
        for (url, reason, sent, kind) in [
            (closed, Reason::UpstreamConnect, Sent::No, Kind::Unavailable),
            (
                "https://nowhere.invalid/".to_owned(),
                Reason::UpstreamDns,
                Sent::No,
                Kind::Unavailable,
            ),
            (tls, Reason::UpstreamTls, Sent::No, Kind::Unavailable),
            (resets, Reason::UpstreamReset, Sent::Maybe, Kind::Broken),
        ] {
            let dashscope = dashscope(url.parse().unwrap());
            let call = call(vec![text("hi")]);
            let (_, error) = run(&dashscope, &call, Delivery::Whole).await.unwrap_err();
            assert_eq!((error.reason(), error.sent()), (reason, sent), "{error:?}");
            assert_eq!(error.kind(), kind);
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[tokio::test]
    async fn a_dropped_exchange_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            let begun = answer("200 OK\r\ncontent-length: 9999", frame("he", "null"));
            stream.write_all(&begun).await.unwrap();
            stream.read(&mut [0]).await.map_or(0, |n| n)
        });
        let dashscope = dashscope(url.parse().unwrap());
        let call = call(vec![text("hi")]);
        let prepared = dashscope
            .prepare(
                &call,
                wanted(&"m".into(), Delivery::Stream),
                &mut Stored::default(),
            )
            .await
            .unwrap();
        let mut exchange = dashscope.open(&prepared).await.unwrap();
        assert!(matches!(exchange.next().await, Some(Ok(Event::Started(_)))));
        drop(exchange);
        assert_eq!(server.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_complete_answer_is_not_delayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            let open = answer("200 OK\r\ncontent-length: 9999", frame("hello", "stop"));
            stream.write_all(&open).await.unwrap();
            stream.read(&mut [0]).await.map_or(0, |n| n)
        });
        let dashscope = dashscope(url.parse().unwrap());
        let events = run(&dashscope, &call(vec![text("hi")]), Delivery::Stream)
            .await
            .unwrap();
        assert!(matches!(events.last(), Some(Event::End(_))));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn u16_oversized_responses_are_rejected() {
        let large = frame(&"x".repeat(4096), "stop");
        for body in [&*large, &*ANSWER.repeat(40), &"data:x\n".repeat(1000)] {
            let (url, server) = serve(vec![answer("200 OK", body)]).await;
            let mut settings = DashScopeConfig::new(url, Secret::new("sk"));
            settings.max_line_bytes = 2048;
            settings.max_event_bytes = 1024;
            settings.max_body_bytes = 1024;
            let dashscope = DashScope::new(settings).unwrap();
            let call = call(vec![text("hi")]);
            let (_, error) = run(&dashscope, &call, Delivery::Stream).await.unwrap_err();
            assert_eq!(error.reason(), Reason::UpstreamProtocol);
            drop(server);
        }
    }

    fn policy(host: &str, seconds: u64) -> Vec<u8> {
        let data = json!({
            "policy": "cG9saWN5", "signature": "c2ln", "upload_dir": "dashscope-instant/x",
            "upload_host": host, "expire_in_seconds": seconds, "max_file_size_mb": 1,
            "capacity_limit_mb": 9, "oss_access_key_id": "key", "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        });
        answer(
            "200 OK",
            json!({ "data": data, "request_id": "r" }).to_string(),
        )
    }

    fn refusal() -> Vec<u8> {
        answer(
            "403 Forbidden",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Invalid according to \
             Policy: Policy expired.</Message><RequestId>oss-1</RequestId></Error>",
        )
    }

    #[tokio::test]
    async fn large_media_are_uploaded_and_sent_by_url() {
        let answers = vec![
            policy("HOST/oss", 300),
            sized("200 OK", ""),
            sized("200 OK", ""),
            sized("200 OK", ANSWER),
        ];
        let (url, server) = serve(answers).await;
        let mut settings = DashScopeConfig::new(url, Secret::new("sk-canary"));
        settings.inline_limit = 40;
        let dashscope = DashScope::new(settings).unwrap();
        let data = "data:image/png;base64,AAECAwQFBgcICQoLDA0ODw==";
        let small = Bytes::from_static(b"RIFF");
        let large = Bytes::from(vec![7; 100]);
        let call = call(vec![sound(small), sound(large), uri(data), text("?")]);
        run(&dashscope, &call, Delivery::Whole).await.unwrap();
        let requests = server.await.unwrap();
        assert!(
            requests[0]
                .head
                .starts_with("GET /api/v1/uploads?action=getPolicy&model=m ")
        );
        assert_eq!(
            requests[0].header("authorization"),
            Some("Bearer sk-canary")
        );
        let form = String::from_utf8_lossy(&requests[1].body).into_owned();
        assert_eq!(requests[1].header("authorization"), None);
        assert_eq!(
            requests[1].header("content-length"),
            Some(&*form.len().to_string())
        );
        let names: Vec<_> = form
            .split("name=\"")
            .skip(1)
            .map(|p| p.split('"').next())
            .collect();
        let expected = [
            "OSSAccessKeyId",
            "Signature",
            "policy",
            "key",
            "x-oss-object-acl",
            "x-oss-forbid-overwrite",
            "success_action_status",
            "x-oss-content-type",
            "file",
        ];
        assert_eq!(names[..9], expected.map(Some));
        assert!(form.contains(&"\u{7}".repeat(100)));
        let file = &requests[2].body;
        assert!(file.windows(4).any(|w| w == [12, 13, 14, 15]));
        let request = &requests[3];
        assert_eq!(
            request.header("x-dashscope-ossresourceresolve"),
            Some("enable")
        );
        let content = request.json()["input"]["messages"][0]["content"].clone();
        assert_eq!(content[0]["audio"], "data:audio/wav;base64,UklGRg==");
        let stored = |part: &Value, key: &str| part[key].as_str().unwrap().to_owned();
        let (sound, picture) = (stored(&content[1], "audio"), stored(&content[2], "image"));
        assert!(sound.starts_with("oss://dashscope-instant/x/") && sound.ends_with(".wav"));
        assert!(picture.ends_with(".png") && form.contains(&sound["oss://".len()..]));
    }

    #[tokio::test]
    async fn u26_a_refused_upload_policy_is_replaced_once() {
        let run_with = async |answers: Vec<Vec<u8>>| {
            let (url, server) = serve(answers).await;
            let mut settings = DashScopeConfig::new(url, Secret::new("sk"));
            settings.inline_limit = 10;
            let dashscope = DashScope::new(settings).unwrap();
            let outcome = run(&dashscope, &call(vec![sound("12345678")]), Delivery::Whole).await;
            server.await.unwrap();
            outcome
        };
        let leave = || policy("HOST/oss", 300);
        let corrected = vec![
            leave(),
            refusal(),
            leave(),
            sized("200 OK", ""),
            sized("200 OK", ANSWER),
        ];
        assert_eq!(text_of(&run_with(corrected).await.unwrap()), "hello");
        let (_, error) = run_with(vec![leave(), refusal(), leave(), refusal()])
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamStorage);
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.upstream().unwrap().request_id, "oss-1");
        let denied = sized(
            "401 Unauthorized",
            r#"{"code":"InvalidApiKey","message":"no"}"#,
        );
        let (_, error) = run_with(vec![denied]).await.unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamCredential);
        let elsewhere = policy("http://oss.example.com/", 300);
        let (_, error) = run_with(vec![elsewhere]).await.unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamProtocol);
    }

    fn upload(size_bytes: Option<u64>) -> Upload {
        Upload {
            model: "m".into(),
            mime_type: String::new(),
            name: "../a b.WAV".into(),
            size_bytes,
            passing: Passing::default(),
        }
    }

    async fn upload_of(
        size_bytes: Option<u64>,
        chunks: Vec<Result<Bytes, Error>>,
    ) -> (Result<Uploaded, Error>, DashScope) {
        let (url, _server) = serve(vec![policy("HOST/oss", 300), sized("200 OK", "")]).await;
        let dashscope = dashscope(url);
        let chunks = tokio_stream::iter(chunks);
        (
            dashscope.upload(upload(size_bytes), chunks).await,
            dashscope,
        )
    }

    #[tokio::test]
    async fn an_upload_is_streamed_and_its_type_recognised() {
        let wav = b"RIFF\x24\0\0\0WAVEfmt ";
        for size in [None, Some(32)] {
            let chunks = vec![Ok(Bytes::from_static(wav)), Ok(Bytes::from_static(wav))];
            let (outcome, _) = upload_of(size, chunks).await;
            let uploaded = outcome.unwrap();
            assert_eq!(
                (uploaded.size_bytes, &*uploaded.mime_type),
                (32, "audio/wav")
            );
            assert!(uploaded.uri.starts_with("oss://dashscope-instant/x/"));
            assert!(uploaded.uri.ends_with(".wav") && !uploaded.uri.contains(' '));
        }
    }

    #[tokio::test]
    async fn an_upload_of_the_wrong_size_is_rejected() {
        let megabyte = || Ok(Bytes::from(vec![0; 1024 * 1024]));
        let some = || Ok(Bytes::from_static(b"some"));
        let gone = Error::new(Reason::RequestBodyTimeout, "the caller stopped");
        for (size, chunks, reason) in [
            (Some(2_000_000), vec![some()], Reason::MediaTooLarge),
            (None, vec![megabyte(), some()], Reason::MediaTooLarge),
            (Some(8), vec![some()], Reason::InvalidRequest),
            (Some(3), vec![some()], Reason::InvalidRequest),
            (None, vec![some(), Err(gone)], Reason::RequestBodyTimeout),
        ] {
            let (outcome, _) = upload_of(size, chunks).await;
            assert_eq!(outcome.unwrap_err().reason(), reason, "{size:?}");
        }
    }

    #[test]
    fn x7_a_key_is_sent_only_over_tls_or_to_loopback() {
        for (url, fits) in [
            ("https://dashscope.aliyuncs.com/api/v1", true),
            ("http://127.0.0.1:8089/api/v1/", true),
            ("http://[::1]:8089/api/v1", true),
            ("http://localhost/api/v1", true),
            ("http://dashscope.aliyuncs.com/api/v1", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://10.0.0.1/", false),
            ("ftp://localhost/", false),
            ("https://user@dashscope.aliyuncs.com/", false),
            ("https://dashscope.aliyuncs.com/?a=b", false),
        ] {
            let settings = DashScopeConfig::new(url.parse().unwrap(), Secret::new("sk"));
            assert_eq!(DashScope::new(settings).is_ok(), fits, "{url}");
        }
        let settings =
            DashScopeConfig::new("https://a.test/".parse().unwrap(), Secret::new("sk\n"));
        assert!(DashScope::new(settings).is_err());
    }
}
