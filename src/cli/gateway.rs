//! The gateway that a command talks to: one that runs elsewhere, or one of its own in this process.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::app;
use crate::config::{Client, Settings};
use crate::error::Error;
use crate::grpc::pb::conversation_service_client::ConversationServiceClient;
use crate::grpc::pb::media_service_client::MediaServiceClient;

use super::failure::Failure;

/// How long a connection may take. A person waits, and two lost packets fit in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gateway of this process may take to end after the answer. It only closes.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer. The gateway bounds what DashScope says to 64 MiB before base64 is undone.
const MAX_ANSWER_BYTES: usize = 128 << 20;
/// What a gateway elsewhere takes, as far as is known: the defaults of its settings.
const ASSUMED_REQUEST_BYTES: usize = 16 << 20;
/// The size of a chunk of an upload: large enough to be fast, small enough for any gateway.
const CHUNK_BYTES: usize = 256 << 10;

/// A connection to a gateway.
pub(crate) struct Gateway {
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    /// The largest request that it takes.
    pub(crate) max_request_bytes: usize,
    /// The size of the chunks of an upload.
    pub(crate) chunk_bytes: usize,
    local: Option<Local>,
}

impl Gateway {
    /// Connects to a gateway elsewhere.
    pub(crate) async fn connect(address: &str, client: &Client) -> Result<Self, Failure> {
        Ok(Self {
            channel: channel(address).await?,
            authorization: authorization(client)?,
            max_request_bytes: ASSUMED_REQUEST_BYTES,
            chunk_bytes: CHUNK_BYTES,
            local: None,
        })
    }

    /// Runs a gateway in this process, behind a real socket, and connects to it.
    pub(crate) async fn start(settings: &Settings) -> Result<Self, Failure> {
        app::start_log(settings);
        let local = Local::start(settings).await?;
        let channel = channel(&local.address).await?;
        Ok(Self {
            channel,
            authorization: authorization(&settings.client)?,
            max_request_bytes: settings.server.max_request_bytes,
            chunk_bytes: settings.server.max_chunk_bytes.min(CHUNK_BYTES),
            local: Some(local),
        })
    }

    /// Whether the embedded DashScope answers, as far as this process knows.
    pub(crate) fn embedded(&self) -> bool {
        self.local.as_ref().is_some_and(|local| local.embedded)
    }

    /// A client for conversations.
    pub(crate) fn conversations(&self) -> ConversationServiceClient<Channel> {
        ConversationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// A client for media.
    pub(crate) fn media(&self) -> MediaServiceClient<Channel> {
        MediaServiceClient::new(self.channel.clone())
    }

    /// A request with the key and the deadline on it.
    pub(crate) fn request<T>(&self, message: T, timeout: Option<Duration>) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        request
    }

    /// Ends the gateway of this process, if there is one.
    pub(crate) async fn stop(self) {
        // The connection first: a gateway that drains waits for it.
        drop(self.channel);
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// The gateway of this process.
struct Local {
    address: String,
    embedded: bool,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

impl Local {
    async fn start(settings: &Settings) -> Result<Self, Failure> {
        let gateway = app::bind(settings).await?;
        let address = gateway.local_addr().to_string();
        let embedded = gateway.embedded();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(gateway.run(async move {
            // A sender that is gone means the same as one that says stop.
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            embedded,
            stop,
            running,
        })
    }

    async fn stop(self) {
        // It may have ended already; then there is nothing to stop.
        let _ = self.stop.send(());
        let mut running = self.running;
        if tokio::time::timeout(STOP_TIMEOUT, &mut running)
            .await
            .is_err()
        {
            running.abort();
        }
    }
}

/// Connects to an address as people write it: `host:port`, `http://...` or `https://...`.
pub(crate) async fn channel(address: &str) -> Result<Channel, Failure> {
    let wrong = || {
        Failure::usage(format!("{address:?} is not the address of a server"))
            .with_advice("host:port, http://host:port or https://host")
    };
    let uri = match address.split_once("://") {
        None => format!("http://{address}"),
        Some(("http" | "https", _)) => address.to_owned(),
        Some(_) => return Err(wrong()),
    };
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(|_| wrong())?
        .connect_timeout(CONNECT_TIMEOUT);
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if endpoint.uri().scheme_str() == Some("https") {
        let trust = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(trust).map_err(|error| {
            Failure::unreachable(format!("cannot set up TLS for {address}: {error}"))
        })?;
    }
    endpoint.connect().await.map_err(|error| {
        Failure::unreachable(format!("cannot reach {address}: {}", causes(&error)))
            .with_advice("start a gateway with `dashgate serve`, or leave --server out")
    })
}

/// The innermost cause: what is above it only says that connecting failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn authorization(client: &Client) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let Some(key) = &client.api_key else {
        return Ok(None);
    };
    // The settings let printable ASCII through only, and all of it can stand in a header.
    let value = format!("Bearer {}", key.expose()).parse();
    let mut value: MetadataValue<Ascii> = value
        .map_err(|_| Failure::usage("the key in DASHGATE_API_KEY cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[tokio::test]
    async fn an_address_that_is_none_is_told_before_anything_is_done() {
        for address in ["ftp://host", "http://", "a b", ""] {
            let failure = channel(address).await.unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{address}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let failure = channel(&address).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(failure.text().contains(&address), "{}", failure.text());
        assert!(failure.text().contains("dashgate serve"));
    }
}
