//! Metrics per model and caller, whose label values are bounded.
//!
//! Model names come from callers, so a new one is added only when DashScope has answered for it, or
//! when the settings name it: made-up names can neither exhaust the memory nor displace real ones.
//! Further models are counted as `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::{CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::prices::{Rate, RateCard};
use super::token_counts::{self, Tokens};

/// The most models with metrics of their own, far above the usual ten.
const MAX_MODELS: usize = 64;

/// The most pairs of model and caller with metrics of their own: with ten series each, about half a
/// megabyte of text per scrape.
const MAX_PAIRS: usize = 512;

/// The longest name that becomes a label value.
const MAX_NAME: usize = 64;

/// The label value of further models and callers.
pub(super) const OTHER: &str = "other";

/// The label value of callers without a name.
pub(super) const ANONYMOUS: &str = "anonymous";

/// The metric families with a model label.
pub(super) struct Families {
    /// Time to first token.
    pub(super) first_token: HistogramVec,
    /// Time between chunks.
    pub(super) chunk: HistogramVec,
    /// Tokens.
    pub(super) tokens: IntCounterVec,
    /// Costs.
    pub(super) cost: CounterVec,
}

/// The metrics of all models.
pub(super) struct Models {
    families: Families,
    card: RateCard,
    known: RwLock<HashMap<Box<str>, Arc<Model>>>,
    other: Arc<Model>,
    pairs: AtomicUsize,
}

/// The metrics of one model.
pub struct Model {
    name: Box<str>,
    /// Time to first token.
    pub first_token: Histogram,
    /// Time between chunks.
    pub chunk: Histogram,
    /// Successful calls, once there is one.
    pub(super) answered: OnceLock<IntCounter>,
    rate: Option<Rate>,
    callers: RwLock<HashMap<Box<str>, Arc<Spent>>>,
    other: Spent,
}

/// What one caller used of one model. Counters are created on first use: most kinds never occur.
#[derive(Default)]
struct Spent {
    tokens: [OnceLock<IntCounter>; token_counts::KINDS.len()],
    cost: OnceLock<prometheus::Counter>,
}

impl Models {
    /// Starts with the models that the settings name.
    pub(super) fn new(families: Families, card: RateCard, named: &[String]) -> Self {
        let other = Arc::new(Model::new(&families, OTHER, None));
        let models = Self {
            families,
            card,
            known: RwLock::default(),
            other,
            pairs: AtomicUsize::new(0),
        };
        for name in named {
            models.learn(name);
        }
        models
    }

    /// The metrics of a model that DashScope has answered for.
    pub(super) fn learn(&self, name: &str) -> Arc<Model> {
        if let Some(model) = self.find(name) {
            return model;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = known.get(name) {
            return Arc::clone(model);
        }
        if name.is_empty() || name.len() > MAX_NAME || known.len() >= MAX_MODELS {
            return Arc::clone(&self.other);
        }
        let rate = self.card.rate(name);
        let model = Arc::new(Model::new(&self.families, name, rate));
        known.insert(name.into(), Arc::clone(&model));
        model
    }

    /// The metrics under which a model is counted.
    pub(super) fn label(&self, name: &str) -> Arc<Model> {
        self.find(name).unwrap_or_else(|| Arc::clone(&self.other))
    }

    fn find(&self, name: &str) -> Option<Arc<Model>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    /// Counts the tokens and costs of an answer. A model counted as `other` still has its own rate.
    pub(super) fn spend(&self, name: &str, model: &Model, caller: Option<&str>, used: &Tokens) {
        let caller = caller.unwrap_or(ANONYMOUS);
        if let Some(spent) = self.of_caller(model, caller) {
            return self.add(name, model, (caller, &spent), used);
        }
        self.add(name, model, (OTHER, &model.other), used);
    }

    fn add(&self, name: &str, model: &Model, (caller, spent): (&str, &Spent), used: &Tokens) {
        let counts = used.counts();
        for ((kind, count), slot) in token_counts::KINDS.iter().zip(counts).zip(&spent.tokens) {
            if count > 0 {
                let labels = [*kind, &model.name, caller];
                slot.get_or_init(|| self.families.tokens.with_label_values(&labels))
                    .inc_by(count);
            }
        }
        if let Some(rate) = model.rate.or_else(|| self.card.rate(name)) {
            let labels = [self.card.currency(), &model.name, caller];
            let cost = spent
                .cost
                .get_or_init(|| self.families.cost.with_label_values(&labels));
            cost.inc_by(rate.cost(used));
        }
    }

    /// The metrics of a caller for a model, unless the limit of pairs is reached.
    fn of_caller(&self, model: &Model, caller: &str) -> Option<Arc<Spent>> {
        let find = |callers: &HashMap<Box<str>, Arc<Spent>>| callers.get(caller).cloned();
        let found = find(&model.callers.read().unwrap_or_else(PoisonError::into_inner));
        if found.is_some() {
            return found;
        }
        let mut callers = model
            .callers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(spent) = find(&callers) {
            return Some(spent);
        }
        if caller.len() > MAX_NAME || self.pairs.fetch_add(1, Ordering::Relaxed) >= MAX_PAIRS {
            self.pairs.fetch_min(MAX_PAIRS, Ordering::Relaxed);
            return None;
        }
        let spent = Arc::new(Spent::default());
        callers.insert(caller.into(), Arc::clone(&spent));
        Some(spent)
    }
}

impl Model {
    fn new(families: &Families, name: &str, rate: Option<Rate>) -> Self {
        Self {
            name: name.into(),
            first_token: families.first_token.with_label_values(&[name]),
            chunk: families.chunk.with_label_values(&[name]),
            answered: OnceLock::new(),
            rate,
            callers: RwLock::default(),
            other: Spent::default(),
        }
    }

    /// The label value of the model.
    pub fn name(&self) -> &str {
        &self.name
    }
}
