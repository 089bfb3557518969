//! A whole answer, for callers that do not stream.

use tokio_stream::StreamExt;

use crate::chat::answer::{Answer, Fold};
use crate::error::Error;
use crate::memory::CALL;

use super::attempt_error::silent;
use super::reply::Reply;

impl Reply {
    /// Waits for the whole answer. It stays charged to the memory of the call.
    pub async fn whole(&mut self) -> Result<Answer, Error> {
        let mut fold = Fold::default();
        let mut held = 0;
        while let Some(event) = self.next().await {
            let event = event?;
            held += event.weight();
            if let Some(memory) = &self.memory {
                let charged = memory.answer(held.saturating_sub(CALL));
                charged.map_err(|error| self.end(error))?;
            }
            if let Some(answer) = fold.push(event) {
                return Ok(answer);
            }
        }
        Err(silent())
    }
}
