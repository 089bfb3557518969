//! The calls in flight, as the admin port shows them.

use serde::{Deserialize, Serialize};

/// All calls in flight.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Calls {
    /// The calls, the oldest first.
    pub calls: Vec<InFlight>,
}

/// A call in flight.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct InFlight {
    /// The request id.
    pub request_id: String,
    /// The method.
    pub method: String,
    /// The model that answers, or else that was requested.
    pub model: String,
    /// The caller, if callers have names.
    pub caller: Option<String>,
    /// Age in seconds.
    pub age_seconds: f64,
    /// `asking` before the first event, then `answering`; `joined` to another call with the same
    /// request id; `uploading`; `ending`. Of a live session: `asking`, `live`, and `away` while its
    /// caller may resume it.
    pub state: String,
    /// Attempts at DashScope.
    pub attempts: u32,
    /// Chunks of the answer so far.
    pub chunks: u64,
    /// Input tokens, once DashScope has reported them.
    pub input_tokens: Option<i32>,
    /// Output tokens so far, as DashScope reports them.
    pub output_tokens: Option<i32>,
    /// Bytes uploaded so far.
    pub uploaded_bytes: u64,
    /// Seconds of the caller's audio so far, in a live session.
    #[serde(default)]
    pub input_audio_seconds: f64,
    /// Seconds of the audio of responses so far, in a live session.
    #[serde(default)]
    pub output_audio_seconds: f64,
}
