//! Stores the turns of a session one after the other, while the session goes on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use crate::chat::live_turn::LiveTurn;
use crate::error::Error;
use crate::relay::live_turns::LiveTurns;

use super::resume_journal::Journal;

/// The number of turns that wait to be stored beyond which DashScope is not read.
const MAX_QUEUED: usize = 4;

type Saving = Pin<Box<dyn Future<Output = Result<i64, Error>> + Send>>;

/// The turns of a session that are not stored yet.
pub(super) struct Storing {
    turns: LiveTurns,
    session_id: Arc<str>,
    queue: VecDeque<LiveTurn>,
    saving: Option<Saving>,
    has_failed: bool,
}

impl Storing {
    /// None yet, of this session.
    pub(super) fn new(turns: LiveTurns, session_id: &Arc<str>) -> Self {
        Self {
            turns,
            session_id: Arc::clone(session_id),
            queue: VecDeque::new(),
            saving: None,
            has_failed: false,
        }
    }

    /// Adds a turn. A session that reads nothing while this is full adds a few more at most.
    pub(super) fn add(&mut self, turn: LiveTurn) {
        self.queue.push_back(turn);
    }

    /// Whether so many turns wait that DashScope is not to be read.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_QUEUED
    }

    /// About the bytes of the turns that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queue.iter().map(LiveTurn::weight).sum()
    }

    /// Waits until the next turn is stored, for ever if there is none. Returns its number. Nothing
    /// is lost if the wait is given up.
    pub(super) async fn next(&mut self) -> Result<i64, Error> {
        if self.saving.is_none() {
            let turn = self.queue.pop_front();
            let session = &self.session_id;
            self.saving = turn.map(|turn| self.turns.clone().save(Arc::clone(session), turn));
        }
        let Some(saving) = &mut self.saving else {
            return std::future::pending().await;
        };
        let saved = saving.as_mut().await;
        self.saving = None;
        self.has_failed = saved.is_err();
        saved
    }

    /// Stores what is left, unless the store has failed the session, and reports it to its caller.
    pub(super) async fn finish(&mut self, journal: &Journal) -> Result<(), Error> {
        while !self.has_failed && (self.saving.is_some() || !self.queue.is_empty()) {
            journal.stored(self.next().await?);
        }
        Ok(())
    }
}

/// The next turn that is stored, if any are.
pub(super) async fn stored(storing: &mut Option<Storing>) -> Result<i64, Error> {
    match storing {
        Some(storing) => storing.next().await,
        None => std::future::pending().await,
    }
}
