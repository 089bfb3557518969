//! DashScope's temporary storage: a certificate from DashScope, then a form to the object store.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, StatusCode};
use reqwest::multipart::{Form, Part};
use tokio::time::Instant;
use url::Url;

use super::certificate::{ANY_TYPE, Certificate, Policy, is_safe, too_large};
use super::fault;
use super::http::{chain, client, no_answer, read};
use super::media::is_mime_type;
use crate::chat::sniffing::{self, Modality};
use crate::chat::upload::{Upload, Uploaded};
use crate::error::{Error, Reason, Sent, Upstream};
use crate::net::Network;
use crate::secret::Secret;
use crate::untrusted;

/// How long DashScope keeps a file.
const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// How long before its end a certificate is no longer used: an upload that starts must also end.
const MARGIN: Duration = Duration::from_secs(60);

/// The most certificates that are remembered: one for each model, and few models take media.
const MAX_CERTIFICATES: usize = 64;

/// The most of an answer of the storage that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How the storage is reached.
pub(super) struct Settings {
    /// Proxies and authorities.
    pub(super) network: Network,
    /// Whether `http` is allowed to hosts that are not on loopback.
    pub(super) allow_plaintext: bool,
    /// How long a connection may take.
    pub(super) connect_timeout: Duration,
    /// How long a connection is used.
    pub(super) max_connection_age: Duration,
}

/// The storage, and the certificates that still hold.
pub(super) struct Storage {
    /// Made for the first upload, because many gateways never need it, and anew when its
    /// connections are too old: it has no age for each of them.
    client: Mutex<Option<(Instant, reqwest::Client)>>,
    settings: Settings,
    uploads: Url,
    certificates: Mutex<HashMap<Key, (Instant, Arc<Certificate>)>>,
}

/// What a certificate is for: a model, in a workspace, of the account that a key belongs to.
type Key = (String, [Option<Vec<u8>>; 2]);

impl Storage {
    /// The storage behind `{base}/uploads`.
    pub(super) fn new(settings: Settings, uploads: Url) -> Self {
        Self {
            client: Mutex::new(None),
            settings,
            uploads,
            certificates: Mutex::new(HashMap::new()),
        }
    }

    fn client(&self) -> Result<reqwest::Client, Error> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, client)) = &*kept
            && since.elapsed() < self.settings.max_connection_age
        {
            return Ok(client.clone());
        }
        let client = client(&self.settings.network, self.settings.connect_timeout)?;
        *kept = Some((Instant::now(), client.clone()));
        Ok(client)
    }

    /// What it means that a request to this URL was not answered.
    fn no_answer(&self, url: &Url, error: reqwest::Error) -> Error {
        unbilled(no_answer(error, self.settings.network.proxies.of(url)))
    }

    /// Stores bytes and says where they are. They can be sent again, so that a certificate that
    /// is refused is replaced once.
    pub(super) async fn put(
        &self,
        model: &str,
        mime_type: &str,
        bytes: Bytes,
        headers: HeaderMap,
    ) -> Result<String, Error> {
        let key = certificate_key(model, &headers);
        let mut fresh = false;
        loop {
            let certificate = self.certificate(&key, &headers, fresh).await?;
            certificate.check_size(bytes.len() as u64)?;
            let object = certificate.object_name(mime_type, "");
            let file = Part::stream(reqwest::Body::from(bytes.clone()));
            let form = certificate.form(&object, mime_type, file);
            match self.post(&certificate, form).await {
                Ok(()) => return Ok(format!("oss://{object}")),
                Err(error) if !fresh && error.reason() == Reason::MediaExpired => fresh = true,
                Err(error) => return Err(as_storage(error)),
            }
        }
    }

    /// Stores what a stream gives.
    pub(super) async fn stream<S>(
        &self,
        upload: Upload,
        chunks: S,
        headers: HeaderMap,
    ) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        let key = certificate_key(&upload.model, &headers);
        let certificate = self.certificate(&key, &headers, false).await?;
        if let Some(size) = upload.size_bytes {
            certificate.check_size(size)?;
        }
        let mut chunks: Chunks = Box::pin(chunks);
        let first = match std::future::poll_fn(|cx| chunks.as_mut().poll_next(cx)).await {
            Some(chunk) => chunk?,
            None => Bytes::new(),
        };
        if let Some(part) = Modality::of(&upload.mime_type)
            && let Some(found) = sniffing::contradiction(&first, part)
        {
            return Err(Error::field(
                "description.mime_type",
                format!("is {}, but the bytes are {found}", upload.mime_type),
            ));
        }
        let mime_type = match &*upload.mime_type {
            "" => sniffing::mime_type(&first, &upload.name, None).unwrap_or(ANY_TYPE),
            said if is_mime_type(said) => said,
            _ => return Err(Error::field("description.mime_type", "must be a MIME type")),
        };
        let object = certificate.object_name(mime_type, &upload.name);
        let counter = Arc::new(Mutex::new(0));
        let counted = Counted {
            first: Some(first),
            chunks,
            limit: certificate.max_bytes(),
            expected: upload.size_bytes,
            counter: Arc::clone(&counter),
        };
        let body = reqwest::Body::wrap_stream(counted);
        let file = match upload.size_bytes {
            Some(size) => Part::stream_with_length(body, size),
            None => Part::stream(body),
        };
        let form = certificate.form(&object, mime_type, file);
        self.post(&certificate, form).await.map_err(as_storage)?;
        let size_bytes = *counter.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Uploaded {
            uri: format!("oss://{object}"),
            mime_type: mime_type.to_owned(),
            model: upload.model.as_ref().to_owned(),
            expires_at: expires_at(),
            size_bytes,
        })
    }

    /// A certificate that holds long enough: a remembered one, or a new one.
    async fn certificate(
        &self,
        key: &Key,
        headers: &HeaderMap,
        fresh: bool,
    ) -> Result<Arc<Certificate>, Error> {
        let remembered = || {
            self.certificates
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if !fresh
            && let Some((until, certificate)) = remembered().get(key)
            && Instant::now() < *until
        {
            return Ok(Arc::clone(certificate));
        }
        let certificate = Arc::new(self.ask(&key.0, headers).await?);
        let now = Instant::now();
        let holds = certificate.expires_in().saturating_sub(MARGIN);
        let mut certificates = remembered();
        certificates.retain(|_, (until, _)| now < *until);
        if certificates.len() < MAX_CERTIFICATES && !holds.is_zero() {
            certificates.insert(key.clone(), (now + holds, Arc::clone(&certificate)));
        }
        Ok(certificate)
    }

    async fn ask(&self, model: &str, headers: &HeaderMap) -> Result<Certificate, Error> {
        let mut url = self.uploads.clone();
        url.query_pairs_mut()
            .append_pair("action", "getPolicy")
            .append_pair("model", model);
        let request = self.client()?.get(url).headers(headers.clone());
        let sent = request.send().await;
        let response = sent.map_err(|error| self.no_answer(&self.uploads, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response.into(), MAX_ANSWER_BYTES).await;
        if !status.is_success() {
            return Err(fault::of_answer(status.as_u16(), &(&headers).into(), &body));
        }
        let unreadable = || fault::unreadable("the certificate cannot be read", Sent::Refused);
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&body);
        let Policy { data } = serde_json::from_slice(body).map_err(|_| unreadable())?;
        if !is_safe(data.upload_host(), self.settings.allow_plaintext) {
            return Err(Error::new(
                Reason::UpstreamProtocol,
                "DashScope named a storage that is not https: nothing was sent to it",
            )
            .with_sent(Sent::Refused));
        }
        Ok(data)
    }

    async fn post(&self, certificate: &Certificate, form: Form) -> Result<(), Error> {
        let request = self.client()?.post(certificate.upload_host().clone());
        let response = match request.multipart(form).send().await {
            Ok(response) => response,
            Err(error) => {
                let ours = chain(&error)
                    .find_map(|e| e.downcast_ref::<Error>())
                    .cloned();
                let url = certificate.upload_host();
                return Err(ours.unwrap_or_else(|| self.no_answer(url, error)));
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let body = read(response.into(), MAX_ANSWER_BYTES).await;
        Err(refusal(status, &body))
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// A stream that is counted while it passes, and stopped where it is too long or ends too early.
struct Counted {
    first: Option<Bytes>,
    chunks: Chunks,
    limit: u64,
    expected: Option<u64>,
    counter: Arc<Mutex<u64>>,
}

impl Stream for Counted {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.chunks.as_mut().poll_next(cx)),
        };
        let mut count = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match next {
            Some(Ok(chunk)) => {
                *count += chunk.len() as u64;
                match self.expected {
                    _ if *count > self.limit => Some(Err(too_large(*count, self.limit))),
                    Some(expected) if *count > expected => Some(Err(wrong_size(expected))),
                    _ => Some(Ok(chunk)),
                }
            }
            None => match self.expected {
                Some(expected) if *count < expected => Some(Err(wrong_size(expected))),
                _ => None,
            },
            failed => failed,
        };
        drop(count);
        Poll::Ready(outcome)
    }
}

fn wrong_size(expected: u64) -> Error {
    Error::field(
        "description.size_bytes",
        format!("is {expected}, but another number of bytes came"),
    )
}

fn certificate_key(model: &str, headers: &HeaderMap) -> Key {
    let value = |name| headers.get(name).map(|value| value.as_bytes().to_vec());
    let place = ["x-dashscope-workspace", "authorization"].map(value);
    (model.to_owned(), place)
}

/// What the storage's refusal means. Its answer is XML with a code in it.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let body = String::from_utf8_lossy(body);
    let tag = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0)
    };
    let code = tag("Code").unwrap_or_default();
    let (reason, message) = match (code, status.as_u16()) {
        ("EntityTooLarge", _) | (_, 413) => (
            Reason::MediaTooLarge,
            "the file is larger than the storage takes",
        ),
        (_, 403) => (Reason::MediaExpired, "the storage refused the certificate"),
        (_, 0..=199 | 300..=399 | 600..) => (
            Reason::UpstreamProtocol,
            "DashScope's storage answered with a status that means nothing here",
        ),
        _ => (Reason::UpstreamStorage, "DashScope's storage failed"),
    };
    Error::new(reason, message)
        .with_sent(Sent::Refused)
        .with_upstream(Upstream {
            code: untrusted::code(code),
            http_status: status.as_u16(),
            request_id: untrusted::id(tag("RequestId").unwrap_or_default()),
            message: Secret::new(untrusted::message(tag("Message").unwrap_or_default())),
            ..Upstream::default()
        })
}

/// A certificate that was refused to the end is the storage's fault, not that of the caller's
/// medium.
fn as_storage(error: Error) -> Error {
    if error.reason() != Reason::MediaExpired {
        return error;
    }
    let upstream = error.upstream().cloned().unwrap_or_default();
    Error::new(Reason::UpstreamStorage, "DashScope's storage failed")
        .with_sent(Sent::Refused)
        .with_upstream(upstream)
}

/// An upload costs nothing, whatever became of it, so that it may always be made again.
fn unbilled(error: Error) -> Error {
    if error.reason() != Reason::UpstreamReset {
        return error;
    }
    let cause = error.cause().unwrap_or_default().to_owned();
    Error::new(
        Reason::UpstreamStorage,
        "the connection to DashScope's storage broke",
    )
    .with_sent(Sent::Refused)
    .with_source(cause)
}
/// When a file that is stored now will be gone, in seconds since 1970.
fn expires_at() -> i64 {
    let gone = SystemTime::now() + KEPT;
    let since = gone.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
