//! The client of a gateway.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::call::{Call, Streamed, Whole};
use crate::call_cancellation::CallCancellation;
use crate::connections::{Connections, Counted};
use crate::error::Error;
use crate::leave::Leaving;
use crate::live::SessionCall;
use crate::models::{ModelList, ModelQuery};
use crate::retry::Credit;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::tools::{Tool, ToolRun};
use crate::upload::{Upload, UploadSource};
use crate::v1::call_service_client::CallServiceClient;
use crate::v1::conversation_service_client::ConversationServiceClient;
use crate::v1::live_service_client::LiveServiceClient;
use crate::v1::media_service_client::MediaServiceClient;
use crate::v1::model_service_client::ModelServiceClient;
use crate::{Conversation, v1};

const DEFAULT_TARGET: &str = "127.0.0.1:50051";
/// The longest time that DashScope takes for one call.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// Four heartbeats of the gateway.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The strictest servers allow one ping in 5 minutes.
const KEEPALIVE: Duration = Duration::from_secs(360);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The largest response of the gateway.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A client of a gateway. Cheap to clone; all clones share its connections. One is opened by the
/// first call, on the Tokio runtime of that call, and again on another one if that has ended.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    target: String,
    connections: Connections,
    metadata: MetadataMap,
    timeout: Option<Duration>,
    idle_timeout: Duration,
    credit: Credit,
    leaving: Leaving,
}

impl Client {
    /// Creates a client of the gateway at `DASHGATE_ADDR` (default: `127.0.0.1:50051`), with the
    /// API key in `DASHGATE_API_KEY`, if set.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Returns a builder with further settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Returns the next answer when complete: `client.converse(&conversation).await?`.
    ///
    /// The default deadline is 10 minutes.
    pub fn converse(&self, conversation: impl Into<v1::Conversation>) -> Call<Whole> {
        Call::new(self.clone(), conversation.into())
    }

    /// Returns the next answer as a stream: `client.stream(&conversation).await?`.
    ///
    /// There is no deadline by default. If its connection is lost, the stream continues on another
    /// one: see [`Call::resume`].
    pub fn stream(&self, conversation: impl Into<v1::Conversation>) -> Call<Streamed> {
        Call::new(self.clone(), conversation.into())
    }

    /// Cancels a running call of this caller by its request id, whatever process made it:
    /// `client.cancel_call("order-4711-summary").await?`. Its streams fail with `ABORTED` and the
    /// reason `CALL_CANCELLED`. If no such call is running, the reason is `CALL_NOT_FOUND`.
    pub fn cancel_call(&self, request_id: impl Into<String>) -> CallCancellation {
        CallCancellation::new(self.clone(), request_id.into())
    }

    /// Waits, for at most 2 seconds, until the gateway has ended the calls whose streams were left.
    /// Await it before the runtime ends; without it, the gateway ends them after some seconds.
    pub async fn settle(&self) {
        self.0.leaving.end().await;
    }

    /// Uploads a file of any size to DashScope's storage, from a path, bytes or a reader. Pass the
    /// returned `uri` to [`crate::Media::uri`].
    pub fn upload(&self, model: impl Into<String>, source: impl Into<UploadSource>) -> Upload {
        Upload::new(self.clone(), model.into(), source.into())
    }

    /// Returns the models that can be used, in the order of their names: `client.list_models()`, and
    /// then `models.next().await`.
    pub fn list_models(&self) -> ModelList {
        ModelList::new(self.clone())
    }

    /// Returns what the gateway knows of a model: `client.get_model("qwen-audio-turbo").await?`.
    pub fn get_model(&self, name: impl Into<String>) -> ModelQuery {
        ModelQuery::new(self.clone(), name.into())
    }

    /// Opens a live session, speech in and speech out: `client.live("qwen3-omni-flash-realtime")
    /// .await?`, or with a [`v1::LiveSetup`].
    ///
    /// There is no deadline by default.
    pub fn live(&self, setup: impl Into<v1::LiveSetup>) -> SessionCall<v1::LiveSetup> {
        SessionCall::new(self.clone(), setup.into())
    }

    /// Opens a session that speaks a text while it is written, with a model or a
    /// [`v1::SynthesisSetup`].
    ///
    /// There is no deadline by default.
    pub fn speak(&self, setup: impl Into<v1::SynthesisSetup>) -> SessionCall<v1::SynthesisSetup> {
        SessionCall::new(self.clone(), setup.into())
    }

    /// Runs the tools that the model calls until it returns an answer without tool calls. Answers
    /// and results are appended to the conversation.
    pub fn run_tools<'a>(
        &self,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> ToolRun<'a> {
        ToolRun::new(self.clone(), conversation, tools)
    }

    /// Returns the generated client of `ConversationService`, without default deadlines, API key or
    /// retries.
    pub fn conversation_service(&self) -> ConversationServiceClient<Channel> {
        ConversationServiceClient::new(self.channel()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Returns the generated client of `MediaService`, without default deadlines or API key.
    pub fn media_service(&self) -> MediaServiceClient<Channel> {
        MediaServiceClient::new(self.channel())
    }

    /// Returns the generated client of `ModelService`, without default deadlines, API key or
    /// retries.
    pub fn model_service(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel())
    }

    /// Returns the generated client of `CallService`, without default deadlines or API key.
    pub fn call_service(&self) -> CallServiceClient<Channel> {
        CallServiceClient::new(self.channel())
    }

    /// Returns the generated client of `LiveService`, without API key or resumption.
    pub fn live_service(&self) -> LiveServiceClient<Channel> {
        LiveServiceClient::new(self.channel()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Returns the channel with the fewest calls. Must be called on a Tokio runtime.
    pub fn channel(&self) -> Channel {
        self.0.connections.take().0
    }

    /// The service for a call that is counted.
    pub(crate) fn conversations(&self) -> (ConversationServiceClient<Channel>, Counted) {
        let (channel, counted) = self.0.connections.take();
        let service = ConversationServiceClient::new(channel);
        (service.max_decoding_message_size(MAX_ANSWER_BYTES), counted)
    }

    /// The service for a session that is counted.
    pub(crate) fn sessions(&self) -> (LiveServiceClient<Channel>, Counted) {
        let (channel, counted) = self.0.connections.take();
        let service = LiveServiceClient::new(channel);
        (service.max_decoding_message_size(MAX_ANSWER_BYTES), counted)
    }

    pub(crate) fn target(&self) -> &str {
        &self.0.target
    }

    pub(crate) fn metadata(&self, more: &[(String, String)]) -> Result<MetadataMap, Error> {
        let mut metadata = self.0.metadata.clone();
        for (name, value) in more {
            let (name, value) = entry(name, value)?;
            metadata.insert(name, value);
        }
        Ok(metadata)
    }

    /// The metadata of a call whose request has no field for the request id, and that id.
    pub(crate) fn named_metadata(
        &self,
        more: &[(String, String)],
    ) -> Result<(MetadataMap, String), Error> {
        let name = "x-request-id";
        let mut metadata = self.metadata(more)?;
        let given = metadata.get(name).and_then(|value| value.to_str().ok());
        let request_id = given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        if let Ok(value) = MetadataValue::try_from(&request_id) {
            metadata.insert(name, value);
        }
        Ok((metadata, request_id))
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    pub(crate) fn whole_timeout(&self) -> Duration {
        self.0.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        self.0.idle_timeout
    }

    pub(crate) fn leaving(&self) -> &Leaving {
        &self.0.leaving
    }

    pub(crate) fn credit(&self) -> &Credit {
        &self.0.credit
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Client")
            .field("target", &self.0.target)
            .field("timeout", &self.0.timeout)
            .field("idle_timeout", &self.0.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Client`]. All are optional.
#[derive(Clone, Default)]
pub struct ClientBuilder {
    target: Option<String>,
    api_key: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    metadata: Vec<(String, String)>,
}

impl ClientBuilder {
    /// Sets the address: `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port`
    /// or `unix:/path`. Default: `DASHGATE_ADDR`, then `127.0.0.1:50051`.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Sets the API key. Default: `DASHGATE_API_KEY`. It is also sent without TLS, which is safe
    /// only with a local sidecar.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Enables TLS with these settings for every target; an `http://` target is then refused.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the deadline of every call. Default: 10 minutes for unary calls and uploads, none for
    /// streams.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long a stream may receive nothing, not even a heartbeat, before it fails. Default:
    /// 60 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to every call.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    /// Builds the client. It connects with the first call.
    ///
    /// # Errors
    ///
    /// The target, the key, the metadata or a certificate is invalid.
    pub fn build(self) -> Result<Client, Error> {
        let target = self.target.clone().or_else(|| variable("DASHGATE_ADDR"));
        let target = target.unwrap_or_else(|| DEFAULT_TARGET.to_owned());
        let endpoint = self.endpoint(&target)?;
        self.client(target, Connections::to(endpoint))
    }

    /// The client of a channel that exists. Target and TLS are the channel's own.
    pub fn build_on(self, channel: Channel) -> Result<Client, Error> {
        let given = Connections::Given(channel);
        self.client("a channel that was given".to_owned(), given)
    }

    fn client(self, target: String, connections: Connections) -> Result<Client, Error> {
        let mut metadata = MetadataMap::new();
        for (name, value) in &self.metadata {
            let (name, value) = entry(name, value)?;
            metadata.insert(name, value);
        }
        if let Some(key) = self.api_key.or_else(|| variable("DASHGATE_API_KEY")) {
            let bearer: Result<MetadataValue<Ascii>, _> = format!("Bearer {key}").parse();
            let mut bearer =
                bearer.map_err(|_| Error::of_argument("the API key is not printable ASCII"))?;
            bearer.set_sensitive(true);
            metadata.insert("authorization", bearer);
        }
        Ok(Client(Arc::new(Inner {
            target,
            connections,
            metadata,
            timeout: self.timeout,
            idle_timeout: self.idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT),
            credit: Credit::full(),
            leaving: Leaving::none(),
        })))
    }

    fn endpoint(&self, target: &str) -> Result<Endpoint, Error> {
        let target = plain(target).ok_or_else(|| {
            Error::of_argument(format!("{target:?} is no target; one is {FORMS}"))
        })?;
        let secure = target.starts_with("https://") || self.has_tls();
        if self.has_tls() && target.starts_with("http://") {
            let message =
                format!("{target} is plaintext, and TLS was given: leave one of them out");
            return Err(Error::of_argument(message));
        }
        let address = match target {
            target if target.starts_with("unix:") || target.contains("://") => target.to_owned(),
            target if secure => format!("https://{target}"),
            target => format!("http://{target}"),
        };
        let wrong =
            |error| Error::caused(format!("{target:?} is no target; one is {FORMS}"), error);
        let endpoint = Endpoint::from_shared(address)
            .map_err(wrong)?
            .user_agent(concat!("dashgate-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(wrong)?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(false);
        if secure {
            return self.secured(endpoint);
        }
        Ok(endpoint)
    }

    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(feature = "tls")]
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        let config = self.tls.clone().unwrap_or_default().config();
        endpoint
            .tls_config(config)
            .map_err(|error| Error::caused("the certificates cannot be used", error))
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, _endpoint: Endpoint) -> Result<Endpoint, Error> {
        let message = "this build has no TLS: turn the feature `tls` on";
        Err(Error::of_argument(message))
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ClientBuilder")
            .field("target", &self.target)
            .field("timeout", &self.timeout)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// The forms of a target.
const FORMS: &str = "host:port, http://host:port, https://host:port, dns:///host:port, unix:/path";

/// Removes the scheme of gRPC's own target syntax, for a name or one address. `None` if the form is
/// not supported.
fn plain(target: &str) -> Option<&str> {
    let named = ["dns:///", "dns:", "ipv4:", "ipv6:"];
    let named = named.iter().find_map(|prefix| target.strip_prefix(prefix));
    match named {
        Some(rest) => (!rest.is_empty() && !rest.contains([',', '/'])).then_some(rest),
        None if target.starts_with("unix:") => Some(target),
        None => match target.split_once("://") {
            Some((scheme, _)) => {
                let known = ["http", "https"];
                let known = known.iter().any(|known| scheme.eq_ignore_ascii_case(known));
                known.then_some(target)
            }
            None => Some(target),
        },
    }
}

type Entry = (MetadataKey<Ascii>, MetadataValue<Ascii>);

fn entry(name: &str, value: &str) -> Result<Entry, Error> {
    let key = name.to_ascii_lowercase();
    let key = MetadataKey::from_bytes(key.as_bytes())
        .map_err(|error| Error::caused(format!("{name:?} is no name of metadata"), error))?;
    // The value may be a secret, so the error does not contain it.
    let value = value
        .parse()
        .map_err(|_| Error::of_argument(format!("the metadata {name} is not printable ASCII")))?;
    Ok((key, value))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn targets_of_other_libraries_are_taken_or_refused() {
        for (target, expected) in [
            ("h:1", Some("h:1")),
            ("https://h:1", Some("https://h:1")),
            ("unix:/run/s", Some("unix:/run/s")),
            ("dns:///h:1", Some("h:1")),
            ("dns:h:1", Some("h:1")),
            ("ipv4:10.0.0.1:1", Some("10.0.0.1:1")),
            ("ipv6:[::1]:1", Some("[::1]:1")),
            ("dns:///", None),
            ("dns://server/h:1", None),
            ("ipv4:10.0.0.1:1,10.0.0.2:1", None),
            ("xds:///h:1", None),
            ("ftp://h:1", None),
        ] {
            assert_eq!(plain(target), expected, "{target}");
        }
    }
}
