//! The end of a session: what is running ends, and what has ended is stored.

use tokio::time::Instant;

use crate::chat::live_event::ResponseStatus;
use crate::chat::live_turn::LiveTurnEnd;

use super::event::LiveEvent;
use super::stop::Failure;
use super::task::Task;

impl Task {
    /// Ends the response that is running, and stores the turns that are not stored. A session that
    /// has succeeded fails if one cannot be.
    pub(super) async fn close(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let now = Instant::now();
        let (status, end) = match &outcome {
            Ok(()) => (ResponseStatus::Incomplete, LiveTurnEnd::Cancelled),
            Err(Failure::Error(error)) => {
                let end = LiveTurnEnd::Failed(error.reason().name());
                (ResponseStatus::Failed, end)
            }
            Err(Failure::Left) => (ResponseStatus::Failed, LiveTurnEnd::Cancelled),
        };
        self.session.end_turns(end);
        for event in self.session.abandon(status, now) {
            if let LiveEvent::ResponseCompleted(end) = &event {
                self.call.responded(end.status.name());
            }
            // Without memory for it, the session ends without this event.
            let _ = self.journal.push(event);
        }
        let Some(storing) = &mut self.storing else {
            return outcome;
        };
        for turn in self.session.last_turns(now) {
            storing.add(turn);
        }
        let stored = storing.finish(&self.journal).await;
        outcome.and(stored.map_err(Failure::Error))
    }
}
