//! The life of a live session: its clocks, its journal, and the repair of DashScope's events.
//!
//! A session is a task ([`task`]) that reads the caller's input ([`inputs`]), drives the WebSocket
//! to DashScope, and writes events to a journal ([`journal`]), from which the caller's stream
//! reads. [`session`] decides, without I/O. A stream that breaks can be replaced by another one,
//! which reads on where the first one ended ([`registry`]).

mod checks;
mod closing;
mod command;
pub mod config;
mod division;
pub mod event;
mod finish;
mod history;
mod idle;
mod input_audio;
mod inputs;
mod reconnection;
mod reports;
mod resample;
mod responses;
mod resumable_sessions;
mod resume_journal;
mod session;
mod start;
mod stop;
mod stored_items;
mod stored_session;
mod stored_turns;
mod storing;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod timers;
mod totals;
mod transcripts;
mod turn;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::chat::call::Caller;
use crate::chat::live_session::{AudioFormat, INPUT_RATE, LiveTask, OUTPUT_RATE};
use crate::error::Error;
use crate::memory::{CallMemory, Cancel};
use crate::relay::Relay;
use crate::relay::live_call::LiveRequest;
use crate::secret::Secret;

use config::LiveConfig;
use resumable_sessions::{NewEntry, Registry, Resumption};
use resume_journal::{Journal, JournalLimits};
use stop::Stop;
use task::{Parts, Task};

pub use idle::IdlePolicy;
pub use inputs::{Closed, InputSender};
pub use session::LiveOptions;
pub use stop::too_late;
pub use stream::{EventStream, Handle, Item};

/// How long a connection may be lost before the gateway notices: the interval and the timeout of
/// its pings, and a little more. Events that were sent meanwhile are kept as well.
const LOSS_TIMEOUT: Duration = Duration::from_secs(35);

/// The bytes per second that are assumed of compressed audio.
const COMPRESSED_RATE: usize = 16 * 1024;

/// The live sessions of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct LiveSessions {
    relay: Relay,
    registry: Arc<Registry>,
    config: Arc<std::sync::RwLock<LiveConfig>>,
}

/// A session for its caller: the events, and where its input goes.
pub struct Attached {
    /// The events.
    pub events: EventStream,
    /// The queue of the input.
    pub inputs: InputSender,
}

impl LiveSessions {
    /// The live sessions of this relay.
    pub fn new(relay: Relay, config: LiveConfig) -> Self {
        Self {
            relay,
            registry: Arc::default(),
            config: Arc::new(std::sync::RwLock::new(config)),
        }
    }

    /// Changes the configuration of later sessions.
    pub fn reconfigure(&self, config: LiveConfig) {
        let guard = self.config.write();
        *guard.unwrap_or_else(std::sync::PoisonError::into_inner) = config;
    }

    fn config(&self) -> LiveConfig {
        let guard = self.config.read();
        *guard.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens a session, whose setup has this size. Completes when DashScope has started it.
    pub async fn open(
        &self,
        request: LiveRequest<'_>,
        options: LiveOptions,
        (memory, setup_bytes): (CallMemory, usize),
    ) -> Result<Attached, Error> {
        let config = self.config();
        let (owner, deadline) = (request.who.caller, request.deadline);
        let (call, socket) = self.relay.open_live(request).await?;
        // The instructions may be those of a stored conversation.
        let setup_bytes = match &call.setup.task {
            LiveTask::Converse(setup) => setup_bytes.max(setup.changes.weight()),
            LiveTask::Synthesize(_) => setup_bytes,
        };
        let (input, output) = call.setup.task.audio_formats();
        let limits = JournalLimits {
            unread_bytes: bytes_of(output, OUTPUT_RATE, config.output_buffer),
            kept_bytes: match config.resume_window.is_zero() {
                true => 0,
                false => config.journal_bytes,
            },
            kept_for: config.resume_window + LOSS_TIMEOUT,
        };
        let input_bytes = bytes_of(input, INPUT_RATE, config.input_buffer);
        let journal = Journal::new(limits, memory.clone());
        let (inputs, received) = inputs::queue(input_bytes);
        // At most one stream resumes at a time.
        let (resume, resumed) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(Stop::No);
        let (ticket, token, entry) = self.registry.enter(NewEntry {
            owner,
            task: &call.setup.task,
            journal: journal.clone(),
            resume,
            stop,
            input_bytes,
        });
        let cancel: Arc<dyn Cancel> = Arc::<resumable_sessions::Entry>::clone(&entry);
        memory.cancel_session_with(Arc::downgrade(&cancel));
        call.cancel_with(Arc::downgrade(&cancel));
        let (task, started) = Task::start(Parts {
            call,
            socket,
            options,
            config,
            journal: journal.clone(),
            inputs: received,
            resumed,
            stop: stopped,
            ticket,
            deadline,
            memory,
            setup_bytes,
        })
        .await?;
        // Only one start is reported.
        let _ = entry.started.set(started);
        let reader = journal.attach(0)?;
        tokio::spawn(task.run());
        Ok(Attached {
            events: EventStream::new(entry, reader, deadline, token),
            inputs,
        })
    }

    /// Resumes a session of this caller after the last event that it received.
    pub async fn resume(
        &self,
        (session_id, token): (&str, &str),
        last_sequence: i32,
        (owner, converses): (Caller, bool),
        deadline: tokio::time::Instant,
    ) -> Result<Attached, Error> {
        let entry = self.registry.find(session_id, token, owner)?;
        if entry.converses != converses {
            let what = "belongs to a session of the other method";
            return Err(Error::field("setup.resume.session_id", what));
        }
        let reader = entry.journal.attach(last_sequence)?;
        let (inputs, received) = inputs::queue(entry.input_bytes);
        let resumption = Resumption {
            inputs: received,
            deadline,
        };
        let events = EventStream::new(Arc::clone(&entry), reader, deadline, Secret::new(token));
        // A session that has ended takes no input; its events can still be read.
        let _ = entry.resume.send(resumption).await;
        Ok(Attached {
            events: events.resumed(last_sequence),
            inputs,
        })
    }

    /// Announces the shutdown, which comes after this time, to all sessions: each ends when its
    /// running response is complete.
    pub fn drain(&self, time_left: Duration) {
        self.registry.drain(time_left);
    }

    /// Ends all sessions.
    pub fn shut_down(&self) {
        self.registry.shut_down();
    }
}

/// The bytes of audio of this playing time.
fn bytes_of(format: AudioFormat, default_rate: u32, time: Duration) -> usize {
    match format.is_pcm() {
        true => totals::bytes(time, format.sample_rate.unwrap_or(default_rate)),
        false => {
            let millis = usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
            millis.saturating_mul(COMPRESSED_RATE) / 1000
        }
    }
}
