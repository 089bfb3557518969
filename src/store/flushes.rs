//! Whether everything that was written has reached the disk.

use tokio::sync::watch;

/// After a flush that failed, the system may report success for the next one although the data of
/// the first is lost. So nothing is read or written any more, and the process has to end: what the
/// disk really has is read at the next start.
#[derive(Clone, Debug)]
pub(super) struct Flushes(watch::Sender<bool>);

impl Default for Flushes {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Flushes {
    /// A flush has failed.
    pub(super) fn fail(&self) {
        self.0.send_replace(true);
    }

    /// Whether one has failed.
    pub(super) fn have_failed(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when one has failed.
    pub(super) async fn failed(&self) {
        let mut state = self.0.subscribe();
        // There is a sender: this one.
        let _ = state.wait_for(|failed| *failed).await;
    }
}
