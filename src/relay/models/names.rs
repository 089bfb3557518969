//! The names of the models that callers can ask for. They are collected once for a configuration,
//! and again when a server lists other models.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::known;
use crate::relay::accounts::Listed;
use crate::relay::attempt::AttemptContext;

/// The names of models, and what servers report of them.
#[derive(Debug, Default)]
pub(super) struct CatalogModels {
    /// The names, sorted.
    pub(super) names: Vec<Arc<str>>,
    /// The tokens of input and output together, by model.
    pub(super) context_tokens: HashMap<Arc<str>, u32>,
}

/// The names of one configuration.
pub(in crate::relay) struct ModelNames {
    /// Those that are known without servers.
    configured: Arc<CatalogModels>,
    /// Those with the latest lists of servers.
    latest: Mutex<Option<(Vec<Listed>, Arc<CatalogModels>)>>,
}

impl ModelNames {
    /// The names of the configuration without wildcards, and DashScope's models, if an account
    /// serves them.
    pub(in crate::relay) fn new(model_names: &[String], asker: &AttemptContext) -> Self {
        let configured = model_names.iter().map(String::as_str);
        let configured = configured.filter(|name| !name.is_empty() && !name.contains('*'));
        let known = known::MODELS.iter().filter(|model| {
            let kinds = asker.accounts.kinds(model.name);
            kinds.into_iter().any(|kind| model.is_served_by(kind))
        });
        let names: BTreeSet<&str> = configured.chain(known.map(|model| model.name)).collect();
        let models = CatalogModels {
            names: served(names.into_iter().map(Arc::from), asker),
            context_tokens: HashMap::new(),
        };
        Self {
            configured: Arc::new(models),
            latest: Mutex::default(),
        }
    }

    /// The names, with those that servers list.
    pub(super) fn with(&self, listed: Vec<Listed>, asker: &AttemptContext) -> Arc<CatalogModels> {
        if listed.iter().all(|listed| listed.models().next().is_none()) {
            return Arc::clone(&self.configured);
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, models)) = &*latest
            && known.len() == listed.len()
            && known
                .iter()
                .zip(&listed)
                .all(|(one, other)| one.is_same(other))
        {
            return Arc::clone(models);
        }
        let models = Arc::new(self.joined(&listed, asker));
        *latest = Some((listed, Arc::clone(&models)));
        models
    }

    fn joined(&self, listed: &[Listed], asker: &AttemptContext) -> CatalogModels {
        let mut names: BTreeSet<Arc<str>> = self.configured.names.iter().cloned().collect();
        let mut context_tokens = HashMap::new();
        for model in listed.iter().flat_map(Listed::models) {
            names.insert(Arc::clone(&model.name));
            if let Some(tokens) = model.context_tokens {
                // Any of the servers may serve a call.
                let least = context_tokens.entry(Arc::clone(&model.name));
                let least = least.or_insert(tokens);
                *least = tokens.min(*least);
            }
        }
        CatalogModels {
            names: served(names.into_iter(), asker),
            context_tokens,
        }
    }
}

/// The names whose models, or a fallback of them, an account serves.
fn served(names: impl Iterator<Item = Arc<str>>, asker: &AttemptContext) -> Vec<Arc<str>> {
    let is_served = |name: &Arc<str>| {
        let candidates = asker.routes.candidates(name);
        let mut candidates = candidates.iter();
        candidates.any(|model| !asker.accounts.kinds(model).is_empty())
    };
    names.filter(is_served).collect()
}
