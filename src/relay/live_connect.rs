//! The connection of a live session to DashScope: the choice of an account, and retries.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::chat::call::Passing;
use crate::chat::live_session::LiveSetup;
use crate::error::Error;
use crate::upstream::LiveSocket;

use super::accounts::{Lease, Subject};
use super::attempt::{AttemptContext, Attempts};
use super::retry::{self, Verdict, late, whose_key};

/// The attempts to connect a session.
pub(super) struct Course<'a> {
    pub(super) asker: &'a AttemptContext,
    pub(super) subject: &'a Subject,
    pub(super) passing: &'a Passing,
    pub(super) setup: &'a LiveSetup,
    pub(super) deadline: Instant,
    pub(super) attempts: Attempts,
}

impl Course<'_> {
    /// Connects at an account that can be used. Retries as the errors and the budget of all calls
    /// allow.
    pub(super) async fn connect(&mut self) -> Result<(Lease, LiveSocket), Error> {
        let Self { asker, subject, .. } = *self;
        let mut refused: Vec<String> = Vec::new();
        let mut tries = 0;
        let mut lease = match self.passing.api_key {
            Some(_) => asker.accounts.address(subject)?,
            None => asker.accounts.choose(subject, None, &[], Instant::now())?,
        };
        loop {
            tries += 1;
            let error = match self.attempt(&lease).await {
                Ok(socket) => {
                    lease.answered();
                    return Ok((lease, socket));
                }
                Err(error) => whose_key(error, self.passing),
            };
            let now = Instant::now();
            if lease.failed(&error, now) {
                refused.push(lease.name().to_owned());
                if let Ok(next) = asker.accounts.choose(subject, None, &refused, now) {
                    lease = next;
                    tries -= 1;
                    continue;
                }
            }
            let left = self.deadline.saturating_duration_since(now);
            let caller = subject.choice.caller;
            let pause = match retry::decide(asker.retry, &error, tries, left, fastrand::f64()) {
                Verdict::After(pause) if asker.budget.spend(caller) => pause,
                Verdict::After(_) | Verdict::No => return Err(error),
            };
            asker.telemetry.metrics.retried(error.reason());
            tokio::time::sleep(pause).await;
            if self.passing.api_key.is_none() {
                let next = asker.accounts.choose_other(subject, None, lease.name());
                lease = next.map_err(|_| error)?;
            }
        }
    }

    /// Opens one connection.
    async fn attempt(&self, lease: &Lease) -> Result<LiveSocket, Error> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let configured = self.asker.routes.first_event_timeout(&self.setup.model);
        let limit = configured.unwrap_or(self.asker.first_event_timeout);
        let until = self.deadline.min(Instant::now() + limit);
        let opening = lease.upstream().open_live(self.setup, self.passing);
        let opened = match tokio::time::timeout_at(until, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(late(limit)),
        };
        let failed = opened.as_ref().err();
        self.asker.telemetry.metrics.attempted(failed);
        opened
    }
}
