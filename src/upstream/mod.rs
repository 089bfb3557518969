//! The upstreams of calls: DashScope, natively or in its compatible mode, and OpenAI-style servers.
//!
//! The one place that distinguishes them. All have the same request ([`Prepared`]) and the same
//! stream of events ([`Exchange`]).

use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;

use crate::chat::call::{Call, Passing};
use crate::chat::glob::matches;
use crate::chat::live_session::LiveSetup;
use crate::chat::upload::{Upload, Uploaded};
use crate::dashscope::DashScope;
pub use crate::dashscope::realtime::error_of as live_error;
pub use crate::dashscope::realtime::{ClientEvent, EventId, LiveEnding, LiveProfile, LiveSocket};
pub use crate::dashscope::{Exchange, Prepared, RequestTarget, Stored};
use crate::error::{Error, Reason};
use crate::net::proxy::Proxy;
use crate::openai::{MAX_REQUEST_BYTES, OpenAi};
pub use crate::openai::{PendingModels, ServedModel};

/// The interface of an upstream that serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamKind {
    /// DashScope's own interface.
    DashScope,
    /// DashScope's OpenAI-compatible mode.
    DashScopeCompatible,
    /// An OpenAI-style server.
    OpenAi,
}

/// An upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// DashScope, or a server that emulates it.
    DashScope {
        /// The client of its own interface.
        native: DashScope,
        /// The models that it serves in its compatible mode only.
        compatible: Option<Compatible>,
    },
    /// An OpenAI-style server, or DashScope's compatible mode for all models.
    OpenAi(OpenAi),
}

/// Models of DashScope's compatible mode.
#[derive(Clone, Debug)]
pub struct Compatible {
    /// The client of the compatible mode.
    pub client: OpenAi,
    /// The models; `*` matches any characters.
    pub models: Arc<[String]>,
}

impl From<DashScope> for Upstream {
    fn from(native: DashScope) -> Self {
        Self::DashScope {
            native,
            compatible: None,
        }
    }
}

impl Upstream {
    /// Whether the other upstream has the same configuration, the API key included.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::DashScope { native, compatible },
                Self::DashScope {
                    native: other,
                    compatible: other_compatible,
                },
            ) => {
                native.is_same(other)
                    && match (compatible, other_compatible) {
                        (Some(one), Some(other)) => {
                            one.models == other.models && one.client.is_same(&other.client)
                        }
                        (None, None) => true,
                        (Some(_), None) | (None, Some(_)) => false,
                    }
            }
            (Self::OpenAi(client), Self::OpenAi(other)) => client.is_same(other),
            (Self::DashScope { .. }, Self::OpenAi(_))
            | (Self::OpenAi(_), Self::DashScope { .. }) => false,
        }
    }

    /// The interface that serves this model.
    pub fn kind(&self, model: &str) -> UpstreamKind {
        match self {
            Self::DashScope { compatible, .. } => match compatible_client(compatible, model) {
                Some(_) => UpstreamKind::DashScopeCompatible,
                None => UpstreamKind::DashScope,
            },
            Self::OpenAi(client) if client.dialect().is_dashscope() => {
                UpstreamKind::DashScopeCompatible
            }
            Self::OpenAi(_) => UpstreamKind::OpenAi,
        }
    }

    /// Whether it is DashScope, so that a caller's own DashScope key may be sent to it.
    pub fn is_dashscope(&self) -> bool {
        match self {
            Self::DashScope { .. } => true,
            Self::OpenAi(client) => client.dialect().is_dashscope(),
        }
    }

    /// The name of the server in messages.
    pub fn server(&self) -> &'static str {
        match self {
            Self::DashScope { .. } => crate::error::DASHSCOPE,
            Self::OpenAi(client) => client.dialect().server(),
        }
    }

    /// The maximum request body, for models without a limit of their own. `of_dashscope` is
    /// DashScope's.
    pub fn max_request_bytes(&self, of_dashscope: usize) -> usize {
        match self.is_dashscope() {
            true => of_dashscope,
            false => of_dashscope.max(MAX_REQUEST_BYTES),
        }
    }

    /// Asks a server of its own models for them. `None` for DashScope, whose list has no limits
    /// and no modalities.
    pub fn models(&self) -> Option<PendingModels> {
        match self {
            Self::OpenAi(client) if !client.dialect().is_dashscope() => Some(client.models()),
            Self::OpenAi(_) | Self::DashScope { .. } => None,
        }
    }

    /// The host and port of the base URL.
    pub fn address(&self) -> (String, u16) {
        match self {
            Self::DashScope { native, .. } => native.address(),
            Self::OpenAi(client) => client.address(),
        }
    }

    /// The proxy for the base URL, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::DashScope { native, .. } => native.proxy(),
            Self::OpenAi(client) => client.proxy(),
        }
    }

    /// Converts a call to a request, which is built once and shared by all attempts. Media that are
    /// too large for it are uploaded first; `stored` keeps their URLs for later attempts.
    pub async fn prepare(
        &self,
        call: &Call,
        wanted: RequestTarget<'_>,
        stored: &mut Stored,
    ) -> Result<Prepared, Error> {
        match self {
            Self::DashScope { native, compatible } => {
                match compatible_client(compatible, wanted.model) {
                    // Boxed, so that the future of native calls is not larger.
                    Some(client) => Box::pin(client.prepare(call, wanted, stored)).await,
                    None => native.prepare(call, wanted, stored).await,
                }
            }
            Self::OpenAi(client) => Box::pin(client.prepare(call, wanted, stored)).await,
        }
    }

    /// Sends a request. Resolves when response headers with a success status have arrived; the body
    /// is the stream.
    pub async fn open(&self, prepared: &Prepared) -> Result<Exchange, Error> {
        match self {
            Self::DashScope { native, compatible } => {
                match compatible.as_ref().filter(|_| prepared.is_openai()) {
                    Some(compatible) => Box::pin(compatible.client.open(prepared)).await,
                    None => native.open(prepared).await,
                }
            }
            Self::OpenAi(client) => Box::pin(client.open(prepared)).await,
        }
    }

    /// Opens a connection for a live session.
    pub async fn open_live(
        &self,
        setup: &LiveSetup,
        passing: &Passing,
    ) -> Result<LiveSocket, Error> {
        match self {
            Self::DashScope { native, .. } => native.open_live(setup, passing).await,
            Self::OpenAi(client) => {
                let message = format!("{} has no live sessions", client.dialect().server());
                Err(Error::new(Reason::UnsupportedOperation, message))
            }
        }
    }

    /// Streams a file to DashScope's temporary storage.
    pub async fn upload<S>(&self, upload: Upload, chunks: S) -> Result<Uploaded, Error>
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
    {
        match self {
            Self::DashScope { native, .. } => native.upload(upload, chunks).await,
            Self::OpenAi(_) => {
                let message = "the server of this model has no storage for uploads: send media \
                               inside the request";
                Err(Error::new(Reason::UnsupportedOperation, message))
            }
        }
    }
}

fn compatible_client<'a>(compatible: &'a Option<Compatible>, model: &str) -> Option<&'a OpenAi> {
    let compatible = compatible.as_ref()?;
    let is_compatible = compatible.models.iter().any(|glob| matches(glob, model));
    is_compatible.then_some(&compatible.client)
}
