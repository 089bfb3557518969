//! The models that callers can ask for, with what is known of each: for lists of models. Nothing
//! here decides about a call.

mod known;
pub(super) mod names;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::callers::Identity;
use crate::chat::call::{Delivery, Passing};
use crate::chat::model::{ModelHealth, ModelLimits, ModelModality, ModelState};
use crate::error::Kind;
pub use crate::upstream::UpstreamKind;

use super::accounts::choice::Choice;
use super::accounts::{Availability, Subject};
use super::{Plan, Relay, routes};
use known::KnownModel;
use names::CatalogModels;

/// What is known of a model.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name that callers send.
    pub name: Arc<str>,
    /// The model that is used, after the mapping of aliases.
    pub upstream_model: Arc<str>,
    /// The models that are tried next.
    pub fallbacks: Vec<Arc<str>>,
    /// The kinds of upstream that serve it.
    pub upstream_kinds: Vec<UpstreamKind>,
    /// What it accepts. Empty: not known.
    pub input: &'static [ModelModality],
    /// What it generates. Empty: not known.
    pub output: &'static [ModelModality],
    /// Whether it is known to support only streams.
    pub stream_only: bool,
    /// The limits of a call.
    pub limits: ModelLimits,
    /// The state for this caller.
    pub health: ModelHealth,
}

/// The models of one configuration.
pub struct ModelCatalog {
    plan: Arc<Plan>,
    models: Arc<CatalogModels>,
}

impl Relay {
    /// The models that callers can ask for, in the current configuration. Servers whose models are
    /// not configured are asked for them, at most once a minute and for a limited time.
    pub async fn models(&self) -> ModelCatalog {
        let plan = self.plan();
        let listed = plan.asker.accounts.listed_models().await;
        ModelCatalog {
            models: plan.names.with(listed, &plan.asker),
            plan,
        }
    }
}

impl ModelCatalog {
    /// The names, sorted.
    pub fn names(&self) -> &[Arc<str>] {
        &self.models.names
    }

    /// What is known of the model with this name, for this caller. `None` if it is not listed.
    pub fn describe(&self, name: &str, who: &Identity, passing: &Passing) -> Option<ModelInfo> {
        let names = &self.models.names;
        let at = names.binary_search_by(|other| (**other).cmp(name));
        let name = names.get(at.ok()?)?;
        let asker = &self.plan.asker;
        let mut candidates = asker.routes.candidates(name).into_iter();
        let upstream_model = candidates.next()?;
        let fallbacks: Vec<_> = candidates.collect();
        let upstream_kinds = asker.accounts.kinds(&upstream_model);
        let known = known::find(&upstream_model)
            .filter(|model| upstream_kinds.iter().any(|kind| model.is_served_by(*kind)));
        let delivery = asker
            .routes
            .delivery(&upstream_model, who.caller, Delivery::Whole);
        Some(ModelInfo {
            name: Arc::clone(name),
            input: known.map_or(&[], |known| known.input),
            output: known.map_or(&[], |known| known.output),
            stream_only: delivery == Delivery::Stream
                || known.is_some_and(|known| known.stream_only),
            limits: self.limits(name, &upstream_model, known),
            health: self.health(name, (&upstream_model, &fallbacks), (who, passing)),
            upstream_model,
            fallbacks,
            upstream_kinds,
        })
    }

    /// The limits of a call, some of which depend on the name that the caller sends.
    fn limits(&self, name: &str, model: &str, known: Option<&KnownModel>) -> ModelLimits {
        let (settings, asker) = (&self.plan.settings, &self.plan.asker);
        let routes = &asker.routes;
        let of_name = settings.model_in_flight.iter();
        let mut of_name = of_name.filter(|(glob, _)| routes::matches(glob, name));
        let call = routes.timeout(name).unwrap_or(settings.max_timeout);
        let first_event = routes.first_event_timeout(model);
        let request_bytes = routes.max_request_bytes(model);
        ModelLimits {
            call: call.min(settings.max_timeout),
            first_event: first_event.unwrap_or(asker.first_event_timeout),
            idle: settings.idle_timeout,
            audio: routes.audio_limit(model),
            request_bytes: request_bytes.unwrap_or_else(|| {
                let of_dashscope = asker.max_request_bytes;
                asker.accounts.max_request_bytes(model, of_dashscope)
            }),
            in_flight: of_name.next().map(|(_, limit)| *limit),
            context_tokens: known
                .and_then(|known| known.context_tokens)
                .or_else(|| self.models.context_tokens.get(model).copied()),
        }
    }

    /// The state of a model and its fallbacks, as a call of this caller would find it.
    fn health(
        &self,
        name: &str,
        (model, fallbacks): (&Arc<str>, &[Arc<str>]),
        (who, passing): (&Identity, &Passing),
    ) -> ModelHealth {
        if self.plan.is_full(name) {
            return state(ModelState::Limited);
        }
        let accounts = &self.plan.asker.accounts;
        // A call with a DashScope key of its own uses no account.
        if passing.api_key.is_some() {
            return match accounts.serve_dashscope(model) {
                true => state(ModelState::Available),
                false => state(ModelState::Unavailable),
            };
        }
        let now = Instant::now();
        let mut soonest: Option<(Duration, Kind)> = None;
        for candidate in std::iter::once(model).chain(fallbacks) {
            let subject = Subject {
                choice: Choice::new((who.caller, who.share), passing, candidate),
                voter: who.name().cloned(),
            };
            let Availability { able, paused } = accounts.availability(&subject, now);
            match (able, paused) {
                (true, None) if Arc::ptr_eq(candidate, model) => {
                    return state(ModelState::Available);
                }
                (true, _) => return state(ModelState::Limited),
                (false, Some(away)) => {
                    let goes_on = routes::falls_back(&away.error);
                    if soonest.is_none_or(|(wait, _)| away.wait < wait) {
                        soonest = Some((away.wait, away.error.kind()));
                    }
                    if !goes_on {
                        break;
                    }
                }
                // No account serves it, so the next one is tried.
                (false, None) => {}
            }
        }
        let paused = match soonest {
            Some((_, Kind::Exhausted)) => ModelState::Limited,
            _ => ModelState::Unavailable,
        };
        ModelHealth {
            retry_after: soonest.map(|(wait, _)| wait),
            ..state(paused)
        }
    }
}

fn state(state: ModelState) -> ModelHealth {
    ModelHealth {
        state,
        retry_after: None,
    }
}
