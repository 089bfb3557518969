//! A configured account at DashScope.

use crate::dashscope::DashScope;

/// An account at DashScope.
#[derive(Clone, Debug)]
pub struct Account {
    /// The configured name, for logs and metrics. Never the API key.
    pub name: String,
    /// The client.
    pub dashscope: DashScope,
    /// The weight in the distribution of calls.
    pub weight: u32,
    /// The rate limits of its models; the first pattern that matches applies, `*` matches any
    /// characters.
    pub limits: Vec<(String, Limit)>,
}

/// The rate limits of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Calls per minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, input and output.
    pub tokens_per_minute: Option<u32>,
}

impl Limit {
    /// The calls per minute of a token bucket, in which 0 is no limit.
    pub(super) fn requests(self) -> u64 {
        self.requests_per_minute.map_or(0, u64::from)
    }

    /// The tokens per minute of a token bucket, in which 0 is no limit.
    pub(super) fn tokens(self) -> u64 {
        self.tokens_per_minute.map_or(0, u64::from)
    }
}

impl Account {
    /// Whether the other account has the same configuration.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.weight == other.weight
            && self.limits == other.limits
            && self.dashscope.is_same(&other.dashscope)
    }
}
