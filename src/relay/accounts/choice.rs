//! What a caller chose for a call.

use std::sync::Arc;

use crate::chat::call::{Call, Caller, Passing};

/// What a caller chose for a call. Errors caused by it affect no other choice and no other caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::relay) struct Choice {
    /// The caller.
    pub(in crate::relay) caller: Caller,
    /// Distinguishes callers without credentials by their origin.
    pub(super) share: Caller,
    /// The workspace, if the caller chose one.
    pub(super) workspace: Option<String>,
    /// The model of the request.
    pub(in crate::relay) model: Arc<str>,
}

impl Choice {
    /// The choice of a call, for one of its candidate models.
    pub(in crate::relay) fn of(call: &Call, model: &Arc<str>) -> Self {
        Self::new((call.caller, call.share), &call.passing, model)
    }

    /// The choice of a caller for a model.
    pub(in crate::relay) fn new(
        (caller, share): (Caller, Caller),
        passing: &Passing,
        model: &Arc<str>,
    ) -> Self {
        Self {
            caller,
            share,
            workspace: passing.workspace.clone(),
            model: Arc::clone(model),
        }
    }
}
