//! The queue of a caller's input: bounded in playing time, so that a caller which sends faster than
//! its audio is taken is slowed down by flow control, and nothing is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::chat::live_session::LiveInput;
use crate::error::Error;

/// The maximum number of messages in the queue.
const MAX_MESSAGES: usize = 256;

/// The longest piece of audio that is sent to DashScope at once: a second of PCM at 16 kHz.
const MAX_PIECE: usize = 32_000;

/// The maximum number of streams whose input is waiting, each of which took the place of the one
/// before it.
const MAX_QUEUES: usize = 4;

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
#[derive(Debug)]
pub(super) struct InputReceiver {
    messages: mpsc::Receiver<Queued>,
    bytes: Arc<Semaphore>,
    capacity: usize,
}

impl InputReceiver {
    /// Accepts no more messages. Those in the queue can still be taken.
    fn close(&mut self) {
        self.messages.close();
    }

    /// The bytes in the queue.
    fn queued_bytes(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.available_permits())
    }
}

/// The inputs of the streams of a session: those of an earlier stream come first, whatever of them
/// is still in its queue.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    queues: VecDeque<InputReceiver>,
}

impl Inputs {
    /// Takes the input of another stream from now on, in place of the one before it.
    pub(super) fn replace(&mut self, receiver: InputReceiver) {
        for queue in &mut self.queues {
            queue.close();
        }
        if self.queues.len() >= MAX_QUEUES {
            self.queues.pop_back();
        }
        self.queues.push_back(receiver);
    }

    /// The next message of the caller. Pending while there is no stream.
    pub(super) async fn next(&mut self) -> Queued {
        while let Some(first) = self.queues.front_mut() {
            if let Some(queued) = first.messages.recv().await {
                return queued;
            }
            self.queues.pop_front();
        }
        std::future::pending().await
    }

    /// The bytes in all queues.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queues.iter().map(InputReceiver::queued_bytes).sum()
    }
}

/// The session does not take input any more.
#[derive(Clone, Copy, Debug)]
pub struct Closed;

/// A queue for this many bytes of audio. The setup, which is not queued, has the position 1.
pub(super) fn queue(capacity: usize) -> (InputSender, InputReceiver) {
    let (messages, received) = mpsc::channel(MAX_MESSAGES);
    let capacity = capacity.clamp(MAX_PIECE, Semaphore::MAX_PERMITS);
    let bytes = Arc::new(Semaphore::new(capacity));
    let receiver = InputReceiver {
        messages: received,
        bytes: Arc::clone(&bytes),
        capacity,
    };
    let sender = InputSender {
        messages,
        bytes,
        capacity,
        position: 1,
    };
    (sender, receiver)
}

impl InputSender {
    /// Adds the next message of the caller, of this size, once there is space for it. Long audio is
    /// divided.
    pub async fn send(
        &mut self,
        input: Result<LiveInput, Error>,
        bytes: usize,
    ) -> Result<(), Closed> {
        self.position = self.position.saturating_add(1);
        match input {
            Ok(LiveInput::Audio(mut audio)) => {
                while audio.len() > MAX_PIECE {
                    let piece = audio.split_to(MAX_PIECE);
                    self.put(Ok(LiveInput::Audio(piece)), MAX_PIECE).await?;
                }
                let bytes = audio.len();
                self.put(Ok(LiveInput::Audio(audio)), bytes).await
            }
            input => self.put(input, bytes).await,
        }
    }

    async fn put(&self, input: Result<LiveInput, Error>, bytes: usize) -> Result<(), Closed> {
        let permits = u32::try_from(bytes.min(self.capacity)).unwrap_or(u32::MAX);
        let permit = match permits {
            0 => None,
            permits => {
                let bytes = Arc::clone(&self.bytes);
                let acquired = bytes.acquire_many_owned(permits);
                // The session may end meanwhile.
                let acquired = tokio::select! {
                    acquired = acquired => acquired.map_err(|_| Closed)?,
                    () = self.messages.closed() => return Err(Closed),
                };
                Some(acquired)
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

/// Silence of this many bytes.
pub(super) fn silence(bytes: usize) -> Bytes {
    /// The longest silence that is sent at once.
    static ZEROS: [u8; MAX_PIECE] = [0; MAX_PIECE];
    Bytes::from_static(ZEROS.get(..bytes.min(MAX_PIECE)).unwrap_or_default())
}
