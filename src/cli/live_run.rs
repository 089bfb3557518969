//! Runs a live session until its end, a failure or a signal.

use tokio::sync::watch;

use crate::grpc::pb;

use super::audio_sinks::AudioSinks;
use super::error::Failure;
use super::live_call::{LiveCall, Step};
use super::live_method::LiveMethod;
use super::signals::Signals;
use super::terminal::Terminal;

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

/// Ends the input early.
pub(crate) struct Stop {
    stop: watch::Sender<bool>,
    is_stopping: bool,
}

/// A way to end the input, and the side that ends it.
pub(crate) fn stop() -> (Stop, watch::Receiver<bool>) {
    let (stop, stopped) = watch::channel(false);
    let is_stopping = false;
    (Stop { stop, is_stopping }, stopped)
}

/// Runs a session. The first signal ends its input, the second the command. Audio is written
/// completely at the end.
///
/// # Errors
///
/// If the session fails or its output cannot be written.
pub(crate) async fn run<M: LiveMethod>(
    call: &mut LiveCall<'_, M>,
    receiver: &mut impl EventReceiver,
    (stop, signals): (&mut Stop, &mut Signals),
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    loop {
        let sinks = receiver.sinks();
        sinks.check()?;
        let step = tokio::select! {
            step = call.next(), if sinks.has_space() => step?,
            () = sinks.changed() => continue,
            _ = signals.next() => {
                if std::mem::replace(&mut stop.is_stopping, true) {
                    return Err(Failure::cancelled());
                }
                // The input may have ended already.
                stop.stop.send_replace(true);
                let text = "finishing; press Ctrl-C again to stop at once";
                receiver.note(text, terminal)?;
                continue;
            }
        };
        match step {
            Step::Event(response) => receiver.take(&response, terminal).await?,
            Step::Broken(broken) => {
                let text = format!("the connection broke: {}; resuming", broken.message);
                receiver.note(&text, terminal)?;
                tokio::select! {
                    resumed = call.resume(broken) => resumed?,
                    _ = signals.next() => return Err(Failure::cancelled()),
                }
                receiver.note("the session was resumed", terminal)?;
            }
            Step::End => break,
        }
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
