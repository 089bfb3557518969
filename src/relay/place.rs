//! What a call holds while it runs: a place among all calls, and its caller's place and tokens.

use crate::callers::account::Pass;
use crate::chat::usage::Usage;
use crate::error::{Error, Sent};

use super::admission::Permit;

/// A place among all calls, and one among those of the model if they are bounded.
pub(super) type Permits = (Permit, Option<Permit>);

/// All places of a call. Dropping it frees them.
pub(super) struct Place {
    pass: Pass,
    _permits: Option<Permits>,
}

impl Place {
    /// Of a call that was let in.
    pub(super) fn new(permits: Permits, pass: Pass) -> Self {
        Self {
            pass,
            _permits: Some(permits),
        }
    }

    /// The tokens alone, for the call that runs: its readers keep their places and pay nothing.
    pub(super) fn take_tokens(&mut self) -> Self {
        Self {
            pass: self.pass.take_tokens(),
            _permits: None,
        }
    }

    /// The caller pays for what DashScope counted. Where it counts no tokens, the estimate stays.
    pub(super) fn used(&mut self, usage: &Usage) {
        let parts = [usage.input_tokens, usage.output_tokens];
        let sum = || parts.iter().flatten().copied().reduce(i32::saturating_add);
        if let Some(tokens) = usage.total_tokens.or_else(sum) {
            self.pass.settle(u64::try_from(tokens).unwrap_or_default());
        }
    }

    /// The caller pays for this estimate of an answer that broke off, and no less than was
    /// reserved.
    pub(super) fn estimated(&mut self, tokens: u64) {
        self.pass.settle(tokens.max(self.pass.reserved()));
    }

    /// The caller pays nothing: another call paid, or no model did anything.
    pub(super) fn free(&mut self) {
        self.pass.settle(0);
    }

    /// The call failed. What may have run is paid for as it was thought.
    pub(super) fn failed(&mut self, error: &Error) {
        match error.sent() {
            Sent::No | Sent::Refused => self.free(),
            Sent::Maybe | Sent::Begun => {}
        }
    }
}
