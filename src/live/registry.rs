//! The sessions that run, by their ids, so that a stream can resume one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::chat::call::Caller;
use crate::chat::live_session::LiveTask;
use crate::error::{Error, Reason};
use crate::secret::Secret;

use super::event::SessionStarted;
use super::inputs::InputReceiver;
use super::journal::Journal;
use super::stop::Stop;

/// All sessions that run. Bounded by the limit of calls in flight, because each holds a permit, and
/// by the time for which sessions that have ended can be read.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: Mutex<HashMap<Arc<str>, Arc<Entry>>>,
}

/// A session that runs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The hash of its resume token.
    token: Digest,
    owner: Caller,
    /// Whether it is a conversation.
    pub(super) converses: bool,
    /// Its journal.
    pub(super) journal: Journal,
    /// Takes the input of a stream that resumes.
    pub(super) inputs: mpsc::Sender<InputReceiver>,
    /// Ends it.
    pub(super) stop: watch::Sender<Stop>,
    /// What was reported to its caller when it started.
    pub(super) started: Mutex<Option<SessionStarted>>,
    /// The bytes of the queue of its input.
    pub(super) input_bytes: usize,
}

/// A session's id and token, and its entry until it is dropped.
pub(super) struct Ticket {
    /// The id.
    pub(super) session_id: Arc<str>,
    /// The secret.
    pub(super) token: Secret,
    registry: Weak<Registry>,
}

/// A session that is to be entered.
pub(super) struct NewEntry<'a> {
    pub(super) owner: Caller,
    pub(super) task: &'a LiveTask,
    pub(super) journal: Journal,
    pub(super) inputs: mpsc::Sender<InputReceiver>,
    pub(super) stop: watch::Sender<Stop>,
    pub(super) input_bytes: usize,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Entry>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session under a new id, with a new token.
    pub(super) fn enter(self: &Arc<Self>, new: NewEntry<'_>) -> (Ticket, Arc<Entry>) {
        let session_id: Arc<str> = format!("live_{}", Uuid::new_v4().simple()).into();
        let token = Uuid::new_v4().simple().to_string();
        let entry = Arc::new(Entry {
            token: digest(&SHA256, token.as_bytes()),
            owner: new.owner,
            converses: matches!(new.task, LiveTask::Converse(_)),
            journal: new.journal,
            inputs: new.inputs,
            stop: new.stop,
            started: Mutex::new(None),
            input_bytes: new.input_bytes,
        });
        self.lock()
            .insert(Arc::clone(&session_id), Arc::clone(&entry));
        let ticket = Ticket {
            session_id,
            token: Secret::new(token),
            registry: Arc::downgrade(self),
        };
        (ticket, entry)
    }

    /// The session of this id, for its owner, who shows its token. Who shows another one learns
    /// nothing.
    pub(super) fn find(&self, id: &str, token: &str, owner: Caller) -> Result<Arc<Entry>, Error> {
        let entry = self.lock().get(id).cloned();
        let shown = digest(&SHA256, token.as_bytes());
        let is_its_own = |entry: &Arc<Entry>| {
            entry.owner == owner
                && verify_slices_are_equal(entry.token.as_ref(), shown.as_ref()).is_ok()
        };
        entry.filter(is_its_own).ok_or_else(|| {
            let message = "there is no such live session, or the token is not its own; it may \
                           have ended, or run at another replica";
            Error::new(Reason::SessionNotFound, message)
        })
    }

    /// All sessions that run.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }
}

impl Ticket {
    /// Waits until a stream has read everything, or for this long.
    pub(super) async fn linger(&self, journal: &Journal, window: Duration) {
        let until = Instant::now() + window;
        while !journal.is_drained() && Instant::now() < until {
            tokio::select! {
                () = journal.changed() => {}
                () = tokio::time::sleep_until(until) => break,
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.lock().remove(&self.session_id);
        }
    }
}
