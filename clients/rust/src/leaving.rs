//! The calls of a client that are being ended because their streams were left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// The deadline of the call that ends another one. The gateway ends that by itself after some
/// seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// How many calls are being ended.
#[derive(Clone, Debug)]
pub(crate) struct Leaving(Arc<watch::Sender<usize>>);

impl Leaving {
    pub(crate) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until there are none, for a limited time.
    pub(crate) async fn end(&self) {
        let mut count = self.0.subscribe();
        // Each has the same limit.
        let _ended = timeout(LIMIT, count.wait_for(|count| *count == 0)).await;
    }

    /// One more, until what is returned is dropped.
    pub(crate) fn begin(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.clone())
    }
}

/// One of them.
pub(crate) struct Counted(Leaving);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}
