//! Writes raw audio to stdout for a player, which reads in real time.
//!
//! A thread writes, so that a player that is slower than the model does not delay the other events,
//! and audio of a response that was interrupted can be discarded.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use tokio::sync::Notify;

use super::error::Failure;
use super::terminal::Unwritten;

/// The most bytes that wait for the player: ten minutes at 24 kHz. Beyond it no events are read.
const MAX_QUEUED_BYTES: usize = 600 * 48_000;

/// The most bytes of one write: 100 ms at 24 kHz, so that little remains of what is discarded.
const PIECE_BYTES: usize = 4_800;

/// Audio on its way to a player.
pub(crate) struct AudioPipe(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the queue was closed.
    filled: Condvar,
    /// Something was written, or the thread has ended.
    changed: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
    end: Option<Result<(), Unwritten>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece to write; `None` at the end.
    fn next(&self) -> Option<Bytes> {
        let mut state = self.state();
        loop {
            if let Some(piece) = state.queue.pop_front() {
                state.bytes = state.bytes.saturating_sub(piece.len());
                return Some(piece);
            }
            if state.closed {
                return None;
            }
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self, out: &mut dyn Write) {
        let mut end = Ok(());
        while let Some(piece) = self.next() {
            let written = out.write_all(&piece).and_then(|()| out.flush());
            if let Err(error) = written {
                end = Err(Unwritten::from(error));
                break;
            }
            self.changed.notify_one();
        }
        self.state().end = Some(end);
        self.changed.notify_one();
    }
}

impl AudioPipe {
    /// Starts to write to `out`.
    pub(crate) fn start(mut out: Box<dyn Write + Send>) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new().name("audio".to_owned());
        let started = thread.spawn(move || writing.run(&mut *out));
        started.map_err(|error| Failure::failed("OUTPUT", format!("cannot start: {error}")))?;
        Ok(Self(shared))
    }

    /// Adds audio. It is for the caller to wait for space.
    pub(crate) fn push(&self, mut audio: Bytes) {
        let mut state = self.0.state();
        state.bytes = state.bytes.saturating_add(audio.len());
        while audio.len() > PIECE_BYTES {
            let piece = audio.split_to(PIECE_BYTES);
            state.queue.push_back(piece);
        }
        state.queue.push_back(audio);
        self.0.filled.notify_one();
    }

    /// Discards what is not written yet. Returns whether there was anything.
    pub(crate) fn discard(&self) -> bool {
        let mut state = self.0.state();
        state.bytes = 0;
        let had_any = !state.queue.is_empty();
        state.queue.clear();
        had_any
    }

    /// Whether more audio can be added.
    pub(crate) fn has_space(&self) -> bool {
        self.0.state().bytes < MAX_QUEUED_BYTES
    }

    /// Waits until something was written, or writing failed.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// The failure of writing.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &self.0.state().end {
            Some(Err(why)) => Err(why.clone().into()),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(&self) -> Result<(), Failure> {
        self.0.state().closed = true;
        self.0.filled.notify_one();
        loop {
            if let Some(end) = &self.0.state().end {
                return end.clone().map_err(Failure::from);
            }
            self.changed().await;
        }
    }
}

impl Drop for AudioPipe {
    fn drop(&mut self) {
        // Otherwise the thread would wait for more.
        self.0.state().closed = true;
        self.0.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A player that takes a piece when permitted.
    struct Player(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Player {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn audio_is_written_in_order_and_what_waits_can_be_discarded() {
        let (play, plays) = sync_channel(1);
        let played = Arc::default();
        let pipe = AudioPipe::start(Box::new(Player(plays, Arc::clone(&played)))).unwrap();
        pipe.push(Bytes::from(vec![1; 3 * PIECE_BYTES]));
        // The first piece is written then, and the second one may be with the player.
        play.send(()).unwrap();
        pipe.changed().await;
        assert!(pipe.discard());
        pipe.push(Bytes::from_static(&[2]));
        drop(play);
        pipe.finish().await.unwrap();
        let played = played.lock().unwrap();
        assert_eq!(played.first(), Some(&1));
        assert_eq!(played.last(), Some(&2));
        assert!(played.len() <= 2 * PIECE_BYTES + 1);
    }

    #[tokio::test]
    async fn a_player_that_has_ended_is_reported() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let pipe = AudioPipe::start(Box::new(Gone)).unwrap();
        pipe.push(Bytes::from_static(&[1]));
        pipe.changed().await;
        assert_eq!(pipe.check().unwrap_err().code, "CLOSED");
        assert_eq!(pipe.finish().await.unwrap_err().code, "CLOSED");
    }

    #[test]
    fn the_queue_is_bounded() {
        let (play, plays) = sync_channel(1);
        let pipe = AudioPipe::start(Box::new(Player(plays, Arc::default()))).unwrap();
        assert!(pipe.has_space());
        pipe.push(Bytes::from(vec![0; MAX_QUEUED_BYTES + PIECE_BYTES]));
        assert!(!pipe.has_space());
        pipe.discard();
        assert!(pipe.has_space());
        drop(play);
    }
}
