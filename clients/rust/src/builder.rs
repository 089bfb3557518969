//! The settings of a client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, http};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Layer;

use crate::call_metadata::entry;
use crate::client::{Client, Inner};
use crate::connections::Connections;
use crate::error::Error;
use crate::leaving::Leaving;
use crate::log::Level;
use crate::retry::Credit;
use crate::target;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::transport::{Transport, Wrap, wrap};
use crate::uploads::Uploads;

/// Four heartbeats of the gateway.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The strictest servers allow one ping in 5 minutes.
const KEEPALIVE: Duration = Duration::from_secs(360);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// That of gRPC libraries. It includes the first bytes of the gateway.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Configure = Arc<dyn Fn(Endpoint) -> Endpoint + Send + Sync>;

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
    max_retries: u32,
    layers: Vec<Wrap>,
    configure: Vec<Configure>,
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
}

impl ClientBuilder {
    /// Sets the address: `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port`
    /// or `unix:/path`. A host without a port has the port 50051, with `https://` 443. Default:
    /// `DASHGATE_ADDR`, then `127.0.0.1:50051`.
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

    /// Sets how often a call that was throttled (`RESOURCE_EXHAUSTED` with a time to wait) is made
    /// again after that time, if its deadline is later. Each call may set its own. Default: 0.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = retries;
        self
    }

    /// Adds a Tower layer around every call, for example an
    /// [`InterceptorLayer`](tonic::service::interceptor::InterceptorLayer). The first layer is the
    /// outermost. Layers see the metadata of the client.
    ///
    /// ```
    /// use dashgate_client::Client;
    /// use tonic::service::interceptor::InterceptorLayer;
    ///
    /// # fn build() -> Result<(), dashgate_client::Error> {
    /// let client = Client::builder()
    ///     .layer(InterceptorLayer::new(|mut request: tonic::Request<()>| {
    ///         request.metadata_mut().insert("x-team", "speech".parse().unwrap());
    ///         Ok(request)
    ///     }))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Transport> + Send + Sync + 'static,
        L::Service: Service<http::Request<Body>, Response = http::Response<B>>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<http::Request<Body>>>::Error: Into<BoxError>,
        <L::Service as Service<http::Request<Body>>>::Future: Send + 'static,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.layers.push(wrap(layer));
        self
    }

    /// Changes the endpoint of the connections, after the defaults of this crate: single settings
    /// are replaced, the others stay. The connect timeout, 20 s by default, ends when the gateway has
    /// sent something. A local address is not used.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn build() -> Result<(), dashgate_client::Error> {
    /// let client = dashgate_client::Client::builder()
    ///     .configure_endpoint(|endpoint| endpoint.connect_timeout(Duration::from_secs(2)))
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn configure_endpoint(
        mut self,
        configure: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static,
    ) -> Self {
        self.configure.push(Arc::new(configure));
        self
    }

    /// Builds the client. It connects with the first call.
    ///
    /// # Errors
    ///
    /// The target, the key, the metadata or a certificate is invalid.
    pub fn build(self) -> Result<Client, Error> {
        let target = self.target.clone().or_else(|| variable("DASHGATE_ADDR"));
        let target = target.unwrap_or_else(|| target::DEFAULT_TARGET.to_owned());
        let endpoint = self.endpoint(&target)?;
        let log = Level::from_environment();
        let connections = Connections::to(endpoint, target.clone(), &self.layers, log);
        self.client(target, connections, log)
    }

    /// The client of a channel that exists. Target, TLS and endpoint are the channel's own.
    pub fn build_on(self, channel: Channel) -> Result<Client, Error> {
        let connections = Connections::given(channel, &self.layers);
        let target = "a channel that was given".to_owned();
        self.client(target, connections, Level::from_environment())
    }

    fn client(self, target: String, connections: Connections, log: Level) -> Result<Client, Error> {
        let idle_timeout = self.idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT);
        if idle_timeout.is_zero() {
            return Err(Error::of_argument(
                "the idle timeout must be more than zero",
            ));
        }
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
            idle_timeout,
            max_retries: self.max_retries,
            credit: Credit::full(),
            leaving: Leaving::none(),
            uploads: Uploads::default(),
            log,
        })))
    }

    /// The endpoint of a target, and the path of its Unix socket.
    fn endpoint(&self, target: &str) -> Result<(Endpoint, Option<String>), Error> {
        let mut address = target::parse(target)?;
        if self.has_tls() && address.has_scheme && !address.is_https && !address.is_unix() {
            let message =
                format!("{target} is plaintext, and TLS was given: leave one of them out");
            return Err(Error::of_argument(message));
        }
        if self.has_tls() {
            address = address.over_tls();
        }
        let invalid = |_| target::invalid(target);
        let mut endpoint = Endpoint::from_shared(address.uri.clone())
            .map_err(|_| target::invalid(target))?
            .user_agent(concat!("dashgate-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(invalid)?
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .keep_alive_while_idle(false);
        if address.is_unix() {
            endpoint = endpoint.origin(Uri::from_static("http://localhost"));
        }
        if address.is_https || self.has_tls() {
            endpoint = self.secured(endpoint)?;
        }
        let configure = self.configure.iter();
        let endpoint = configure.fold(endpoint, |endpoint, configure| configure(endpoint));
        Ok((endpoint, address.socket()))
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

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
