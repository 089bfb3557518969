//! DashScope's temporary storage: an upload policy from DashScope, then a form to the object store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, StatusCode};
use reqwest::multipart::{Form, Part};
use tokio::time::Instant;
use url::Url;

use super::errors;
use super::http::{chain, client, no_response, read};
use super::media_transfer;
use super::upload_policy::{UploadPolicy, is_safe};
use super::upload_replay::{Replay, Source};
use crate::chat::upload::{KEPT, Upload, Uploaded};
use crate::error::{Error, Reason, Scope, Sent, Upstream};
use crate::net::Network;
use crate::secret::Secret;
use crate::untrusted;

/// How long before its expiry a policy is no longer used: an upload that starts must also finish.
const MARGIN: Duration = Duration::from_secs(60);

/// The maximum number of cached policies: one per model, and few models accept media.
const MAX_POLICIES: usize = 64;

/// How many times an upload may fail in one call: the first attempt and two retries. Each costs the
/// bytes of the file, and policies are limited to 100 per second.
pub(super) const MAX_FAILURES: u32 = 3;

/// The maximum number of bytes read of a response of the storage.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The configuration of the storage client.
pub(super) struct UploadConfig {
    /// Proxies and root certificates.
    pub(super) network: Network,
    /// Whether `http` is allowed to hosts that are not on loopback.
    pub(super) allow_plaintext: bool,
    /// The connect timeout.
    pub(super) connect_timeout: Duration,
    /// The maximum age of a connection.
    pub(super) max_connection_age: Duration,
}

/// The storage client and its cached policies.
pub(super) struct Storage {
    /// Built for the first upload, because many gateways have none, and rebuilt when its
    /// connections are too old: it does not limit the age of each.
    client: Mutex<Option<(Instant, reqwest::Client)>>,
    settings: UploadConfig,
    uploads: Url,
    policies: Mutex<Policies>,
}

/// What a policy is valid for: a model, in a workspace, of the account of an API key.
type Key = (String, [Option<Vec<u8>>; 2]);

/// Policies, and until when each is used.
type Policies = HashMap<Key, (Instant, Arc<UploadPolicy>)>;

impl Storage {
    /// The storage behind `{base}/uploads`.
    pub(super) fn new(settings: UploadConfig, uploads: Url) -> Self {
        Self {
            client: Mutex::new(None),
            settings,
            uploads,
            policies: Mutex::default(),
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

    /// The error of a request to this URL without a response.
    fn no_response(&self, url: &Url, error: reqwest::Error) -> Error {
        unbilled(no_response(error, self.settings.network.proxies.of(url)))
    }

    /// Uploads bytes and returns their URL. `failures` counts those of the call so far.
    pub(super) async fn put(
        &self,
        model: &str,
        mime_type: &str,
        bytes: Bytes,
        headers: HeaderMap,
        failures: &mut u32,
    ) -> Result<String, Error> {
        let key = policy_key(model, &headers);
        let mut fresh = false;
        loop {
            if *failures >= MAX_FAILURES {
                return Err(failed(Reason::UpstreamStorage));
            }
            let policy = self.policy(&key, &headers, fresh).await?;
            policy.check_size(bytes.len() as u64)?;
            let object = policy.object_name(mime_type, "");
            let file = Part::stream(reqwest::Body::from(bytes.clone()));
            let form = policy.form(&object, mime_type, file);
            let Err(error) = self.post(&policy, form).await else {
                return Ok(format!("oss://{object}"));
            };
            *failures += 1;
            if !self.is_refused(&key, &error) || fresh {
                return Err(after_refusal(error));
            }
            fresh = true;
        }
    }

    /// Uploads a stream.
    pub(super) async fn stream<S>(
        &self,
        upload: Upload,
        chunks: S,
        headers: HeaderMap,
    ) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        let key = policy_key(&upload.model, &headers);
        let mut policy = self.policy(&key, &headers, false).await?;
        if let Some(size) = upload.size_bytes {
            policy.check_size(size)?;
        }
        let (head, replay) = Replay::begin(Box::pin(chunks)).await?;
        if head.is_empty() {
            let what = "is missing; no model reads an empty file";
            return Err(Error::field("chunk", what));
        }
        let mime_type = media_transfer::type_of_upload(&upload, &head)?;
        let mut failures = 0;
        let (object, size_bytes) = loop {
            let object = policy.object_name(mime_type, &upload.name);
            let source = Source::new(&replay, policy.max_bytes(), upload.size_bytes);
            let counter = source.counter();
            let body = reqwest::Body::wrap_stream(source);
            let file = match upload.size_bytes {
                Some(size) => Part::stream_with_length(body, size),
                None => Part::stream(body),
            };
            let form = policy.form(&object, mime_type, file);
            let Err(error) = self.post(&policy, form).await else {
                break (object, counter.bytes());
            };
            failures += 1;
            let refused = self.is_refused(&key, &error);
            let again = refused || error.reason() == Reason::UpstreamStorage;
            // Bytes that were dropped cannot be sent again.
            if !again || failures >= MAX_FAILURES || !replay.rewind() {
                return Err(after_refusal(error));
            }
            policy = self.policy(&key, &headers, refused).await?;
        };
        Ok(Uploaded {
            uri: format!("oss://{object}"),
            mime_type: mime_type.to_owned(),
            model: upload.model.as_ref().to_owned(),
            expires_at: expires_at(),
            size_bytes,
        })
    }

    /// Whether the storage refused the policy, which is then removed from the cache.
    fn is_refused(&self, key: &Key, error: &Error) -> bool {
        let refused = matches!(
            error.reason(),
            Reason::MediaExpired | Reason::UpstreamPermission
        );
        if refused {
            self.policies().remove(key);
        }
        refused
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A policy that is valid for long enough: a cached one, or a new one.
    async fn policy(
        &self,
        key: &Key,
        headers: &HeaderMap,
        fresh: bool,
    ) -> Result<Arc<UploadPolicy>, Error> {
        if !fresh
            && let Some((until, policy)) = self.policies().get(key)
            && Instant::now() < *until
        {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(self.ask(&key.0, headers).await?);
        let now = Instant::now();
        let holds = policy.expires_in().saturating_sub(MARGIN);
        let mut policies = self.policies();
        policies.retain(|_, (until, _)| now < *until);
        if policies.len() < MAX_POLICIES && !holds.is_zero() {
            policies.insert(key.clone(), (now + holds, Arc::clone(&policy)));
        }
        Ok(policy)
    }

    async fn ask(&self, model: &str, headers: &HeaderMap) -> Result<UploadPolicy, Error> {
        let mut url = self.uploads.clone();
        url.query_pairs_mut()
            .append_pair("action", "getPolicy")
            .append_pair("model", model);
        let request = self.client()?.get(url).headers(headers.clone());
        let sent = request.send().await;
        let response = sent.map_err(|error| self.no_response(&self.uploads, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(response.into(), MAX_ANSWER_BYTES).await;
        if !status.is_success() {
            let error = errors::of_answer(status.as_u16(), &(&headers).into(), &body);
            return Err(of_storage(error));
        }
        let unreadable = || errors::unreadable("the upload policy cannot be read", Sent::Refused);
        let policy = UploadPolicy::read(&body).ok_or_else(unreadable)?;
        if !is_safe(policy.upload_host(), self.settings.allow_plaintext) {
            return Err(Error::new(
                Reason::UpstreamProtocol,
                "DashScope named a storage that is not https: nothing was sent to it",
            )
            .with_sent(Sent::Refused));
        }
        Ok(policy)
    }

    async fn post(&self, policy: &UploadPolicy, form: Form) -> Result<(), Error> {
        let request = self.client()?.post(policy.upload_host().clone());
        let response = match request.multipart(form).send().await {
            Ok(response) => response,
            Err(error) => {
                let ours = chain(&error)
                    .find_map(|e| e.downcast_ref::<Error>())
                    .cloned();
                let url = policy.upload_host();
                return Err(ours.unwrap_or_else(|| self.no_response(url, error)));
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

fn policy_key(model: &str, headers: &HeaderMap) -> Key {
    let value = |name| headers.get(name).map(|value| value.as_bytes().to_vec());
    let place = ["x-dashscope-workspace", "authorization"].map(value);
    (model.to_owned(), place)
}

/// The error of a refusal by the storage. Its body is XML with a code.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let body = String::from_utf8_lossy(body);
    let tag = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0)
    };
    let code = tag("Code").unwrap_or_default();
    let message = tag("Message").unwrap_or_default();
    let upstream = Upstream {
        code: untrusted::code(code),
        http_status: status.as_u16(),
        request_id: untrusted::id(tag("RequestId").unwrap_or_default()),
        message: Secret::new(untrusted::message(message)),
        ..Upstream::default()
    };
    let (reason, message) = match (code, status.as_u16()) {
        ("EntityTooLarge", _) | (_, 413) => (
            Reason::MediaTooLarge,
            "the file is larger than the storage accepts",
        ),
        ("AccessDenied", 403) if message.contains("expired") => (
            Reason::MediaExpired,
            "the storage refused the upload policy: it has expired",
        ),
        // An unknown signature or key stays unknown: a retry would not help.
        (_, 401 | 403) => (
            Reason::UpstreamPermission,
            "DashScope's storage refuses DashScope's upload policies: contact the operator",
        ),
        (_, 0..=199 | 300..=399 | 600..) => (
            Reason::UpstreamProtocol,
            "unexpected status from DashScope's storage",
        ),
        _ => return failed_with(upstream),
    };
    Error::new(reason, message)
        .with_sent(Sent::Refused)
        .with_upstream(upstream)
}

/// The error of a storage that failed, or of a call's own timeout.
fn failed(reason: Reason) -> Error {
    Error::new(reason, "DashScope's storage failed").with_sent(Sent::Refused)
}

fn failed_with(upstream: Upstream) -> Error {
    failed(Reason::UpstreamStorage).with_upstream(upstream)
}

/// An expired policy is an error of the storage, not of the caller's media item.
fn after_refusal(error: Error) -> Error {
    if error.reason() != Reason::MediaExpired {
        return error;
    }
    failed_with(error.upstream().cloned().unwrap_or_default())
}

/// The error of a policy request, with the scope of the upload: some API keys may call models and
/// not store files.
fn of_storage(error: Error) -> Error {
    let upstream = Upstream {
        scope: Scope::Call,
        ..error.upstream().cloned().unwrap_or_default()
    };
    let is_refused = matches!(
        error.reason(),
        Reason::UpstreamCredential | Reason::UpstreamPermission
    );
    if !is_refused {
        return error.with_upstream(upstream);
    }
    let message = "the operator's DashScope key may not store files: send less, use a URL that \
                   DashScope can fetch, or contact the operator";
    Error::new(error.reason(), message)
        .with_sent(error.sent())
        .with_upstream(upstream)
}

/// An upload is never billed, so that it may always be retried.
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
/// When a file that is stored now expires, in seconds since 1970.
fn expires_at() -> i64 {
    let gone = SystemTime::now() + KEPT;
    let since = gone.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
