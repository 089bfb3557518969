//! The state of a session, without I/O: what the caller sends and what DashScope reports becomes
//! commands for DashScope and events for the caller.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::chat::live_event::UpstreamSession;
use crate::chat::live_session::{LiveInput, LiveSetup, LiveTask, SessionChanges, TurnDetection};
use crate::error::{Error, Reason};
use crate::upstream::{EventId, LiveProfile};

use super::command::Command;
use super::config::LiveConfig;
use super::event::{LiveEvent, ResponseCompleted, SessionEnded, SessionWarning};
use super::finish::Finish;
use super::history::History;
use super::idle::{Idle, IdlePolicy};
use super::resample::Resampling;
use super::responses::Responses;
use super::stored_turns::StoredTurns;
use super::totals::{self, Totals};
use super::transcripts::Transcripts;
use super::turn::Turn;

/// The maximum number of commands whose position in the caller's stream is remembered.
const MAX_SENT: usize = 512;

/// What the gateway does for a session beyond DashScope.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveOptions {
    /// What happens while there is no activity; `None` leaves it to DashScope.
    pub idle: Option<IdlePolicy>,
    /// Whether the session continues on a new connection.
    pub continue_after_limit: bool,
}

/// A client event that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Its id.
    pub(super) id: EventId,
    /// The position of the caller's message; 0 if the gateway sent it by itself.
    pub(super) position: u32,
    /// What it asks for.
    pub(super) kind: SentKind,
}

/// What a client event asks for, as far as its refusal has consequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentKind {
    /// A response.
    Create,
    /// The end of a response.
    Cancel,
    /// Anything else.
    Other,
}

/// How a session ends, or its connection.
#[derive(Debug)]
pub(super) enum End {
    /// It is complete.
    Done,
    /// It failed.
    Failed(Error),
    /// It continues on a new connection.
    Reconnect,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// Events for the caller.
    pub(super) events: Vec<LiveEvent>,
    /// Commands for DashScope, with the position of the caller's message.
    pub(super) commands: Vec<(u32, Command)>,
    /// A response whose unread deltas are withdrawn.
    pub(super) withdraw: Option<Arc<str>>,
    /// Usage that DashScope reported.
    pub(super) usage: Vec<ResponseCompleted>,
    /// Whether DashScope is asked to end the session.
    pub(super) finish: bool,
    /// The end.
    pub(super) end: Option<End>,
}

/// The state of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) setup: LiveSetup,
    pub(super) profile: LiveProfile,
    pub(super) options: LiveOptions,
    pub(super) config: LiveConfig,
    pub(super) responses: Responses,
    pub(super) totals: Totals,
    pub(super) turn: Turn,
    pub(super) finish: Finish,
    pub(super) idle: Idle,
    pub(super) history: History,
    /// When the connection to DashScope was opened.
    pub(super) connected: Instant,
    /// Whether the end was announced.
    pub(super) is_announced: bool,
    pub(super) transcripts: Transcripts,
    pub(super) resampling: Resampling,
    /// The latest change of the configuration, and the configuration before it, to which the
    /// session returns if DashScope refuses the change.
    pub(super) before_update: Option<(EventId, Box<SessionChanges>)>,
    /// The client events that may still be refused.
    pub(super) sent: VecDeque<Sent>,
    /// The connections in a row that were cut soon after they were opened.
    pub(super) short_connections: u32,
    /// The bytes of audio that were sent on this connection.
    pub(super) appended: u64,
    /// The turns for the stored conversation, if the session continues one.
    pub(super) stored: Option<Box<StoredTurns>>,
}

impl Session {
    /// A session that starts now.
    pub(super) fn new(
        (setup, options): (LiveSetup, LiveOptions),
        profile: LiveProfile,
        config: LiveConfig,
        now: Instant,
    ) -> Self {
        Self {
            setup,
            profile,
            options,
            config,
            responses: Responses::default(),
            totals: Totals::default(),
            turn: Turn::default(),
            finish: Finish::default(),
            idle: Idle::new(options.idle, now),
            history: History::default(),
            connected: now,
            is_announced: false,
            transcripts: Transcripts::default(),
            resampling: Resampling::default(),
            before_update: None,
            sent: VecDeque::new(),
            short_connections: 0,
            appended: 0,
            stored: None,
        }
    }

    /// The configuration of a conversation; `None` for speech synthesis.
    pub(super) fn changes(&self) -> Option<&SessionChanges> {
        match &self.setup.task {
            LiveTask::Converse(setup) => Some(&setup.changes),
            LiveTask::Synthesize(_) => None,
        }
    }

    /// Whether the end of the caller's turns is detected.
    pub(super) fn detects_turns(&self) -> bool {
        let detection = self.changes().map(|changes| &changes.turn_detection);
        detection.is_some_and(|detection| *detection != Some(TurnDetection::Manual))
    }

    /// Whether the end of a turn starts a response.
    pub(super) fn answers_turns(&self) -> bool {
        let detection = self.changes().map(|changes| &changes.turn_detection);
        self.profile.has_responses
            && match detection {
                Some(Some(TurnDetection::ServerVad(vad) | TurnDetection::SemanticVad(vad))) => {
                    vad.create_response != Some(false)
                }
                Some(Some(TurnDetection::Manual)) | None => false,
                Some(Some(TurnDetection::SmartTurn(_)) | None) => true,
            }
    }

    /// Whether speech cancels the response that is running: when it starts, or, where every noise
    /// is reported as speech, when it has turned out to be a turn.
    pub(super) fn interrupts(&self, has_stopped: bool) -> bool {
        let detection = self.changes().map(|changes| &changes.turn_detection);
        self.profile.has_responses
            && match detection {
                Some(Some(TurnDetection::ServerVad(vad) | TurnDetection::SemanticVad(vad))) => {
                    !has_stopped && vad.interrupt_response != Some(false)
                }
                Some(Some(TurnDetection::SmartTurn(_))) => has_stopped,
                Some(Some(TurnDetection::Manual)) | None => false,
                Some(None) => !has_stopped,
            }
    }

    /// A command was sent to DashScope as this event.
    pub(super) fn sent(&mut self, id: EventId, position: u32, command: &Command, now: Instant) {
        let mut kind = SentKind::Other;
        if position > 0 {
            self.store_input(command);
        }
        match command {
            Command::CreateResponse(_) => {
                kind = SentKind::Create;
                self.turn.requested(now);
                self.responses.request(now);
            }
            Command::CancelResponse => kind = SentKind::Cancel,
            Command::UserText(text) if position > 0 => self.history.add(true, text),
            Command::DeleteItem(item_id) => self.history.remove(item_id),
            Command::Update(changes) => {
                if let LiveTask::Converse(setup) = &mut self.setup.task {
                    self.before_update = Some((id, Box::new(setup.changes.clone())));
                    setup.changes.merge(changes);
                }
            }
            Command::Audio(audio) => self.appended += u64::try_from(audio.len()).unwrap_or(0),
            Command::Image(_)
            | Command::UserText(_)
            | Command::AssistantText(_)
            | Command::Commit
            | Command::Clear
            | Command::ToolResult { .. }
            | Command::SynthesisText(_)
            | Command::SynthesisCommit
            | Command::SynthesisClear => {}
        }
        self.remember(id, position, kind);
    }

    /// DashScope has started the session, and was sent its configuration as this event.
    pub(super) fn started(
        &mut self,
        upstream: &UpstreamSession,
        setup: EventId,
    ) -> Result<(), Error> {
        self.remember(setup, 1, SentKind::Other);
        if let Some(rate) = upstream.output_audio.and_then(|format| format.sample_rate)
            && self.profile.output_is_default
        {
            self.profile.output_rate = rate;
        }
        self.resampling = Resampling::new(&self.profile)?;
        Ok(())
    }

    fn remember(&mut self, id: EventId, position: u32, kind: SentKind) {
        if self.sent.len() >= MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { id, position, kind });
    }

    /// What the caller sends.
    pub(super) fn input(&mut self, position: u32, input: LiveInput, now: Instant) -> Effects {
        let mut effects = Effects::default();
        if matches!(input, LiveInput::Audio(_)) && self.detects_turns() {
            // A microphone may send silence.
            self.idle.sent_audio(now);
        } else if !matches!(input, LiveInput::Acknowledge(_)) {
            self.idle.active(now);
        }
        let is_synthesis = self.changes().is_none();
        let command = match input {
            LiveInput::Audio(audio) => match self.audio(audio, &mut effects) {
                Some(audio) => Command::Audio(audio),
                None => return effects,
            },
            LiveInput::Image(image) => Command::Image(image),
            LiveInput::Text(text) if is_synthesis => {
                self.turn.has_audio = true;
                Command::SynthesisText(text)
            }
            LiveInput::Text(text) => Command::UserText(text),
            LiveInput::Commit if is_synthesis => {
                self.turn.has_audio = false;
                Command::SynthesisCommit
            }
            LiveInput::Commit => {
                self.turn.has_audio = false;
                self.flush_input(&mut effects);
                Command::Commit
            }
            LiveInput::Clear => {
                self.turn.has_audio = false;
                self.resampling.clear_input();
                match is_synthesis {
                    true => Command::SynthesisClear,
                    false => Command::Clear,
                }
            }
            LiveInput::CreateResponse(options) => Command::CreateResponse(options),
            LiveInput::CancelResponse => return self.cancel(position, now),
            LiveInput::ToolResult { call_id, output } => Command::ToolResult { call_id, output },
            LiveInput::Update(changes) => Command::Update(changes),
            LiveInput::DeleteItem(id) => Command::DeleteItem(id),
            LiveInput::Finish => {
                self.begin_finish(now, &mut effects);
                return effects;
            }
            LiveInput::Acknowledge(_) => return effects,
        };
        effects.commands.push((position, command));
        effects
    }

    fn cancel(&mut self, position: u32, now: Instant) -> Effects {
        let mut effects = Effects::default();
        if !self.profile.has_responses {
            let what = "responses of this model cannot be cancelled";
            effects.refuse(position, "cancel_response", what);
            return effects;
        }
        match self.responses.cancel(now) {
            Some((id, is_first)) => {
                effects.withdraw = Some(id);
                if !is_first {
                    return effects;
                }
            }
            None if self.turn.awaited.is_some() => {
                self.turn.cancel_awaited = true;
                return effects;
            }
            None => {
                let what = "no response is running";
                effects.refuse(position, "cancel_response", what);
                return effects;
            }
        }
        effects.commands.push((position, Command::CancelResponse));
        effects
    }

    /// The sample rate of output audio for the caller.
    pub(super) fn caller_output_rate(&self) -> u32 {
        let rate = self.profile.caller_output_rate;
        rate.unwrap_or(self.profile.output_rate)
    }

    /// The playing time of the audio in both directions.
    pub(super) fn audio_times(&self) -> (Duration, Duration) {
        let (totals, profile) = (&self.totals, &self.profile);
        let output = match profile.output_is_pcm {
            true => totals::duration(totals.output_bytes, self.caller_output_rate()),
            false => Duration::ZERO,
        };
        let input = match profile.input_is_pcm {
            true => totals::duration(totals.input_bytes, profile.caller_input_rate),
            false => Duration::ZERO,
        };
        (input, output)
    }

    /// What the session used.
    pub(super) fn ended(&self) -> SessionEnded {
        let (input_audio, output_audio) = self.audio_times();
        SessionEnded {
            usage: self.totals.usage.clone(),
            input_audio,
            output_audio,
            responses: self.totals.responses,
        }
    }
}

impl Effects {
    /// Audio that was resampled. An error ends the session.
    pub(super) fn audio(&mut self, audio: Result<Bytes, Error>) -> Bytes {
        audio.unwrap_or_else(|error| {
            self.end = Some(End::Failed(error));
            Bytes::new()
        })
    }

    pub(super) fn warn(&mut self, warning: SessionWarning) {
        self.events.push(LiveEvent::Warning(Box::new(warning)));
    }

    /// Refuses a message of the caller, without asking DashScope.
    pub(super) fn refuse(&mut self, position: u32, field: &str, message: &str) {
        self.warn(SessionWarning {
            reason: Some(Reason::InvalidRequest),
            code: Reason::InvalidRequest.name().to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
            refused_message: position,
            ..SessionWarning::default()
        });
    }
}
