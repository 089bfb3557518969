//! The client of OpenAI-style servers: self-hosted models, and DashScope's compatible mode.
//!
//! It has the same use as [`crate::dashscope`], and the same decoder of answers: an OpenAI-style
//! answer has DashScope's choices, messages and counts under other keys. [`dialect`] describes the
//! kinds of servers, `request_json.rs` writes requests, and `answer.rs` converts answers.

mod answer;
mod answer_images;
mod answer_json;
mod answer_parts;
mod config;
mod content;
pub mod dialect;
mod media_format;
mod media_lists;
mod model_list;
mod parameters;
pub mod reply;
mod request_json;
mod transcript;
mod writer;
mod wrong_path;

use std::sync::Arc;

use crate::chat::call::{Call, Passing};
use crate::dashscope::media_transfer::MediaTransfer;
use crate::dashscope::request::FixedHeaders;
use crate::dashscope::send::MethodUrl;
use crate::dashscope::{
    self, DashScope, Exchange, Prepared, RequestTarget, Stored, TextForm, http, media_transfer,
    request_json as native_json, sse,
};
use crate::error::Error;
use crate::net::proxy::Proxy;
pub use config::OpenAiConfig;
use dialect::Dialect;
use model_list::ModelList;
pub use model_list::{PendingModels, ServedModel};

/// The default maximum request body of a self-hosted server. Such servers limit the size of media,
/// not of bodies, and cannot be sent media in another way.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// A client of an OpenAI-style server. Cheap to clone.
#[derive(Clone)]
pub struct OpenAi {
    inner: Arc<Inner>,
}

struct Inner {
    settings: OpenAiConfig,
    completions: MethodUrl,
    fixed_headers: FixedHeaders,
    models: Arc<ModelList>,
    limits: sse::Limits,
    /// The temporary storage that the server reads, if it reads one.
    storage: Option<DashScope>,
}

impl std::fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAi").finish_non_exhaustive()
    }
}

impl OpenAi {
    /// Validates the configuration and builds the client. Does not connect. Media that are too
    /// large for a request are uploaded to `storage`.
    pub fn new(settings: OpenAiConfig, storage: Option<DashScope>) -> Result<Self, Error> {
        let kept = settings.clone();
        let base_url = dashscope::checked(settings.base_url, settings.allow_plaintext)?;
        let completions = http::below(&base_url, &["chat", "completions"])?;
        let models = ModelList::new(&base_url, &kept)?;
        let fixed_headers = FixedHeaders::new(
            ("POST", &completions),
            settings.api_key.as_ref(),
            settings.workspace,
            settings.data_inspection,
            settings.network.proxies.of(&completions),
        )?;
        let completions = MethodUrl::new(
            completions,
            settings.network,
            settings.connect_timeout,
            settings.max_connection_age,
        )?;
        Ok(Self {
            inner: Arc::new(Inner {
                settings: kept,
                completions,
                fixed_headers,
                models: Arc::new(models),
                limits: sse::Limits {
                    line_bytes: dashscope::MAX_LINE_BYTES.max(settings.max_event_bytes),
                    event_bytes: settings.max_event_bytes,
                },
                storage,
            }),
        })
    }

    /// Whether the other client has the same configuration, the API key included.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inner.settings == other.inner.settings
    }

    /// Asks the server for its models, unless its latest list is recent. Never done for a call.
    pub fn models(&self) -> PendingModels {
        self.inner.models.ask()
    }

    /// The kind of server.
    pub fn dialect(&self) -> &'static Dialect {
        self.inner.settings.dialect
    }

    /// The host and port of the base URL.
    pub fn address(&self) -> (String, u16) {
        self.inner.completions.address()
    }

    /// The proxy for the base URL, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.inner.completions.proxy()
    }

    /// Converts a call to a request, which is built once and shared by all attempts.
    pub async fn prepare(
        &self,
        call: &Call,
        wanted: RequestTarget<'_>,
        stored: &mut Stored,
    ) -> Result<Prepared, Error> {
        let prepared = self.write(call, wanted, stored).await;
        prepared.map_err(|error| error.of_server(self.dialect().server))
    }

    async fn write(
        &self,
        call: &Call,
        wanted: RequestTarget<'_>,
        stored: &mut Stored,
    ) -> Result<Prepared, Error> {
        let RequestTarget {
            model,
            delivery,
            max_bytes,
        } = wanted;
        let dialect = self.dialect();
        let request = (&call.prompt, &**model, delivery);
        let write = |transfers: &[MediaTransfer<'_>]| {
            request_json::write(request, transfers, max_bytes, dialect)
        };
        let (request, names_storage) = match &self.inner.storage {
            Some(storage) => storage.stored_body(call, wanted, stored, write).await?,
            None => {
                // Nothing but the body can hold them.
                let transfers = media_transfer::transfers(&call.prompt.turns, usize::MAX)?;
                let request = write(&transfers)?;
                if request.body.len() > max_bytes {
                    return Err(native_json::too_large(request.body.len(), max_bytes));
                }
                (request, transfers.iter().any(MediaTransfer::is_stored))
            }
        };
        let passing = self.passing(&call.passing);
        let headers = &self.inner.fixed_headers;
        let head = headers.common_head(&passing, delivery, names_storage)?;
        let form = TextForm::Pieces;
        Ok(Prepared::new(
            request.body,
            head,
            model,
            call,
            form,
            Some(request.warnings),
        ))
    }

    /// What is forwarded of the metadata of a call. Keys and workspaces are DashScope's.
    fn passing(&self, passing: &Passing) -> Passing {
        match self.dialect().is_dashscope {
            true => passing.clone(),
            false => Passing {
                traceparent: passing.traceparent.clone(),
                tracestate: passing.tracestate.clone(),
                ..Passing::default()
            },
        }
    }

    /// Sends a request. Resolves when response headers with a success status have arrived; the body
    /// is the stream.
    pub async fn open(&self, prepared: &Prepared) -> Result<Exchange, Error> {
        let inner = &self.inner;
        let server = self.dialect().server;
        let answer = inner.completions.send(prepared).await;
        let answer = answer.map_err(|error| match self.dialect().is_dashscope {
            true => error,
            false => wrong_path::of_path(error).of_server(server),
        })?;
        let opening = prepared.opening(dashscope::errors::request_id(&answer.headers));
        let reply = reply::reply(opening, prepared.has_audio(), self.dialect());
        let max_body_bytes = inner.settings.max_body_bytes;
        let exchange = Exchange::new(answer.body, reply, inner.limits, max_body_bytes);
        Ok(exchange.of_server(server))
    }
}
