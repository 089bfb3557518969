//! A live session in the list of calls in flight.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::call::Caller;
use crate::memory::Cancel;
use crate::telemetry::call_report::Report;
use crate::telemetry::in_flight::InFlight;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LiveState {
    /// It is being started.
    Starting = 0,
    /// Its caller is connected.
    Connected = 1,
    /// Its caller has lost its connection, and may resume it.
    Away = 2,
}

/// How far a session is.
#[derive(Clone, Copy, Debug)]
pub struct LiveProgress {
    /// Its state.
    pub state: LiveState,
    /// The playing time of the caller's audio.
    pub input_audio: Duration,
    /// The playing time of the audio of responses.
    pub output_audio: Duration,
}

/// The entry of a session in the list of calls in flight.
pub(super) struct LiveInFlight {
    request_id: Arc<str>,
    method: &'static str,
    model: Arc<str>,
    caller: Option<Arc<str>>,
    /// The owner of its memory.
    pub(super) owner: Caller,
    arrived: Instant,
    attempts: Arc<AtomicU32>,
    state: AtomicU8,
    chunks: AtomicU64,
    input_millis: AtomicU64,
    output_millis: AtomicU64,
    session: Mutex<Option<Weak<dyn Cancel>>>,
}

impl LiveInFlight {
    /// The entry of the session with this report.
    pub(super) fn new(
        report: &Report,
        arrived: Instant,
        (owner, attempts): (Caller, Arc<AtomicU32>),
        model: Arc<str>,
    ) -> Self {
        Self {
            request_id: Arc::clone(&report.request_id),
            method: report.method,
            model,
            caller: report.caller.clone(),
            owner,
            arrived,
            attempts,
            state: AtomicU8::new(LiveState::Starting as u8),
            chunks: AtomicU64::new(0),
            input_millis: AtomicU64::new(0),
            output_millis: AtomicU64::new(0),
            session: Mutex::new(None),
        }
    }

    /// Updates the entry.
    pub(super) fn set(&self, progress: &LiveProgress, chunks: u64) {
        self.state.store(progress.state as u8, Ordering::Relaxed);
        self.chunks.store(chunks, Ordering::Relaxed);
        for (known, time) in [
            (&self.input_millis, progress.input_audio),
            (&self.output_millis, progress.output_audio),
        ] {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            known.store(millis, Ordering::Relaxed);
        }
    }

    /// Registers the session, to be ended when memory is short.
    pub(super) fn cancel_with(&self, session: Weak<dyn Cancel>) {
        let mut known = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(session);
    }

    /// Ends the session. Returns whether it has begun, so that it can be ended.
    pub(super) fn cancel(&self) -> bool {
        let known = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let session = known.as_ref().and_then(Weak::upgrade);
        drop(known);
        session.inspect(|session| session.cancel()).is_some()
    }

    /// The current entry.
    pub(super) fn view(&self) -> InFlight {
        let seconds = |millis: &AtomicU64| {
            Duration::from_millis(millis.load(Ordering::Relaxed)).as_secs_f64()
        };
        let state = match self.state.load(Ordering::Relaxed) {
            0 => "asking",
            1 => "live",
            _ => "away",
        };
        InFlight {
            request_id: self.request_id.as_ref().to_owned(),
            method: self.method.to_owned(),
            model: self.model.as_ref().to_owned(),
            caller: self.caller.as_deref().map(str::to_owned),
            age_seconds: self.arrived.elapsed().as_secs_f64(),
            state: state.to_owned(),
            attempts: self.attempts.load(Ordering::Relaxed),
            chunks: self.chunks.load(Ordering::Relaxed),
            input_audio_seconds: seconds(&self.input_millis),
            output_audio_seconds: seconds(&self.output_millis),
            ..InFlight::default()
        }
    }
}
