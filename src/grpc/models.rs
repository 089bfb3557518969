//! `dashgate.v1.ModelService`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use crate::chat::model::{ModelHealth, ModelLimits, ModelModality, ModelState};
use crate::error::{Error, Reason, Violation};
use crate::memory::CallMemory;
use crate::relay::Relay;
use crate::relay::models::{ModelCatalog, ModelInfo, UpstreamKind};
use crate::server::call_clock;

use super::call_context::CallContext;
use super::config::GrpcConfig;
use super::pb;
use super::pb::model_service_server::ModelService;
use super::pb::{GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse};
use super::{page, small_response};

/// The default and the maximum number of models in a page. Most gateways have fewer; with names of
/// usual length, the message is below 100 KB.
const PAGE_SIZE: (u32, u32) = (100, 200);

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
        self.finish(page)
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        let model = self.model(&request.into_inner().name).await;
        self.finish(model)
    }
}

impl Models {
    async fn page(&self, request: &ListModelsRequest) -> Result<ListModelsResponse, Error> {
        let page_size = page::size(request.page_size, PAGE_SIZE)?;
        let after = page::after(&request.page_token, |name| Some(name.to_owned()))?;
        let after = after.unwrap_or_default();
        let catalog = self.catalog().await?;
        let who = &self.context.identity;
        let mut names = catalog
            .names()
            .iter()
            .filter(|name| ***name > *after && who.may_use(name))
            .peekable();
        let mut models = Vec::new();
        while models.len() < usize::try_from(page_size).unwrap_or(usize::MAX)
            && let Some(name) = names.next()
        {
            models.extend(self.describe(&catalog, name));
        }
        let last = models.last().filter(|_| names.peek().is_some());
        Ok(ListModelsResponse {
            next_page_token: page::token(last.map(|last| last.name.clone())),
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

    fn finish<T: prost::Message>(&self, response: Result<T, Error>) -> Result<Response<T>, Status> {
        let of = (&*self.context, self.deadline());
        small_response::finish(response, of, (&self.relay, &self.memory))
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
