//! The list of all calls in flight, for the admin interface and for shutdown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::chat::call::Caller;
use crate::error::{Error, Reason};
use crate::memory;
use crate::telemetry::in_flight::Calls as View;

use super::call_state::{self, CallState};
use super::live_list::LiveList;
use super::reply::Reply;
use super::upload_progress::UploadInFlight;

/// All calls in flight.
#[derive(Default)]
pub(super) struct InFlightCalls {
    calls: LiveList<Mutex<CallState>>,
    uploads: Mutex<Vec<Weak<UploadInFlight>>>,
    /// Whether the remaining calls are ended.
    shut_down: watch::Sender<bool>,
}

impl InFlightCalls {
    /// Lists a reply for as long as it has a reader.
    pub(super) fn watch(&self, reply: &mut Reply) {
        reply.watched(self.calls.add(reply.core()));
        // Checked after the reply is listed: shutdown sets this, then ends all that are listed.
        if *self.shut_down.borrow() {
            call_state::lock(reply.core()).end(shutting_down());
        }
    }

    /// Lists an upload for as long as it exists.
    pub(super) fn add_upload(&self, upload: &Arc<UploadInFlight>) {
        let mut uploads = self.uploads();
        // Bounded by the limit on calls in flight, because each holds a permit.
        uploads.retain(|upload| upload.strong_count() > 0);
        uploads.push(Arc::downgrade(upload));
    }

    /// All calls and uploads in flight, the oldest first.
    pub(super) fn view(&self) -> View {
        let live = self.calls.live();
        let calls = live.iter().filter_map(|core| call_state::lock(core).view());
        let mut calls: Vec<_> = calls.collect();
        let uploads: Vec<_> = self.uploads().iter().filter_map(Weak::upgrade).collect();
        calls.extend(uploads.iter().map(|upload| upload.view()));
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
