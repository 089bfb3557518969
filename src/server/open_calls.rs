//! The open calls of one connection, and the responses that it still has to write.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The open calls of a connection, and since when there is none.
#[derive(Debug)]
pub(super) struct OpenCalls {
    open: Mutex<(usize, Instant)>,
    /// The open calls that outlive the maximum age of the connection.
    lasting: AtomicUsize,
    /// The complete, unread responses, by the interval in which they were completed: even and odd.
    unread: [AtomicUsize; 2],
    /// Whether the interval is odd.
    odd: AtomicBool,
    /// Whether the connection is closed because its peer reads nothing.
    unread_close: AtomicBool,
}

/// A call that is open until this is dropped.
#[derive(Debug)]
pub struct Open {
    calls: Arc<OpenCalls>,
    /// Whether it outlives the maximum age of the connection.
    lasts: bool,
}

/// A complete response that is unread until this is dropped.
#[derive(Debug)]
pub(super) struct Unread {
    calls: Arc<OpenCalls>,
    odd: bool,
}

impl OpenCalls {
    /// No calls yet.
    pub(super) fn new() -> Self {
        Self {
            open: Mutex::new((0, Instant::now())),
            lasting: AtomicUsize::new(0),
            unread: Default::default(),
            odd: AtomicBool::new(false),
            unread_close: AtomicBool::new(false),
        }
    }

    /// Marks the connection as closed because its peer reads nothing, which is why its calls end.
    pub(super) fn close_unread(&self) {
        self.unread_close.store(true, Ordering::SeqCst);
    }

    /// Since when there is no call.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let (open, since) = *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        (open == 0).then_some(since)
    }

    /// Whether a call is open that outlives the maximum age of the connection.
    pub(super) fn has_lasting(&self) -> bool {
        self.lasting.load(Ordering::SeqCst) > 0
    }

    /// Whether complete responses are unread.
    pub(super) fn has_unread(&self) -> bool {
        self.unread
            .iter()
            .any(|count| count.load(Ordering::SeqCst) > 0)
    }

    /// Begins another interval, unless a response is unread that was complete before this one
    /// began. Returns whether there is such a response.
    pub(super) fn next_interval(&self) -> bool {
        let odd = self.odd.load(Ordering::SeqCst);
        let stuck = self.count(!odd).load(Ordering::SeqCst) > 0;
        if !stuck {
            self.odd.store(!odd, Ordering::SeqCst);
        }
        stuck
    }

    fn count(&self, odd: bool) -> &AtomicUsize {
        let [of_even, of_odd] = &self.unread;
        match odd {
            true => of_odd,
            false => of_even,
        }
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = change(state.0);
        if state.0 == 0 {
            state.1 = Instant::now();
        }
    }
}

impl Open {
    /// Opens a call.
    pub(super) fn new(calls: &Arc<OpenCalls>) -> Self {
        calls.change(|open| open + 1);
        Self {
            calls: Arc::clone(calls),
            lasts: false,
        }
    }

    /// Lets it outlive the maximum age of the connection.
    pub(super) fn outlive_age(&mut self) {
        if !std::mem::replace(&mut self.lasts, true) {
            self.calls.lasting.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether its connection is closed because the peer reads nothing.
    pub(super) fn is_closed_unread(&self) -> bool {
        self.calls.unread_close.load(Ordering::SeqCst)
    }

    /// Counts its response as complete and unread.
    pub(super) fn unread(&self) -> Unread {
        let odd = self.calls.odd.load(Ordering::SeqCst);
        self.calls.count(odd).fetch_add(1, Ordering::SeqCst);
        Unread {
            calls: Arc::clone(&self.calls),
            odd,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.calls.change(|open| open - 1);
        if self.lasts {
            self.calls.lasting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.calls.count(self.odd).fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_response_is_stuck_that_is_unread_for_a_whole_interval() {
        let calls = Arc::new(OpenCalls::new());
        let open = Open::new(&calls);
        let first = open.unread();
        assert!(!calls.next_interval());
        let second = open.unread();
        assert!(calls.next_interval());
        drop(first);
        assert!(!calls.next_interval());
        assert!(calls.has_unread());
        drop(second);
        assert!(!calls.next_interval());
        assert!(!calls.has_unread());
    }
}
