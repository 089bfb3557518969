//! The one record of a finished call. It holds no word of what was said.

use std::time::Duration;

use crate::error::{Kind, Reason};

/// How a call ended, and what it took.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The name of the call.
    pub request_id: String,
    /// The method that was called.
    pub method: &'static str,
    /// Who called; empty when callers have no names.
    pub caller: String,
    /// The model that the caller asked for.
    pub model: String,
    /// The model that answered, if it is another.
    pub answered_by: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How often DashScope was asked.
    pub attempts: u32,
    /// From arrival to the first event.
    pub first_event: Option<Duration>,
    /// From arrival to the end.
    pub total: Duration,
    /// DashScope's name of the call.
    pub upstream_request_id: String,
    /// DashScope's code, if it refused.
    pub upstream_code: String,
    /// Tokens in, as DashScope counted.
    pub input_tokens: Option<i32>,
    /// Tokens out, as DashScope counted.
    pub output_tokens: Option<i32>,
    /// Whether the answer was another call's with the same name.
    pub joined: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// With a complete answer.
    Ok,
    /// The caller went away.
    #[default]
    Cancelled,
    /// With a fault.
    Failed(Kind, Reason),
}

impl Outcome {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Failed(_, reason) => reason.name(),
        }
    }
}

impl Report {
    /// Writes it down: one line in the log. Faults that the operator must mend are warnings.
    pub fn write(&self) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "dashgate::call",
                    request_id = %self.request_id,
                    method = self.method,
                    caller = %self.caller,
                    model = %self.model,
                    answered_by = %self.answered_by,
                    outcome = self.outcome.name(),
                    attempts = self.attempts,
                    first_event_ms = self.first_event.map(millis),
                    total_ms = millis(self.total),
                    upstream_request_id = %self.upstream_request_id,
                    upstream_code = %self.upstream_code,
                    input_tokens = self.input_tokens,
                    output_tokens = self.output_tokens,
                    joined = self.joined,
                )
            };
        }
        match self.outcome {
            Outcome::Failed(Kind::Precondition | Kind::Broken | Kind::Unavailable, _) => {
                line!(warn);
            }
            Outcome::Ok | Outcome::Cancelled | Outcome::Failed(..) => line!(info),
        }
    }
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}
