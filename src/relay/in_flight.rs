//! The list of all calls in flight, for the admin interface and for shutdown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use slab::Slab;
use tokio::sync::watch;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};
use crate::memory;
use crate::telemetry::in_flight::Calls as View;

use super::live_in_flight::LiveInFlight;
use super::reply::call_state::{self, CallState};
use super::uploads::progress::UploadInFlight;

/// All calls in flight.
#[derive(Default)]
pub(super) struct InFlightCalls {
    calls: LiveList<Mutex<CallState>>,
    uploads: Mutex<Vec<Weak<UploadInFlight>>>,
    sessions: LiveList<LiveInFlight>,
    /// Whether the remaining calls are ended.
    shut_down: watch::Sender<bool>,
}

impl InFlightCalls {
    /// Lists a call until the entry is dropped.
    pub(super) fn add(&self, call: &Arc<Mutex<CallState>>) -> LiveEntry<Mutex<CallState>> {
        let entry = self.calls.add(call);
        // Checked after the call is listed: shutdown sets this, then ends all that are listed.
        if *self.shut_down.borrow() {
            call_state::lock(call).end(shutting_down());
        }
        entry
    }

    /// Lists an upload for as long as it exists.
    pub(super) fn add_upload(&self, upload: &Arc<UploadInFlight>) {
        let mut uploads = self.uploads();
        // Bounded by the limit on calls in flight, because each holds a permit.
        uploads.retain(|upload| upload.strong_count() > 0);
        uploads.push(Arc::downgrade(upload));
    }

    /// Lists a live session until the entry is dropped.
    pub(super) fn add_session(&self, session: &Arc<LiveInFlight>) -> LiveEntry<LiveInFlight> {
        self.sessions.add(session)
    }

    /// All calls, uploads and live sessions in flight, the oldest first.
    pub(super) fn view(&self) -> View {
        let live = self.calls.live();
        let calls = live.iter().filter_map(|core| call_state::lock(core).view());
        let mut calls: Vec<_> = calls.collect();
        let uploads: Vec<_> = self.uploads().iter().filter_map(Weak::upgrade).collect();
        calls.extend(uploads.iter().map(|upload| upload.view()));
        let sessions = self.sessions.live();
        calls.extend(sessions.iter().map(|session| session.view()));
        calls.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
        View { calls }
    }

    /// Cancels calls of these callers until this many bytes will be released, and for no caller
    /// more than its excess over the fair share. Returns the number of cancelled calls. Each
    /// releases the base charge of a call.
    pub(super) fn relieve(&self, above: Vec<(Caller, usize)>, mut bytes: usize) -> u64 {
        let mut above: HashMap<_, _> = above.into_iter().collect();
        let mut ended = 0;
        for call in self.calls.live() {
            if bytes == 0 {
                break;
            }
            let mut call = call_state::lock(&call);
            let Some(more) = call.owner().and_then(|owner| above.get_mut(&owner)) else {
                continue;
            };
            if *more == 0 {
                continue;
            }
            *more = more.saturating_sub(memory::CALL);
            bytes = bytes.saturating_sub(memory::CALL);
            call.end(memory::full());
            ended += 1;
        }
        for session in self.sessions.live() {
            if bytes == 0 {
                break;
            }
            let more = above.get_mut(&session.owner).filter(|more| **more > 0);
            if let Some(more) = more
                && session.cancel()
            {
                *more = more.saturating_sub(memory::CALL);
                bytes = bytes.saturating_sub(memory::CALL);
                ended += 1;
            }
        }
        ended
    }

    /// Becomes true when the remaining calls are ended.
    pub(super) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shut_down.subscribe()
    }

    /// Ends every call, and every one that still begins. Uploads and requests that are being
    /// received observe [`InFlightCalls::shutdown`].
    pub(super) fn shut_down(&self) {
        self.shut_down.send_replace(true);
        for core in self.calls.live() {
            call_state::lock(&core).end(shutting_down());
        }
    }

    fn uploads(&self) -> MutexGuard<'_, Vec<Weak<UploadInFlight>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when this signal of the shutdown is true.
pub async fn until_shutdown(mut signal: watch::Receiver<bool>) {
    if signal.wait_for(|is_shut_down| *is_shut_down).await.is_err() {
        // Without a sender there is no shutdown.
        std::future::pending::<()>().await;
    }
}

/// The error of a call that is ended because the gateway shuts down.
pub fn shutting_down() -> Error {
    Error::new(Reason::ShuttingDown, "the gateway is shutting down")
}

type List<T> = Mutex<Slab<Weak<T>>>;

/// A list of objects that are observed from outside while they exist.
struct LiveList<T> {
    list: Arc<List<T>>,
}

/// An entry of the list until this is dropped. It is dropped with the object itself, whose memory
/// is then still in the processor's caches.
pub(super) struct LiveEntry<T> {
    list: Arc<List<T>>,
    key: usize,
}

impl<T> Default for LiveList<T> {
    fn default() -> Self {
        Self {
            list: Arc::default(),
        }
    }
}

impl<T> LiveList<T> {
    /// Adds an object.
    pub(super) fn add(&self, one: &Arc<T>) -> LiveEntry<T> {
        let list = Arc::clone(&self.list);
        let key = lock(&self.list).insert(Arc::downgrade(one));
        LiveEntry { list, key }
    }

    /// The objects that exist. A copy, so that none is used under the list's lock.
    pub(super) fn live(&self) -> Vec<Arc<T>> {
        let list = lock(&self.list);
        list.iter().filter_map(|(_, one)| one.upgrade()).collect()
    }
}

impl<T> Drop for LiveEntry<T> {
    fn drop(&mut self) {
        lock(&self.list).try_remove(self.key);
    }
}

fn lock<T>(list: &List<T>) -> MutexGuard<'_, Slab<Weak<T>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_takes_no_place() {
        let entries = LiveList::default();
        for number in 0..1_000 {
            let one = Arc::new(number);
            let _entry = entries.add(&one);
            assert_eq!(entries.live(), [one]);
        }
        assert!(entries.live().is_empty());
        assert!(lock(&entries.list).capacity() < 10);
    }
}
