//! The client of a gateway: its connections and settings. The methods that begin calls are beside
//! what they return.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::call_metadata::entry;
use crate::connections::{Connections, Counting};
use crate::error::Error;
use crate::leaving::Leaving;
use crate::log::{CallName, Level, printable};
use crate::retry::Credit;
use crate::transport::Transport;
use crate::uploads::Uploads;
use crate::v1::call_service_client::CallServiceClient;
use crate::v1::conversation_service_client::ConversationServiceClient;
use crate::v1::live_service_client::LiveServiceClient;
use crate::v1::media_service_client::MediaServiceClient;
use crate::v1::model_service_client::ModelServiceClient;

/// The longest time that DashScope takes for one call.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest response of the gateway.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A client of a gateway. Cheap to clone; all clones share its connections. They are opened by calls:
/// another one when all have 100 calls, up to 20 on each Tokio runtime, with which they end. So a
/// client may be a `static`, and outlive a runtime. Calls beyond them wait in the client, in their
/// order, until one ends or their deadline passes.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

/// What the clones of a client share.
pub(crate) struct Inner {
    pub(crate) target: String,
    pub(crate) connections: Connections,
    pub(crate) metadata: MetadataMap,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_retries: u32,
    pub(crate) credit: Credit,
    pub(crate) leaving: Leaving,
    pub(crate) uploads: Uploads,
    pub(crate) log: Level,
}

impl Client {
    /// Opens the first connection of this Tokio runtime. Calls do so by themselves: it is for programs
    /// that check the address and the certificates first.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), dashgate_client::Error> {
    /// let client = dashgate_client::Client::new()?;
    /// client.connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE`: the gateway is not reached, also if it has sent nothing for 20 s, or TLS fails.
    /// The cause, if one is known, is the [source](std::error::Error::source). Whether the API key is
    /// accepted is known with the first call.
    pub async fn connect(&self) -> Result<(), Error> {
        let connected = self.0.connections.connect().await;
        connected.map_err(|error| match error {
            Some(error) => Error::unconnected(&self.0.target, error),
            None => Error::unreached(&self.0.target, ""),
        })
    }

    /// Waits, for at most 2 seconds, until the gateway has ended the calls whose streams were left.
    /// Await it before the runtime ends; without it, the gateway ends them after some seconds.
    pub async fn settle(&self) {
        self.0.leaving.end().await;
    }

    /// Returns the generated client of `ConversationService`, without default deadlines, API key or
    /// retries.
    pub fn conversation_service(&self) -> ConversationServiceClient<Transport> {
        ConversationServiceClient::new(self.transport()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Returns the generated client of `MediaService`, without default deadlines or API key.
    pub fn media_service(&self) -> MediaServiceClient<Transport> {
        MediaServiceClient::new(self.transport())
    }

    /// Returns the generated client of `ModelService`, without default deadlines, API key or
    /// retries.
    pub fn model_service(&self) -> ModelServiceClient<Transport> {
        ModelServiceClient::new(self.transport())
    }

    /// Returns the generated client of `CallService`, without default deadlines or API key.
    pub fn call_service(&self) -> CallServiceClient<Transport> {
        CallServiceClient::new(self.transport())
    }

    /// Returns the generated client of `LiveService`, without API key or resumption.
    pub fn live_service(&self) -> LiveServiceClient<Transport> {
        LiveServiceClient::new(self.transport()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Returns the channel with the fewest calls, with the layers of the client. Must be called on a
    /// Tokio runtime.
    pub fn transport(&self) -> Transport {
        self.0.connections.transport()
    }

    /// Returns the channel with the fewest calls, without layers. Must be called on a Tokio runtime.
    pub fn channel(&self) -> Channel {
        self.0.connections.channel()
    }

    /// The service for a call that is counted, when there is a place for it.
    pub(crate) async fn conversations(&self) -> Counting<ConversationServiceClient<Transport>> {
        let (transport, counted) = self.0.connections.take().await;
        let service = ConversationServiceClient::new(transport);
        (service.max_decoding_message_size(MAX_ANSWER_BYTES), counted)
    }

    /// The service for a session that is counted, when there is a place for it.
    pub(crate) async fn sessions(&self) -> Counting<LiveServiceClient<Transport>> {
        let (transport, counted) = self.0.connections.take().await;
        let service = LiveServiceClient::new(transport);
        (service.max_decoding_message_size(MAX_ANSWER_BYTES), counted)
    }

    /// The service for an upload that is counted, when there is a place for it.
    pub(crate) async fn uploading(&self) -> Counting<MediaServiceClient<Transport>> {
        let (transport, counted) = self.0.connections.take().await;
        (MediaServiceClient::new(transport), counted)
    }

    /// The service for models, counted, when there is a place for it.
    pub(crate) async fn models(&self) -> Counting<ModelServiceClient<Transport>> {
        let (transport, counted) = self.0.connections.take().await;
        (ModelServiceClient::new(transport), counted)
    }

    /// The service for the cancellation of a call, which does not wait for a place.
    pub(crate) fn calls(&self) -> Counting<CallServiceClient<Transport>> {
        let (transport, counted) = self.0.connections.take_ending();
        (CallServiceClient::new(transport), counted)
    }

    /// Whether no connection to the gateway is open, although there are calls.
    pub(crate) fn is_unreached(&self) -> bool {
        self.0.connections.are_unreached()
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
        self.metadata(more).map(named)
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

    pub(crate) fn max_retries(&self) -> u32 {
        self.0.max_retries
    }

    pub(crate) fn uploads(&self) -> &Uploads {
        &self.0.uploads
    }

    /// What the lines of a call in the log have in common.
    pub(crate) fn call_name(&self, method: &'static str, request_id: &str) -> CallName {
        CallName {
            level: self.0.log,
            method,
            request_id: printable(request_id),
            target: printable(&self.0.target),
        }
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

/// Adds a request id to metadata that has none; also returns the id.
pub(crate) fn named(mut metadata: MetadataMap) -> (MetadataMap, String) {
    let name = "x-request-id";
    let given = metadata.get(name).and_then(|value| value.to_str().ok());
    let request_id = given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    if let Ok(value) = MetadataValue::try_from(&request_id) {
        metadata.insert(name, value);
    }
    (metadata, request_id)
}
