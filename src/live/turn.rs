//! The caller's turn: whether it speaks, and whether something that it said is still unanswered.

use tokio::time::Instant;

/// The caller's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Whether audio was sent after the last turn ended.
    pub(super) has_audio: bool,
    /// Whether speech has started and not stopped.
    pub(super) is_speaking: bool,
    /// Since when a response is awaited.
    pub(super) awaited: Option<Instant>,
    /// Whether the caller requested the awaited response.
    pub(super) is_requested: bool,
    /// Whether the awaited response is to be cancelled when it starts.
    pub(super) cancel_awaited: bool,
    /// The first byte of a sample whose second byte has not come.
    pub(super) odd_byte: Option<u8>,
}

impl Turn {
    /// Speech has started.
    pub(super) fn started(&mut self) {
        self.is_speaking = true;
    }

    /// Speech has stopped. It is a turn that will be answered, or it is none.
    pub(super) fn stopped(&mut self, is_answered: bool, now: Instant) {
        self.is_speaking = false;
        self.has_audio = false;
        if is_answered {
            self.awaited = Some(now);
            self.is_requested = false;
        }
    }

    /// The caller has requested a response.
    pub(super) fn requested(&mut self, now: Instant) {
        self.awaited = Some(now);
        self.is_requested = true;
    }

    /// The awaited response has started.
    pub(super) fn answered(&mut self) {
        self.awaited = None;
    }

    /// No response will come.
    pub(super) fn unanswered(&mut self) {
        self.awaited = None;
        self.cancel_awaited = false;
    }

    /// The state on a new connection, which has received nothing. Audio stays aligned to samples.
    pub(super) fn reconnected(&mut self) {
        *self = Self {
            odd_byte: self.odd_byte,
            ..Self::default()
        };
    }

    /// Whether nothing of the caller is unanswered, as far as is known.
    pub(super) fn is_answered(&self) -> bool {
        !self.is_speaking && self.awaited.is_none()
    }
}
