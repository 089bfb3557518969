//! The task of a session: it drives the connection to DashScope, and runs the session's state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::chat::live_event::UpstreamEvent;
use crate::chat::live_session::LiveInput;
use crate::error::{Error, Reason};
use crate::memory::CallMemory;
use crate::relay::live_call::LiveCall;
use crate::telemetry::call_report::LiveFigures;
use crate::telemetry::live_metrics::Repair;
use crate::upstream::{LiveEnding, LiveSocket};

use super::config::LiveConfig;
use super::event::{LiveEvent, SessionStarted};
use super::inputs::{InputReceiver, Inputs, Queued};
use super::resumable_sessions::{Resumption, Ticket};
use super::resume_journal::Journal;
use super::session::{Effects, End, LiveOptions, Session};
use super::start::{created, report, restore};
use super::stop::{Failure, Stop, stopped_now, too_late};
use super::storing::{Storing, stored};

/// The bytes that may wait to be written to DashScope before input is no longer taken: a few
/// seconds of audio as base64.
const MAX_OUTGOING: usize = 256 * 1024;

/// How often the timers that depend on other parties are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the close frame may take to be written.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session is made of.
pub(super) struct Parts {
    pub(super) call: LiveCall,
    pub(super) socket: LiveSocket,
    pub(super) options: LiveOptions,
    pub(super) config: LiveConfig,
    pub(super) journal: Journal,
    pub(super) inputs: InputReceiver,
    /// The streams that resume.
    pub(super) resumed: mpsc::Receiver<Resumption>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
    pub(super) memory: CallMemory,
    pub(super) setup_bytes: usize,
}

/// A running session.
pub(super) struct Task {
    pub(super) session: Session,
    pub(super) call: LiveCall,
    pub(super) socket: LiveSocket,
    pub(super) config: LiveConfig,
    pub(super) journal: Journal,
    pub(super) inputs: Inputs,
    resumed: mpsc::Receiver<Resumption>,
    pub(super) stop: watch::Receiver<Stop>,
    ticket: Ticket,
    pub(super) deadline: Instant,
    pub(super) memory: CallMemory,
    /// The size of the configuration, as it was received.
    pub(super) setup_bytes: usize,
    /// The size of the configuration after changes of it; 0 before.
    pub(super) update_bytes: usize,
    /// The bytes that are charged for queues and the configuration.
    pub(super) charged: usize,
    pub(super) reconnects: u32,
    resumes: u32,
    /// The turns for the stored conversation, if the session continues one.
    pub(super) storing: Option<Storing>,
    /// Whether the gateway is about to shut down.
    pub(super) draining: bool,
}

/// What has happened.
enum Happened {
    Report(Result<UpstreamEvent, Error>),
    Input(Queued),
    Resumed(Resumption),
    /// A turn was stored with this number.
    Stored(Result<i64, Error>),
    Stopped,
    Timer,
    Read,
}

impl Task {
    /// Waits until DashScope has started the session, configures it, and reports it to the caller.
    /// Returns the report without its token as well.
    pub(super) async fn start(mut parts: Parts) -> Result<(Self, SessionStarted), Error> {
        let now = Instant::now();
        let limit = parts.config.start_timeout;
        let started = tokio::select! {
            started = created(&mut parts.socket, limit, parts.deadline) => started,
            error = stopped_now(parts.stop.clone()) => Err(error),
        };
        let (upstream, setup_id) = match started {
            Ok(started) => started,
            Err(error) => return Err(fail(parts.call, error)),
        };
        parts.call.started(&upstream.id);
        let setup = parts.call.setup.clone();
        let profile = parts.socket.profile();
        let mut session = Session::new((setup, parts.options), profile, parts.config, now);
        let stored = parts.call.stored.take();
        let history = stored.as_ref().map(|stored| stored.history.used);
        let restored = session
            .started(&upstream, setup_id)
            .and_then(|()| restore(&mut session, &mut parts.socket, stored));
        let turns = match restored {
            Ok(turns) => turns,
            Err(error) => return Err(fail(parts.call, error)),
        };
        let session_id = &parts.ticket.session_id;
        let storing = turns.map(|turns| Storing::new(turns, session_id));
        let started = SessionStarted {
            history,
            ..report(&session, session_id, upstream)
        };
        let event = LiveEvent::Started(Box::new(started.clone()));
        if let Err(error) = parts.journal.push(event) {
            return Err(fail(parts.call, error));
        }
        let mut inputs = Inputs::default();
        inputs.replace(parts.inputs);
        let task = Self {
            session,
            call: parts.call,
            socket: parts.socket,
            config: parts.config,
            journal: parts.journal,
            inputs,
            resumed: parts.resumed,
            stop: parts.stop,
            ticket: parts.ticket,
            deadline: parts.deadline,
            memory: parts.memory,
            setup_bytes: parts.setup_bytes,
            update_bytes: 0,
            charged: 0,
            reconnects: 0,
            resumes: 0,
            storing,
            draining: false,
        };
        Ok((task, started))
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self) {
        let outcome = self.turn_over().await;
        let outcome = self.close(outcome).await;
        // No more input is taken, and no stream that resumes is awaited.
        drop(self.inputs);
        drop(self.resumed);
        self.socket.close();
        // The connection ends in any case when it is dropped.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
        drop(self.socket);
        let ended = self.session.ended();
        let figures = LiveFigures {
            responses: ended.responses,
            cancelled: self.session.totals.cancelled,
            input_audio: ended.input_audio,
            output_audio: ended.output_audio,
            reconnects: self.reconnects,
            resumes: self.resumes,
        };
        drop(self.session);
        let usage = ended.usage.clone();
        let mut stays = !self.config.resume_window.is_zero();
        match outcome {
            Ok(()) => {
                let pushed = self.journal.push(LiveEvent::Ended(Box::new(ended)));
                self.call.end(Ok(()), (usage.as_ref(), figures));
                self.journal.end(pushed);
            }
            Err(Failure::Error(error)) => {
                let error = self
                    .call
                    .described(error)
                    .with_usage(usage.clone().map(Arc::new));
                self.call.end(Err(&error), (usage.as_ref(), figures));
                self.journal.end(Err(error));
            }
            Err(Failure::Left) => {
                stays = false;
                self.call.cancel((usage.as_ref(), figures));
                let message = "the caller left the live session and did not resume it";
                let error = Error::new(Reason::SessionNotFound, message);
                self.journal.end(Err(error));
            }
        }
        // Less than before.
        let _ = self.memory.buffer(0);
        // A stream that broke may have lost the last events, although they were sent.
        if stays && self.ticket.end() {
            let window = self.config.resume_window;
            let stopped = stopped_now(self.stop);
            let _ = tokio::time::timeout(window, stopped).await;
        }
    }

    async fn turn_over(&mut self) -> Result<(), Failure> {
        loop {
            let happened = self.next().await;
            let now = Instant::now();
            let effects = match happened {
                Happened::Report(Ok(event)) => self.session.report(event, now),
                Happened::Report(Err(error)) => Effects {
                    end: Some(self.session.disconnected(error, now)),
                    ..Effects::default()
                },
                Happened::Read => Effects::default(),
                Happened::Input(queued) => self.input(queued, now)?,
                Happened::Resumed(Resumption { inputs, deadline }) => {
                    self.inputs.replace(inputs);
                    self.deadline = deadline;
                    self.call.set_deadline(deadline);
                    self.resumes = self.resumes.saturating_add(1);
                    self.call.repaired(Repair::Resume);
                    Effects::default()
                }
                Happened::Stored(number) => {
                    self.journal.stored(number?);
                    Effects::default()
                }
                Happened::Stopped => {
                    if let Some(error) = self.stopped()? {
                        return Err(error.into());
                    }
                    Effects::default()
                }
                Happened::Timer => self.session.tick(now),
            };
            if let Some(outcome) = self.apply(effects, now).await? {
                return outcome.map_err(Failure::Error);
            }
            self.check(now)?;
        }
    }

    fn input(&mut self, queued: Queued, now: Instant) -> Result<Effects, Error> {
        let input = queued.input?;
        if let LiveInput::Acknowledge(sequence) = &input {
            self.journal.acknowledge(*sequence);
        }
        if let LiveInput::Update(changes) = &input {
            self.call.check_update(changes)?;
        }
        Ok(self.session.input(queued.position, input, now))
    }

    /// Waits for what comes next. Which of several is taken first is random, so that neither side
    /// can keep the session from noticing the other one, or the time.
    async fn next(&mut self) -> Happened {
        let reading = self.journal.reading();
        let is_full = reading.is_full;
        let takes_input = self.socket.outgoing_bytes() < MAX_OUTGOING && reading.takes_more;
        let mut due = self.session.due().min(self.deadline);
        if let Some(since) = reading.away_since {
            due = due.min(since + self.config.resume_window);
        }
        if is_full || self.socket.stalled().is_some() {
            due = due.min(Instant::now() + CHECK_INTERVAL);
        }
        let Self {
            socket,
            inputs,
            resumed,
            stop,
            journal,
            storing,
            ..
        } = self;
        let reads = !is_full && !storing.as_ref().is_some_and(Storing::is_full);
        tokio::select! {
            changed = stop.changed() => match changed {
                Ok(()) => Happened::Stopped,
                // Without a sender there is no end from outside.
                Err(_) => std::future::pending().await,
            },
            Some(resumption) = resumed.recv() => Happened::Resumed(resumption),
            report = socket.drive(reads) => Happened::Report(report),
            number = stored(storing) => Happened::Stored(number),
            queued = inputs.next(), if takes_input => Happened::Input(queued),
            () = journal.changed() => Happened::Read,
            () = sleep_until(due) => Happened::Timer,
        }
    }

    /// Does what the state asks for. Returns the outcome, if the session ends.
    async fn apply(
        &mut self,
        mut effects: Effects,
        now: Instant,
    ) -> Result<Option<Result<(), Error>>, Error> {
        for (position, command) in effects.commands.drain(..) {
            self.send(position, &command, now)?;
        }
        if let Some(response) = effects.withdraw.take() {
            self.journal.withdraw(&response);
        }
        for event in effects.events.drain(..) {
            match &event {
                LiveEvent::Delta { .. } => self.call.received(),
                LiveEvent::ResponseCompleted(end) => self.call.responded(end.status.name()),
                LiveEvent::Started(_)
                | LiveEvent::Updated(_)
                | LiveEvent::SpeechStarted(_)
                | LiveEvent::SpeechStopped(_)
                | LiveEvent::Committed { .. }
                | LiveEvent::Transcript { .. }
                | LiveEvent::ResponseStarted { .. }
                | LiveEvent::Warning(_)
                | LiveEvent::Ending { .. }
                | LiveEvent::Ended(_) => {}
            }
            self.journal.push(event)?;
        }
        while let Some(storing) = &mut self.storing
            && let Some(turn) = self.session.next_turn(now)
        {
            storing.add(turn);
        }
        for end in effects.usage.drain(..) {
            if let Some(latency) = end.first_audio_latency {
                self.call.first_audio(latency);
            }
            if let Some(usage) = &end.usage {
                self.call.used(usage)?;
            }
        }
        if effects.finish {
            match self.socket.finish() {
                LiveEnding::Acknowledged => {}
                LiveEnding::Close => return Ok(Some(Ok(()))),
            }
        }
        match effects.end {
            None => Ok(None),
            Some(End::Done) => Ok(Some(Ok(()))),
            Some(End::Failed(error)) => Ok(Some(Err(error))),
            Some(End::Reconnect) => {
                let (stop, deadline) = (self.stop.clone(), self.deadline);
                tokio::select! {
                    reconnected = self.reconnect() => reconnected?,
                    error = stopped_now(stop) => return Err(error),
                    () = sleep_until(deadline) => return Err(too_late()),
                }
                Ok(None)
            }
        }
    }
}

/// Ends a call that has not started.
fn fail(call: LiveCall, error: Error) -> Error {
    let error = call.described(error);
    call.end(Err(&error), (None, LiveFigures::default()));
    error
}
