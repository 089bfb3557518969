//! Writes that a blocked reader does not stop.
//!
//! A full pipe blocks its writer. Here a thread of its own writes; a flush waits for it, with a
//! timeout, and once the queue is full, further output is lost.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

/// Timeout of a flush, long enough for every active reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// Capacity of the queue in chunks. A server writes a handful of lines in its life.
const QUEUE: usize = 16;

/// Passes its output to a thread.
pub(crate) struct Patient {
    pieces: SyncSender<Vec<u8>>,
    /// One result for each chunk.
    written: Receiver<io::Result<()>>,
    /// Chunks that are not written yet.
    waiting: usize,
}

impl Patient {
    /// Starts a thread that writes to `out`.
    pub(crate) fn new(mut out: impl Write + Send + 'static) -> Self {
        let (pieces, queue) = sync_channel::<Vec<u8>>(QUEUE);
        let (told, written) = sync_channel(QUEUE * 2);
        // Without a thread nothing is written, and every write fails.
        let _ = thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || {
                while let Ok(piece) = queue.recv() {
                    let done = out.write_all(&piece).and_then(|()| out.flush());
                    if told.send(done).is_err() {
                        return;
                    }
                }
            });
        Self {
            pieces,
            written,
            waiting: 0,
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.written.try_recv() {
                // The flush that waits for it reports the error.
                Ok(_) => self.waiting = self.waiting.saturating_sub(1),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        match self.pieces.try_send(bytes.to_vec()) {
            Ok(()) => {
                self.waiting += 1;
                Ok(bytes.len())
            }
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut all = Ok(());
        while self.waiting > 0 {
            match self.written.recv_timeout(PATIENCE) {
                Ok(done) => {
                    self.waiting -= 1;
                    all = all.and(done);
                }
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A reader that reads when permitted.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_reads_gets_every_line_before_a_flush_is_over() {
        let (read, reads) = sync_channel(1);
        let page = Arc::default();
        let mut out = Patient::new(Slow(reads, Arc::clone(&page)));
        drop(read);
        for line in ["one\n", "two\n"] {
            out.write_all(line.as_bytes()).unwrap();
        }
        out.flush().unwrap();
        assert_eq!(*page.lock().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nobody() {
        let (_read, reads) = sync_channel(1);
        let mut out = Patient::new(Slow(reads, Arc::default()));
        let refused = (0..100).find_map(|_| out.write_all(b"line\n").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(out.flush().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
