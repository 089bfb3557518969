//! The calls in flight, as the operator sees them.

use serde::{Deserialize, Serialize};

/// All calls in flight at one moment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Calls {
    /// The oldest first.
    pub calls: Vec<InFlight>,
}

/// One call in flight.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct InFlight {
    /// Its name.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// The model that answers, or was asked for.
    pub model: String,
    /// Who calls, if callers have names.
    pub caller: Option<String>,
    /// How long it has been there.
    pub age_seconds: f64,
    /// `asking` before the first event, then `answering`; `joined` to another call of its name;
    /// `uploading`; `ending`.
    pub state: String,
    /// How often DashScope was asked.
    pub attempts: u32,
    /// The pieces of the answer so far.
    pub chunks: u64,
    /// The tokens of the question, as soon as DashScope has counted them.
    pub input_tokens: Option<i32>,
    /// The tokens of the answer so far, as DashScope counts.
    pub output_tokens: Option<i32>,
    /// The bytes of an upload so far.
    pub uploaded_bytes: u64,
}
