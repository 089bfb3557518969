//! The phases of a server: serving, draining, closing.

use tokio::sync::watch;

/// The phase of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepts connections and calls.
    #[default]
    Serving,
    /// Still serves, and reports that it accepts no new calls.
    Draining,
    /// Closes its connections when their calls are over; watches end.
    Closing,
}

/// Sets the phase for everything that watches it.
pub type PhaseSender = watch::Sender<Phase>;
