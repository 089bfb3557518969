//! The back door: the only room that knows HTTP and DashScope's JSON.
//!
//! One exchange at a time and no policy: who waits, retries or gives up is decided above. A call is
//! prepared once ([`DashScope::prepare`]), opened as often as need be ([`DashScope::open`]), and its
//! answer is a stream of events that closes the connection when it is dropped ([`Exchange`]).

mod body;
mod certificate;
mod choice;
mod codes;
mod exchange;
mod fault;
mod growth;
mod http;
mod json;
mod media;
mod notes;
mod parameters;
pub mod reply;
mod request;
pub mod sse;
mod text;
mod tools;
mod upload;
mod usage;
mod wire;
mod words;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use futures_core::Stream;
use url::Url;

pub use exchange::Exchange;
pub use request::Prepared;
pub use upload::{Upload, Uploaded};

use crate::chat::call::{Call, Delivery, Passing};
use crate::error::{Error, Reason};
use crate::secret::Secret;
use media::Way;
use request::Standing;
use upload::Storage;

/// DashScope's limit for one `data:` URI, of encoded text. Larger media go by temporary storage.
pub const INLINE_LIMIT: usize = 10_485_760;

/// How long a connection may take, name and TLS included. DashScope is reached in well under a second
/// from anywhere; a host that takes longer is not there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest line of a stream. The largest known hold a second of sound as base64: 64 KiB.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// The most data of one event: the same, because DashScope writes one data line.
pub const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// The largest answer that is not a stream. Room for minutes of sound as base64.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// The most of an error's body that is read. DashScope's are a few hundred bytes.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How to reach DashScope.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is, `/api/v1` included. `https`, or `http` on loopback.
    pub base_url: Url,
    /// The operator's key.
    pub api_key: Secret,
    /// The workspace of calls that name none.
    pub workspace: Option<String>,
    /// What DashScope inspects in calls that do not say.
    pub data_inspection: Option<String>,
    /// The longest `data:` URI. Default: [`INLINE_LIMIT`].
    pub inline_limit: usize,
    /// How long a connection may take. Default: [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// The longest line of a stream. Default: [`MAX_LINE_BYTES`].
    pub max_line_bytes: usize,
    /// The most data of one event. Default: [`MAX_EVENT_BYTES`].
    pub max_event_bytes: usize,
    /// The largest answer that is not a stream. Default: [`MAX_BODY_BYTES`].
    pub max_body_bytes: usize,
}

impl Settings {
    /// Settings with every default.
    pub fn new(base_url: Url, api_key: Secret) -> Self {
        Self {
            base_url,
            api_key,
            workspace: None,
            data_inspection: None,
            inline_limit: INLINE_LIMIT,
            connect_timeout: CONNECT_TIMEOUT,
            max_line_bytes: MAX_LINE_BYTES,
            max_event_bytes: MAX_EVENT_BYTES,
            max_body_bytes: MAX_BODY_BYTES,
        }
    }
}

/// DashScope, or what stands in for it. Cheap to clone.
#[derive(Clone)]
pub struct DashScope {
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    generation: Url,
    standing: Standing,
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
    /// Checks the settings and builds the client. Connects to nothing.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let client = http::client(settings.connect_timeout)?;
        let standing = Standing::new(
            &settings.api_key,
            settings.workspace,
            settings.data_inspection,
        )?;
        let base_url = checked(settings.base_url)?;
        Ok(Self {
            inner: Arc::new(Inner {
                generation: below(
                    &base_url,
                    &["services", "aigc", "multimodal-generation", "generation"],
                )?,
                storage: Storage::new(client.clone(), below(&base_url, &["uploads"])?),
                client,
                standing,
                inline_limit: settings.inline_limit,
                limits: sse::Limits {
                    line_bytes: settings.max_line_bytes,
                    event_bytes: settings.max_event_bytes,
                },
                max_body_bytes: settings.max_body_bytes,
            }),
        })
    }

    /// Turns a call into a request, which is made once and shared by all attempts. Media that are too
    /// large for it are uploaded first. `model` and `delivery` may differ from what the caller said.
    pub async fn prepare(
        &self,
        call: &Call,
        model: &str,
        delivery: Delivery,
    ) -> Result<Prepared, Error> {
        let mut ways = media::ways(&call.prompt.turns, self.inner.inline_limit)?;
        for way in &mut ways {
            if let Way::Store(mime_type, bytes) = way {
                let headers = self.headers(&call.passing)?;
                let storage = &self.inner.storage;
                let uri = storage
                    .put(model, mime_type, bytes.clone(), headers)
                    .await?;
                *way = Way::Address(Cow::Owned(uri));
            }
        }
        let names_storage = ways.iter().any(Way::is_stored);
        let body = body::write(&call.prompt, model, delivery, &ways)?;
        let headers =
            self.inner
                .standing
                .conversation_headers(&call.passing, delivery, names_storage)?;
        Ok(Prepared::new(body, headers, model, call.prompt.options.n))
    }

    /// Sends a request. Resolves when the head of the answer is there and is one of success; its body
    /// is the stream.
    pub async fn open(&self, prepared: &Prepared) -> Result<Exchange, Error> {
        let response = self
            .inner
            .client
            .post(self.inner.generation.clone())
            .headers(prepared.headers())
            .body(prepared.body())
            .send()
            .await
            .map_err(http::no_answer)?;
        http::check_encoding(response.headers())?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let body = http::read(response.into(), MAX_ERROR_BYTES).await;
            return Err(fault::of_answer(status.as_u16(), &headers, &body));
        }
        let opening = prepared.opening(fault::request_id(response.headers()));
        Ok(Exchange::new(
            response.into(),
            opening,
            self.inner.limits,
            self.inner.max_body_bytes,
        ))
    }

    /// Streams a file to DashScope's temporary storage. `chunks` is pulled as fast as the storage
    /// takes it; no more than one chunk is held.
    pub async fn upload<S>(&self, upload: Upload, chunks: S) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        let headers = self.headers(&upload.passing)?;
        self.inner.storage.stream(upload, chunks, headers).await
    }

    fn headers(&self, passing: &Passing) -> Result<HeaderMap, Error> {
        self.inner.standing.headers(passing)
    }
}

/// A base URL that a key may be sent to.
fn checked(url: Url) -> Result<Url, Error> {
    let wrong = |what: &'static str| Err(Error::new(Reason::GatewayConfig, what));
    if !certificate::is_safe(&url) {
        return wrong("the base url must be https, or http on loopback");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("the base url must not hold a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("the base url must not have a query or fragment");
    }
    Ok(url)
}

/// A path below the base URL, whether that ends with a slash or not.
fn below(base_url: &Url, path: &[&str]) -> Result<Url, Error> {
    let mut url = base_url.clone();
    url.path_segments_mut()
        .map_err(|()| Error::new(Reason::GatewayConfig, "the base url must have a path"))?
        .pop_if_empty()
        .extend(path);
    Ok(url)
}
