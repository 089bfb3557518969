//! Runs a live session until its end, a failure or a signal.

use std::time::Duration;

use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::audio_sinks::AudioSinks;
use super::error::Failure;
use super::gateway::{BROKE, LOOK_EVERY};
use super::live_events::LiveEvents;
use super::signals::Signals;
use super::terminal::Terminal;

/// How long the end of a session that is left is awaited.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// What a command does with the events of a session.
pub(crate) trait EventReceiver {
    /// Takes the next event.
    async fn take(
        &mut self,
        response: &pb::ConverseLiveResponse,
        terminal: &mut Terminal,
    ) -> Result<(), Failure>;

    /// Writes a line about the session to stderr.
    fn note(&mut self, text: &str, terminal: &mut Terminal) -> Result<(), Failure>;

    /// Where audio goes.
    fn sinks(&mut self) -> &mut AudioSinks;
}

/// The task that sends the input of a session, and ends it.
pub(crate) struct Sending {
    /// `None` when it has ended.
    task: Option<JoinHandle<Result<(), Failure>>>,
    stop: watch::Sender<bool>,
}

impl Sending {
    /// Starts the task, which is given what ends the input early.
    pub(crate) fn start<F>(task: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        Self {
            task: Some(tokio::spawn(task(stopped))),
            stop,
        }
    }

    /// Why the input cannot be sent. It can be dropped at any time without a loss.
    async fn failure(&mut self) -> Failure {
        if let Some(task) = &mut self.task {
            let sent = task.await;
            self.task = None;
            // A task that panicked has printed why.
            if let Ok(Err(failure)) = sent {
                return failure;
            }
        }
        std::future::pending().await
    }

    /// Ends the input. `false`: it was ended before.
    fn end(&self) -> bool {
        !self.stop.send_replace(true)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Runs a session. The first signal ends its input, the second the command. Audio is written
/// completely at the end.
///
/// # Errors
///
/// If the session fails, or its input cannot be read, or its output written.
pub(crate) async fn run(
    session: &mut impl LiveEvents,
    receiver: &mut impl EventReceiver,
    (mut sending, signals): (Sending, &mut Signals),
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let done = read(session, receiver, (&mut sending, signals), terminal).await;
    if done.is_err() {
        // Nothing is sent beside what ends it.
        drop(sending);
        let _left = tokio::time::timeout(LEAVE_WITHIN, session.leave()).await;
    }
    done
}

async fn read(
    session: &mut impl LiveEvents,
    receiver: &mut impl EventReceiver,
    (sending, signals): (&mut Sending, &mut Signals),
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (mut resumes, mut is_resuming) = (0, false);
    loop {
        let sinks = receiver.sinks();
        sinks.check()?;
        let event = tokio::select! {
            event = session.next(), if sinks.has_space() => event,
            () = sinks.changed() => continue,
            failure = sending.failure() => return Err(failure),
            () = tokio::time::sleep(LOOK_EVERY) => {
                if resumes < session.resumes() && !is_resuming {
                    is_resuming = true;
                    receiver.note(BROKE, terminal)?;
                }
                continue;
            }
            _ = signals.next() => {
                if !sending.end() {
                    return Err(Failure::cancelled());
                }
                let text = "finishing; press Ctrl-C again to stop at once";
                receiver.note(text, terminal)?;
                continue;
            }
        };
        let Some(response) = event.transpose()? else {
            break;
        };
        if let Some(Event::SessionStarted(started)) = &response.event
            && started.resumed
        {
            resumes = session.resumes();
            if !std::mem::take(&mut is_resuming) {
                receiver.note(BROKE, terminal)?;
            }
            receiver.note("the session was resumed", terminal)?;
        }
        receiver.take(&response, terminal).await?;
    }
    let lines = tokio::select! {
        lines = receiver.sinks().finish() => lines?,
        _ = signals.next() => return Err(Failure::cancelled()),
    };
    for line in lines {
        terminal.aside(&line);
    }
    Ok(())
}
