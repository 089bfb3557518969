//! An account at DashScope, as the operator configured it.

use crate::dashscope::DashScope;

/// An account at DashScope.
#[derive(Clone, Debug)]
pub struct Account {
    /// The operator's name of it, for logs and metrics. Never its key.
    pub name: String,
    /// The way to it.
    pub dashscope: DashScope,
    /// How much it gets of what all get together.
    pub weight: u32,
    /// The rates of its models; the first pattern that fits holds, `*` stands for anything.
    pub limits: Vec<(String, Limit)>,
}

/// What an account may ask of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u32>,
}

impl Account {
    /// Whether the other one is configured in the same way.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.weight == other.weight
            && self.limits == other.limits
            && self.dashscope.is_same(&other.dashscope)
    }
}
