//! The stored conversation of a live session: how it is opened, and how its turns are saved.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::chat::call::Tenant;
use crate::chat::live_session::ConverseSetup;
use crate::chat::live_turn::{LiveHistory, LiveTurn};
use crate::chat::stored::StoredConversation;
use crate::conversations::Conversations;
use crate::conversations::live::LiveConversation;
use crate::error::{Error, Reason, Sent};

use super::idempotency::{FINISH_PAUSE, FINISH_TIME};

/// The stored conversation that a session continues.
#[derive(Debug)]
pub struct StoredSession {
    /// Takes its turns.
    pub turns: LiveTurns,
    /// The history to send.
    pub history: LiveHistory,
    /// The instructions of the caller. They are stored with the next turn.
    pub instructions: Option<String>,
}

/// Saves the turns of a session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveTurns {
    conversation: LiveConversation,
    /// The number of the latest turn that is known.
    last: Arc<AtomicI64>,
}

impl StoredSession {
    /// Opens the stored conversation that a session continues. The session gets its instructions,
    /// unless it has some.
    pub(super) async fn open(
        conversations: &Conversations,
        (tenant, of): (&Tenant, &StoredConversation),
        setup: &mut ConverseSetup,
    ) -> Result<Self, Error> {
        let instructions = setup.changes.instructions.clone();
        let opened = conversations.open_live(tenant, of, instructions.is_some());
        let (conversation, mut history) = opened.await?;
        if instructions.is_none() {
            setup.changes.instructions = history.instructions.take();
        }
        let last = Arc::new(AtomicI64::new(history.used.turn));
        Ok(Self {
            turns: LiveTurns { conversation, last },
            history,
            instructions,
        })
    }
}

impl LiveTurns {
    /// Saves the next turn of the session with this id, and returns its number. The model has
    /// answered, so it is attempted for a while.
    pub fn save(
        self,
        session: Arc<str>,
        turn: LiveTurn,
    ) -> Pin<Box<dyn Future<Output = Result<i64, Error>> + Send>> {
        Box::pin(async move {
            let saved = self.append(&session, turn).await;
            saved.map_err(|error| error.with_sent(Sent::Begun))
        })
    }

    async fn append(&self, session: &str, turn: LiveTurn) -> Result<i64, Error> {
        let after = self.last.load(Ordering::Relaxed);
        let turn = self.conversation.ended(session, after, turn)?;
        let until = Instant::now() + FINISH_TIME;
        loop {
            match self.conversation.append(&turn).await {
                Ok(appended) => {
                    let number = appended?;
                    self.last.store(number, Ordering::Relaxed);
                    return Ok(number);
                }
                Err(error) if Instant::now() >= until => {
                    let message = "the answer cannot be stored, so the stored conversation does \
                                   not have it";
                    return Err(Error::new(Reason::AnswerNotSaved, message).with_source(error));
                }
                Err(_) => tokio::time::sleep(FINISH_PAUSE).await,
            }
        }
    }
}
