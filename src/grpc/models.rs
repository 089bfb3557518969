//! `dashgate.v1.ModelService`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::chat::model::{ModelHealth, ModelLimits, ModelModality, ModelState};
use crate::error::{Error, Reason, Violation};
use crate::memory::{self, CallMemory};
use crate::relay::Relay;
use crate::relay::models::{ModelCatalog, ModelInfo, UpstreamKind};
use crate::server::call_clock::{self, PendingCall};

use super::call_context::CallContext;
use super::config::GrpcConfig;
use super::pb;
use super::pb::model_service_server::ModelService;
use super::pb::{GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse};
use super::status;

/// The number of models in a page of a caller that does not choose one. Most gateways have fewer.
const DEFAULT_PAGE_SIZE: usize = 100;

/// The maximum number of models in a page. With names of usual length, their message is below
/// 100 KB.
const MAX_PAGE_SIZE: usize = 200;

/// The service, for one call.
pub struct Models {
    /// The relay, which knows the models.
    pub relay: Relay,
    /// The configuration.
    pub settings: Arc<GrpcConfig>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The memory that is charged for it.
    pub memory: CallMemory,
}

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let page = self.page(&request.into_inner()).await;
        self.finish(page, ListModelsResponse::encoded_len)
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        let model = self.model(&request.into_inner().name).await;
        self.finish(model, GetModelResponse::encoded_len)
    }
}

impl Models {
    async fn page(&self, request: &ListModelsRequest) -> Result<ListModelsResponse, Error> {
        let page_size = match usize::try_from(request.page_size) {
            Ok(0) => DEFAULT_PAGE_SIZE,
            Ok(size) => size.min(MAX_PAGE_SIZE),
            Err(_) => return Err(Error::field("page_size", "must not be negative")),
        };
        let after = last_name(&request.page_token)?;
        let catalog = self.catalog().await?;
        let who = &self.context.identity;
        let mut names = catalog
            .names()
            .iter()
            .filter(|name| ***name > *after && who.may_use(name))
            .peekable();
        let mut models = Vec::new();
        while models.len() < page_size
            && let Some(name) = names.next()
        {
            models.extend(self.describe(&catalog, name));
        }
        let last = models.last().filter(|_| names.peek().is_some());
        Ok(ListModelsResponse {
            next_page_token: last.map_or_else(String::new, |last| page_token(&last.name)),
            models,
        })
    }

    async fn model(&self, name: &str) -> Result<GetModelResponse, Error> {
        if name.is_empty() {
            return Err(Error::field("name", "is empty; name a model"));
        }
        self.context.identity.check_model(name)?;
        let model = self.describe(&self.catalog().await?, name);
        let model = model.ok_or_else(unknown)?;
        Ok(GetModelResponse { model: Some(model) })
    }

    /// The models. Servers may have to be asked for theirs first.
    async fn catalog(&self) -> Result<ModelCatalog, Error> {
        let catalog = timeout_at(self.deadline(), self.relay.models()).await;
        catalog.map_err(|_| call_clock::too_late())
    }

    fn deadline(&self) -> Instant {
        let context = &self.context;
        context.at + context.timeout(self.settings.unary_timeout, &self.settings)
    }

    fn describe(&self, catalog: &ModelCatalog, name: &str) -> Option<pb::Model> {
        let CallContext {
            identity, passing, ..
        } = &*self.context;
        catalog.describe(name, identity, passing).map(model)
    }

    /// Charges the response until the caller has read it, and records the call.
    fn finish<T>(
        &self,
        response: Result<T, Error>,
        encoded_len: impl FnOnce(&T) -> usize,
    ) -> Result<Response<T>, Status> {
        let context = &self.context;
        let charged = response.and_then(|response| {
            // The message and its encoded form exist at the same time.
            let bytes = 2 * encoded_len(&response);
            self.memory.answer(bytes.saturating_sub(memory::CALL))?;
            Ok(response)
        });
        let unread = UnreadModels {
            deadline: self.deadline(),
        };
        context.clock.hold(Box::new(unread), &self.memory);
        let error = charged.as_ref().err();
        self.relay.record(context.report(), context.at, error);
        charged
            .map(Response::new)
            .map_err(|error| status::status(&error, &context.request_id, false))
    }
}

/// A response that is not completely read.
#[derive(Debug)]
struct UnreadModels {
    deadline: Instant,
}

impl PendingCall for UnreadModels {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn end_at_deadline(self: Box<Self>) -> Error {
        call_clock::too_late()
    }

    fn end(self: Box<Self>, error: Error) -> Error {
        error
    }
}

/// The error of a model that is not listed.
fn unknown() -> Error {
    let message = "name: this model is not known; ListModels returns those that are. Other models \
                   of DashScope can be used, although the gateway has no description of them";
    Error::new(Reason::ModelNotFound, message).with_violation(Violation {
        field: "name".to_owned(),
        description: "is not the name of a known model; use a name from ListModels".to_owned(),
    })
}

/// The token of the page after this name. It is independent of the configuration, so that a reload
/// between two pages repeats and skips no model that was there before and after.
fn page_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// The last name of the previous page; empty before the first page.
fn last_name(token: &str) -> Result<String, Error> {
    let decoded = URL_SAFE_NO_PAD.decode(token).ok();
    let name = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| {
        let fix = "is not a token of ListModels; send the next_page_token of the previous page";
        Error::field("page_token", fix)
    })
}

fn model(model: ModelInfo) -> pb::Model {
    let kinds = model.upstream_kinds.into_iter().map(upstream_kind);
    let modalities = |list: &[ModelModality]| {
        let list = list.iter().map(|one| modality(*one).into());
        list.collect()
    };
    let names = model.fallbacks.iter().map(|name| name.as_ref().to_owned());
    pb::Model {
        name: model.name.as_ref().to_owned(),
        upstream_model: model.upstream_model.as_ref().to_owned(),
        fallbacks: names.collect(),
        upstream_kinds: kinds.map(i32::from).collect(),
        input_modalities: modalities(model.input),
        output_modalities: modalities(model.output),
        stream_only: model.stream_only,
        limits: Some(limits(&model.limits)),
        health: Some(health(model.health)),
    }
}

fn limits(limits: &ModelLimits) -> pb::ModelLimits {
    pb::ModelLimits {
        max_call_duration: Some(duration(limits.call)),
        first_event_timeout: Some(duration(limits.first_event)),
        idle_timeout: Some(duration(limits.idle)),
        max_audio_duration: limits.audio.map(duration),
        max_request_bytes: i64::try_from(limits.request_bytes).unwrap_or(i64::MAX),
        max_calls_in_flight: limits
            .in_flight
            .map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)),
        max_context_tokens: limits
            .context_tokens
            .map(|tokens| i32::try_from(tokens).unwrap_or(i32::MAX)),
    }
}

fn health(health: ModelHealth) -> pb::ModelHealth {
    let state = match health.state {
        ModelState::Available => pb::ModelState::Available,
        ModelState::Limited => pb::ModelState::Limited,
        ModelState::Unavailable => pb::ModelState::Unavailable,
    };
    pb::ModelHealth {
        state: state.into(),
        retry_after: health.retry_after.map(duration),
    }
}

fn upstream_kind(kind: UpstreamKind) -> pb::UpstreamKind {
    match kind {
        UpstreamKind::DashScope => pb::UpstreamKind::Dashscope,
        UpstreamKind::DashScopeCompatible => pb::UpstreamKind::DashscopeCompatible,
        UpstreamKind::OpenAi => pb::UpstreamKind::Openai,
    }
}

fn modality(modality: ModelModality) -> pb::Modality {
    match modality {
        ModelModality::Text => pb::Modality::Text,
        ModelModality::Audio => pb::Modality::Audio,
        ModelModality::Image => pb::Modality::Image,
        ModelModality::Video => pb::Modality::Video,
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Settings have far smaller durations.
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    })
}
