//! The task of a session: it drives the connection to DashScope, and runs the session's state.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::chat::live_event::UpstreamEvent;
use crate::chat::live_session::LiveInput;
use crate::error::{Error, Reason, Sent};
use crate::relay::live_call::LiveCall;
use crate::telemetry::report::LiveFigures;
use crate::upstream::{LiveEnding, LiveSocket};

use super::command::Command;
use super::config::LiveConfig;
use super::event::{LiveEvent, SessionStarted, SessionWarning};
use super::inputs::{InputReceiver, Queued};
use super::journal::Journal;
use super::registry::Ticket;
use super::session::{Effects, End, LiveOptions, Session};
use super::start::{created, formats};
use super::stop::{Stop, shutting_down};

/// The bytes that may wait to be written to DashScope before input is no longer taken: a few
/// seconds of audio as base64.
const MAX_OUTGOING: usize = 256 * 1024;

/// How long DashScope may take nothing of what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the timers that depend on other parties are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the close frame may take to be written.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a session is made of.
pub(super) struct Parts {
    pub(super) call: LiveCall,
    pub(super) socket: LiveSocket,
    pub(super) options: LiveOptions,
    pub(super) config: LiveConfig,
    pub(super) journal: Journal,
    pub(super) inputs: InputReceiver,
    /// The inputs of streams that resume.
    pub(super) resumed: mpsc::Receiver<InputReceiver>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
}

/// A running session.
pub(super) struct Task {
    session: Session,
    call: LiveCall,
    socket: LiveSocket,
    config: LiveConfig,
    journal: Journal,
    inputs: Option<InputReceiver>,
    resumed: mpsc::Receiver<InputReceiver>,
    stop: watch::Receiver<Stop>,
    ticket: Ticket,
    deadline: Instant,
    reconnects: u32,
    resumes: u32,
    /// When the session ends because the gateway drains.
    draining: bool,
}

/// What has happened.
enum Happened {
    Report(Result<UpstreamEvent, Error>),
    Input(Option<Queued>),
    Resumed(InputReceiver),
    Stopped,
    Timer,
    Read,
}

impl Task {
    /// Waits until DashScope has started the session, configures it, and reports it to the caller.
    pub(super) async fn start(parts: Parts) -> Result<Self, Error> {
        let now = Instant::now();
        let mut parts = parts;
        let started = created(&mut parts.socket, parts.config.start_timeout).await;
        let upstream = match started {
            Ok(upstream) => upstream,
            Err(error) => {
                let error = parts.call.described(error);
                parts.call.end(Err(&error), (None, LiveFigures::default()));
                return Err(error);
            }
        };
        parts.call.started(&upstream.id);
        let setup = parts.call.setup.clone();
        let profile = parts.socket.profile();
        let session = Session::new((setup, parts.options), profile, parts.config, now);
        let (input_audio, output_audio) = formats(&session);
        let event = LiveEvent::Started(Box::new(SessionStarted {
            session_id: Arc::clone(&parts.ticket.session_id),
            resume_token: parts.ticket.token.clone(),
            model: Arc::clone(&session.setup.model),
            upstream,
            input_audio,
            output_audio,
            resumed: false,
        }));
        parts.journal.push(event)?;
        Ok(Self {
            session,
            call: parts.call,
            socket: parts.socket,
            config: parts.config,
            journal: parts.journal,
            inputs: Some(parts.inputs),
            resumed: parts.resumed,
            stop: parts.stop,
            ticket: parts.ticket,
            deadline: parts.deadline,
            reconnects: 0,
            resumes: 0,
            draining: false,
        })
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self) {
        let outcome = self.turn_over().await;
        self.socket.close();
        // The connection ends in any case when it is dropped.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.socket.flush()).await;
        let ended = self.session.ended();
        let figures = LiveFigures {
            responses: ended.responses,
            cancelled: self.session.totals.cancelled,
            input_audio: ended.input_audio,
            output_audio: ended.output_audio,
            reconnects: self.reconnects,
            resumes: self.resumes,
        };
        let usage = ended.usage.clone();
        match outcome {
            Ok(()) => {
                let pushed = self.journal.push(LiveEvent::Ended(Box::new(ended)));
                self.call.end(Ok(()), (usage.as_ref(), figures));
                self.journal.end(pushed);
            }
            Err(error) => {
                let error = self
                    .call
                    .described(error)
                    .with_usage(usage.clone().map(Arc::new));
                let is_away = error.reason() == Reason::SessionNotFound;
                match is_away {
                    true => self.call.cancel((usage.as_ref(), figures)),
                    false => self.call.end(Err(&error), (usage.as_ref(), figures)),
                }
                self.journal.end(Err(error));
            }
        }
        drop(self.socket);
        // What was missed can still be read for a while.
        self.ticket
            .linger(&self.journal, self.config.resume_window)
            .await;
    }

    async fn turn_over(&mut self) -> Result<(), Error> {
        loop {
            let happened = self.next().await;
            let now = Instant::now();
            let effects = match happened {
                Happened::Report(Ok(event)) => self.session.report(event, now),
                Happened::Report(Err(error)) => Effects {
                    end: Some(self.session.disconnected(error)),
                    ..Effects::default()
                },
                Happened::Read => Effects::default(),
                Happened::Input(Some(queued)) => {
                    if let Ok(LiveInput::Acknowledge(sequence)) = &queued.input {
                        self.journal.acknowledge(*sequence);
                    }
                    self.session.input(queued.position, queued.input?, now)
                }
                Happened::Input(None) => {
                    self.inputs = None;
                    Effects::default()
                }
                Happened::Resumed(inputs) => {
                    self.inputs = Some(inputs);
                    self.resumes = self.resumes.saturating_add(1);
                    Effects::default()
                }
                Happened::Stopped => {
                    if let Some(error) = self.stopped()? {
                        return Err(error);
                    }
                    Effects::default()
                }
                Happened::Timer => self.session.tick(now),
            };
            if let Some(outcome) = self.apply(effects, now).await? {
                return outcome;
            }
            self.check(now)?;
        }
    }

    /// Waits for what comes next.
    async fn next(&mut self) -> Happened {
        let is_full = self.journal.is_full();
        let takes_input = self.socket.outgoing_bytes() < MAX_OUTGOING;
        let mut due = self.session.due().min(self.deadline);
        if is_full || self.inputs.is_none() || self.socket.stalled().is_some() || self.draining {
            due = due.min(Instant::now() + CHECK_INTERVAL);
        }
        let Self {
            socket,
            inputs,
            resumed,
            stop,
            journal,
            ..
        } = self;
        tokio::select! {
            biased;
            changed = stop.changed() => match changed {
                Ok(()) => Happened::Stopped,
                // Without a sender there is no end from outside.
                Err(_) => std::future::pending().await,
            },
            Some(inputs) = resumed.recv() => Happened::Resumed(inputs),
            report = socket.drive(!is_full) => Happened::Report(report),
            input = async {
                match inputs {
                    Some(inputs) => inputs.recv().await,
                    None => std::future::pending().await,
                }
            }, if takes_input => Happened::Input(input),
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
            self.send(position, &command)?;
        }
        if let Some(response) = effects.withdraw.take() {
            self.journal.withdraw(&response);
        }
        for event in effects.events.drain(..) {
            if let LiveEvent::Delta { .. } = event {
                self.call.received();
            }
            self.journal.push(event)?;
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
                LiveEnding::Acknowledged => self.session.finish.asked(now),
                LiveEnding::Close => return Ok(Some(Ok(()))),
            }
        }
        match effects.end {
            None => Ok(None),
            Some(End::Done) => Ok(Some(Ok(()))),
            Some(End::Failed(error)) => Ok(Some(Err(error))),
            Some(End::Reconnect) => {
                self.reconnect().await?;
                Ok(None)
            }
        }
    }

    fn send(&mut self, position: u32, command: &Command) -> Result<(), Error> {
        match self.socket.send(&command.event()) {
            Ok(id) => {
                self.session.sent(id, position);
                Ok(())
            }
            // A field that this model does not have: the session continues without it.
            Err(error) if error.reason() == Reason::InvalidRequest => {
                let violation = error.violations().first();
                self.journal
                    .push(LiveEvent::Warning(Box::new(SessionWarning {
                        reason: Some(error.reason()),
                        code: error.reason().name().to_owned(),
                        message: error.message().to_owned(),
                        field: violation.map_or_else(String::new, |first| first.field.to_string()),
                        refused_message: position,
                        ..SessionWarning::default()
                    })))
            }
            Err(error) => Err(error),
        }
    }

    /// Continues the session on a new connection: with its configuration, and with the text of the
    /// conversation.
    async fn reconnect(&mut self) -> Result<(), Error> {
        self.socket = self.call.reconnect().await?;
        self.call.setup = self.session.setup.clone();
        let upstream = created(&mut self.socket, self.config.start_timeout).await?;
        self.call.started(&upstream.id);
        self.reconnects = self.reconnects.saturating_add(1);
        let said: Vec<_> = self.session.history.messages().cloned().collect();
        for message in said {
            let command = match message.by_user {
                true => Command::UserText(message.text),
                false => Command::AssistantText(message.text),
            };
            self.send(0, &command)?;
        }
        let now = Instant::now();
        self.session.reconnected(now);
        self.journal
            .push(LiveEvent::Warning(Box::new(SessionWarning {
                code: "SESSION_RECONNECTED".to_owned(),
                message:
                    "the session continues on a new connection to DashScope, with the text of \
                      the conversation; audio, images and tool calls before it are lost"
                        .to_owned(),
                ..SessionWarning::default()
            })))
    }

    /// Checks what depends on others: the deadline, the caller's reading, DashScope's.
    fn check(&mut self, now: Instant) -> Result<(), Error> {
        if now >= self.deadline {
            let message = "deadline exceeded in the live session; set a longer deadline";
            let error = Error::new(Reason::DeadlineExceeded, message);
            return Err(error.with_sent(Sent::Begun));
        }
        if self.draining && !self.session.responses.is_running() {
            return Err(shutting_down());
        }
        if self
            .socket
            .stalled()
            .is_some_and(|span| span >= WRITE_TIMEOUT)
        {
            let message = "DashScope stopped reading the live session";
            let error = Error::new(Reason::StreamStalled, message);
            return Err(error.with_sent(Sent::Begun));
        }
        if let Some(since) = self.journal.away_since() {
            if now >= since + self.config.resume_window {
                let message = "the caller left the live session and did not resume it";
                return Err(Error::new(Reason::SessionNotFound, message));
            }
        } else if self.journal.is_full() {
            let limit = self.config.slow_consumer_timeout;
            if self.journal.unread_for().is_some_and(|span| span >= limit) {
                let message = format!("the caller read nothing of the live session for {limit:?}");
                let error = Error::new(Reason::SlowConsumer, message);
                return Err(error.with_sent(Sent::Begun));
            }
        }
        Ok(())
    }

    fn stopped(&mut self) -> Result<Option<Error>, Error> {
        let stop = self.stop.borrow_and_update().clone();
        match stop {
            Stop::No => Ok(None),
            Stop::Now(error) => Ok(Some(error.with_sent(Sent::Begun))),
            Stop::Drain(time_left) => {
                self.draining = true;
                self.journal.push(LiveEvent::Ending {
                    time_left,
                    reason: Reason::ShuttingDown,
                })?;
                Ok(None)
            }
        }
    }
}
