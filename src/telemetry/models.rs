//! The numbers of each model and caller, whose names are bounded in number.
//!
//! A name of a model comes from callers, so a new one is learned only when DashScope has answered
//! by it, or when the operator's settings name it: made-up names can neither fill the memory nor
//! push out the real ones. What has no place of its own is counted as `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus::{CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::prices::{Card, Rate};
use super::token_counts::{self, Tokens};

/// The most models with numbers of their own. An operator uses about ten.
const MAX_MODELS: usize = 64;

/// The most pairs of a model and a caller with numbers of their own: with ten series each, about
/// half a megabyte of text at a scrape.
const MAX_PAIRS: usize = 512;

/// The longest name that becomes a label.
const MAX_NAME: usize = 64;

/// What has no place of its own.
pub(super) const OTHER: &str = "other";

/// A caller that nobody named.
pub(super) const ANONYMOUS: &str = "anonymous";

/// The families that models have numbers in.
pub(super) struct Families {
    /// Times to the first token.
    pub(super) first_token: HistogramVec,
    /// Times between pieces.
    pub(super) chunk: HistogramVec,
    /// Tokens.
    pub(super) tokens: IntCounterVec,
    /// Costs.
    pub(super) cost: CounterVec,
}

/// All models.
pub(super) struct Models {
    families: Families,
    card: Card,
    known: RwLock<HashMap<Box<str>, Arc<Model>>>,
    other: Arc<Model>,
    pairs: AtomicUsize,
}

/// The numbers of one model.
pub struct Model {
    name: Box<str>,
    /// Times to the first token.
    pub first_token: Histogram,
    /// Times between pieces.
    pub chunk: Histogram,
    /// Calls that went well, once there are some.
    pub(super) answered: OnceLock<IntCounter>,
    rate: Option<Rate>,
    callers: RwLock<HashMap<Box<str>, Arc<Spent>>>,
    other: Spent,
}

/// What one caller used of one model. Made when it is first needed: most kinds never are.
#[derive(Default)]
struct Spent {
    tokens: [OnceLock<IntCounter>; token_counts::KINDS.len()],
    cost: OnceLock<prometheus::Counter>,
}

impl Models {
    /// Knows the models that the operator names, and no other.
    pub(super) fn new(families: Families, card: Card, named: &[String]) -> Self {
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

    /// The numbers of a model that DashScope has answered by.
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

    /// The label of a model.
    pub(super) fn label(&self, name: &str) -> Arc<Model> {
        self.find(name).unwrap_or_else(|| Arc::clone(&self.other))
    }

    fn find(&self, name: &str) -> Option<Arc<Model>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    /// Counts what an answer used. A model without numbers of its own still has its own rate.
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

    /// The numbers of a caller at a model, if there is room for them.
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

    /// The name that it is counted under.
    pub fn name(&self) -> &str {
        &self.name
    }
}
