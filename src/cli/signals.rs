//! Signals: the first SIGINT or SIGTERM drains a server, the second ends it. SIGHUP reloads the
//! settings. A command that calls a gateway ends by SIGHUP and SIGQUIT too, so that its call ends
//! with it.

use std::io;
use std::sync::Arc;

use tokio::sync::Notify;

/// A received signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM; for a command also SIGHUP and SIGQUIT.
    Terminate,
}

/// Receives signals from its creation on, so that none is lost.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    quit: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Starts to receive the signals of a server, which no longer end the process.
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: None,
            quit: None,
        })
    }

    /// Starts to receive the signals of a command that calls a gateway.
    #[cfg(unix)]
    pub(crate) fn of_command() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let unless_ignored = |kind: SignalKind| match is_ignored(kind.as_raw_value()) {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        Ok(Self {
            hangup: unless_ignored(SignalKind::hangup())?,
            quit: unless_ignored(SignalKind::quit())?,
            ..Self::listen()?
        })
    }

    /// Starts to receive Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) fn of_command() -> io::Result<Self> {
        Self::listen()
    }

    /// Starts to receive Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            () = received(&mut self.hangup) => Signal::Terminate,
            () = received(&mut self.quit) => Signal::Terminate,
        }
    }

    /// Waits for the next Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }
}

#[cfg(unix)]
async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the parent process has chosen that a signal is ignored, as `nohup` does: then it stays
/// so. Known on Linux only.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok();
    mask.zip(bit)
        .is_some_and(|(mask, bit)| mask.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

/// Notifies about every SIGHUP from now on, which no longer ends the process.
#[cfg(unix)]
pub(crate) fn tell_of_hangups(whom: Arc<Notify>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            whom.notify_one();
        }
    });
    Ok(())
}

/// This system has no SIGHUP.
#[cfg(not(unix))]
pub(crate) fn tell_of_hangups(_: Arc<Notify>) -> io::Result<()> {
    Ok(())
}
