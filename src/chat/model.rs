//! Properties of a model, for lists of models.

use std::time::Duration;

/// A modality of the input or output of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelModality {
    /// Text.
    Text,
    /// Audio.
    Audio,
    /// Images.
    Image,
    /// Video.
    Video,
}

/// The limits of a call of a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelLimits {
    /// The maximum duration of a call.
    pub call: Duration,
    /// How long the upstream may take to begin a stream.
    pub first_event: Duration,
    /// How long the upstream may pause during a stream.
    pub idle: Duration,
    /// The maximum duration of one audio, if known.
    pub audio: Option<Duration>,
    /// The maximum request body.
    pub request_bytes: usize,
    /// The maximum number of calls in flight, if it has a limit of its own.
    pub in_flight: Option<usize>,
    /// The tokens of input and output together, if known.
    pub context_tokens: Option<u32>,
}

/// The state of a model for one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelHealth {
    /// The state.
    pub state: ModelState,
    /// When calls are sent again, if none are sent now.
    pub retry_after: Option<Duration>,
}

/// Whether calls of a model are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// They are.
    Available,
    /// Some are not.
    Limited,
    /// None are, after errors.
    Unavailable,
}
