//! The queue of a caller's input: bounded in playing time, so that a caller which sends faster than
//! its audio is taken is slowed down by flow control, and nothing is dropped.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::chat::live_session::LiveInput;
use crate::error::Error;

/// The maximum number of messages in the queue.
const MAX_MESSAGES: usize = 256;

/// The longest piece of audio that is sent to DashScope at once: a second of PCM at 16 kHz.
const MAX_PIECE: usize = 32_000;

/// A message in the queue, which holds its part of the queue until it is taken.
#[derive(Debug)]
pub(super) struct Queued {
    /// The position of the message in the caller's stream, from 1 for the setup.
    pub(super) position: u32,
    /// The input; an error ends the session.
    pub(super) input: Result<LiveInput, Error>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// The side of the caller's stream.
#[derive(Debug)]
pub struct InputSender {
    messages: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    capacity: usize,
    position: u32,
}

/// The side of the session.
pub(super) type InputReceiver = mpsc::Receiver<Queued>;

/// The session does not take input any more.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

/// A queue for this many bytes of audio. The next message has this position.
pub(super) fn queue(capacity: usize, position: u32) -> (InputSender, InputReceiver) {
    let (messages, received) = mpsc::channel(MAX_MESSAGES);
    let capacity = capacity.clamp(MAX_PIECE, Semaphore::MAX_PERMITS);
    let sender = InputSender {
        messages,
        bytes: Arc::new(Semaphore::new(capacity)),
        capacity,
        position,
    };
    (sender, received)
}

impl InputSender {
    /// Adds the next message of the caller, once there is space for it. Long audio is divided.
    pub async fn send(&mut self, input: Result<LiveInput, Error>) -> Result<(), Closed> {
        self.position = self.position.saturating_add(1);
        match input {
            Ok(LiveInput::Audio(mut audio)) => {
                while audio.len() > MAX_PIECE {
                    let piece = audio.split_to(MAX_PIECE);
                    self.put(Ok(LiveInput::Audio(piece))).await?;
                }
                self.put(Ok(LiveInput::Audio(audio))).await
            }
            input => self.put(input).await,
        }
    }

    async fn put(&self, input: Result<LiveInput, Error>) -> Result<(), Closed> {
        let bytes = input.as_ref().map_or(0, weight).min(self.capacity);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = match permits {
            0 => None,
            permits => {
                let bytes = Arc::clone(&self.bytes);
                let acquired = bytes.acquire_many_owned(permits).await;
                Some(acquired.map_err(|_| Closed)?)
            }
        };
        let queued = Queued {
            position: self.position,
            input,
            _permit: permit,
        };
        self.messages.send(queued).await.map_err(|_| Closed)
    }
}

fn weight(input: &LiveInput) -> usize {
    match input {
        LiveInput::Audio(bytes) | LiveInput::Image(bytes) => bytes.len(),
        LiveInput::Text(text) => text.len(),
        LiveInput::ToolResult { output, .. } => output.len(),
        LiveInput::Commit
        | LiveInput::Clear
        | LiveInput::CreateResponse(_)
        | LiveInput::CancelResponse
        | LiveInput::Update(_)
        | LiveInput::DeleteItem(_)
        | LiveInput::Finish
        | LiveInput::Acknowledge(_) => 0,
    }
}

/// Silence of this many bytes.
pub(super) fn silence(bytes: usize) -> Bytes {
    /// The longest silence that is sent at once.
    static ZEROS: [u8; MAX_PIECE] = [0; MAX_PIECE];
    Bytes::from_static(ZEROS.get(..bytes.min(MAX_PIECE)).unwrap_or_default())
}
