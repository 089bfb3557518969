//! What happens while there is no activity.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Reason};

/// How often silence is sent to keep a session alive. DashScope ends it after 300 seconds.
const SILENCE_INTERVAL: Duration = Duration::from_secs(60);

/// What the gateway does while there is no activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Sends silence, for this long after the last activity; then ends the session.
    KeepAlive(Duration),
    /// Ends the session after this long.
    EndAfter(Duration),
}

impl IdlePolicy {
    fn limit(self) -> Duration {
        match self {
            Self::KeepAlive(limit) | Self::EndAfter(limit) => limit,
        }
    }
}

/// The activity of a session.
#[derive(Debug)]
pub(super) struct Idle {
    policy: Option<IdlePolicy>,
    last_activity: Instant,
    /// When audio was last sent to DashScope.
    last_audio: Instant,
}

/// What is due.
#[derive(Debug)]
pub(super) enum IdleStep {
    /// Silence is to be sent.
    Silence,
    /// The session ends.
    End(Error),
}

impl Idle {
    /// A session that starts now.
    pub(super) fn new(policy: Option<IdlePolicy>, now: Instant) -> Self {
        Self {
            policy,
            last_activity: now,
            last_audio: now,
        }
    }

    /// Somebody spoke.
    pub(super) fn active(&mut self, now: Instant) {
        self.last_activity = now;
        self.last_audio = now;
    }

    /// Audio was sent, which may be silence.
    pub(super) fn sent_audio(&mut self, now: Instant) {
        self.last_audio = now;
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let policy = self.policy?;
        let end = self.last_activity + policy.limit();
        Some(match policy {
            IdlePolicy::KeepAlive(_) => end.min(self.last_audio + SILENCE_INTERVAL),
            IdlePolicy::EndAfter(_) => end,
        })
    }

    /// What is due now.
    pub(super) fn step(&mut self, now: Instant) -> Option<IdleStep> {
        let policy = self.policy?;
        if now >= self.last_activity + policy.limit() {
            let limit = policy.limit();
            let message = format!("no activity for {limit:?}, the limit of `idle_policy`");
            return Some(IdleStep::End(Error::new(Reason::SessionIdle, message)));
        }
        let is_due = now >= self.last_audio + SILENCE_INTERVAL;
        (matches!(policy, IdlePolicy::KeepAlive(_)) && is_due).then(|| {
            self.last_audio = now;
            IdleStep::Silence
        })
    }
}
