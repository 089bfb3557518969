//! The sessions that run, by their ids, so that a stream can resume one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::callers::api_key::Digest;
use crate::chat::call::Caller;
use crate::chat::live_session::LiveTask;
use crate::error::{Error, Reason};
use crate::memory;
use crate::secret::Secret;

use super::event::SessionStarted;
use super::inputs::InputReceiver;
use super::resume_journal::Journal;
use super::stop::{Stop, shutting_down};

/// The maximum number of sessions that have ended and can still be read. Beyond it, a session that
/// ends can be read only by the stream that reads it.
const MAX_ENDED: usize = 1024;

/// All sessions that run, and those that have ended and can still be read. Running ones are bounded
/// by the limit of calls in flight, because each holds a permit.
#[derive(Debug, Default)]
pub(super) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<Arc<str>, Arc<Entry>>,
    /// The number of those that have ended.
    ended: usize,
    /// How sessions that begin now will end, once the gateway shuts down.
    stop: Option<Stop>,
}

/// A stream that resumes a session.
#[derive(Debug)]
pub(super) struct Resumption {
    /// Its input.
    pub(super) inputs: InputReceiver,
    /// The deadline of its call, which replaces that of the stream before.
    pub(super) deadline: Instant,
}

/// A session that runs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The hash of its resume token. The token itself is not stored.
    token: Digest,
    owner: Caller,
    /// Whether it is a conversation.
    pub(super) converses: bool,
    /// Its journal.
    pub(super) journal: Journal,
    /// Takes the streams that resume.
    pub(super) resume: mpsc::Sender<Resumption>,
    /// Ends it.
    stop: watch::Sender<Stop>,
    /// What its caller received when it started, without the token.
    pub(super) started: OnceLock<SessionStarted>,
    /// The bytes of the queue of its input.
    pub(super) input_bytes: usize,
}

/// A session's id, and its entry until it is dropped.
pub(super) struct Ticket {
    /// The id.
    pub(super) session_id: Arc<str>,
    has_ended: bool,
    registry: Weak<Registry>,
}

/// A session that is to be entered.
pub(super) struct NewEntry<'a> {
    pub(super) owner: Caller,
    pub(super) task: &'a LiveTask,
    pub(super) journal: Journal,
    pub(super) resume: mpsc::Sender<Resumption>,
    pub(super) stop: watch::Sender<Stop>,
    pub(super) input_bytes: usize,
}

impl Entry {
    /// Ends the session, unless it is already ending.
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|known| {
            if matches!(known, Stop::Now(_)) {
                return false;
            }
            *known = stop;
            true
        });
    }
}

impl memory::Cancel for Entry {
    fn cancel(&self) {
        self.stop(Stop::Now(memory::full()));
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a session under a new id, with a new token.
    pub(super) fn enter(self: &Arc<Self>, new: NewEntry<'_>) -> (Ticket, Secret, Arc<Entry>) {
        let session_id: Arc<str> = format!("live_{}", Uuid::new_v4().simple()).into();
        let token = Uuid::new_v4().simple().to_string();
        let entry = Arc::new(Entry {
            token: Digest::of(&token),
            owner: new.owner,
            converses: matches!(new.task, LiveTask::Converse(_)),
            journal: new.journal,
            resume: new.resume,
            stop: new.stop,
            started: OnceLock::new(),
            input_bytes: new.input_bytes,
        });
        let mut sessions = self.lock();
        if let Some(stop) = &sessions.stop {
            entry.stop(stop.clone());
        }
        let id = Arc::clone(&session_id);
        sessions.by_id.insert(id, Arc::clone(&entry));
        drop(sessions);
        let ticket = Ticket {
            session_id,
            has_ended: false,
            registry: Arc::downgrade(self),
        };
        (ticket, Secret::new(token), entry)
    }

    /// The session of this id, for its owner, who shows its token. Who shows another one learns
    /// nothing.
    pub(super) fn find(&self, id: &str, token: &str, owner: Caller) -> Result<Arc<Entry>, Error> {
        let entry = self.lock().by_id.get(id).cloned();
        let shown = Digest::of(token);
        let is_its_own = |entry: &Arc<Entry>| entry.owner == owner && entry.token.matches(&shown);
        entry.filter(is_its_own).ok_or_else(|| {
            let message = "there is no such live session, or the token is not its own; it may \
                           have ended, or run at another replica";
            Error::new(Reason::SessionNotFound, message)
        })
    }

    /// Announces the shutdown, which comes after this time, to all sessions.
    pub(super) fn drain(&self, time_left: Duration) {
        let until = Instant::now() + time_left;
        self.stop_all(&Stop::Drain(until));
    }

    /// Ends all sessions.
    pub(super) fn shut_down(&self) {
        self.stop_all(&Stop::Now(shutting_down()));
    }

    fn stop_all(&self, stop: &Stop) {
        let mut sessions = self.lock();
        sessions.stop = Some(stop.clone());
        for entry in sessions.by_id.values() {
            entry.stop(stop.clone());
        }
    }
}

impl Ticket {
    /// The session has ended. Returns whether it can still be read by streams that resume.
    pub(super) fn end(&mut self) -> bool {
        let Some(registry) = self.registry.upgrade() else {
            return false;
        };
        let mut sessions = registry.lock();
        if self.has_ended || sessions.ended >= MAX_ENDED {
            return false;
        }
        sessions.ended += 1;
        self.has_ended = true;
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            let mut sessions = registry.lock();
            sessions.by_id.remove(&self.session_id);
            if self.has_ended {
                sessions.ended = sessions.ended.saturating_sub(1);
            }
        }
    }
}
