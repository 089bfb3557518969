//! The end of a session that its caller has requested.

use std::time::Duration;

use tokio::time::Instant;

/// The end of a session that the caller has requested.
#[derive(Debug, Default)]
pub(super) struct Finish {
    /// Until when unnoticed speech is awaited, once the caller has finished.
    pub(super) speech_until: Option<Instant>,
    /// The length of the caller's audio on this connection, once the caller has finished.
    pub(super) audio_end: Duration,
    /// When the caller finished.
    pub(super) begun: Option<Instant>,
    /// Until when DashScope may confirm the end, once it was asked for it.
    pub(super) asked_until: Option<Instant>,
}

impl Finish {
    /// Whether the caller has finished.
    pub(super) fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether DashScope was asked to end the session.
    pub(super) fn is_asked(&self) -> bool {
        self.asked_until.is_some()
    }

    /// DashScope has heard this much of the audio. All of the caller's: no other speech is awaited.
    pub(super) fn heard(&mut self, audio: Duration, now: Instant) {
        if audio >= self.audio_end
            && let Some(until) = &mut self.speech_until
        {
            *until = (*until).min(now);
        }
    }

    /// DashScope was asked to end the session, and will confirm.
    pub(super) fn asked(&mut self, now: Instant, limit: Duration) {
        self.asked_until = Some(now + limit);
    }
}
