//! Writes log lines in batches, on a thread of its own.
//!
//! A call must not wait for a slow reader of the log. A line costs one copy; under load a hundred
//! lines cost one write. When the reader stops, lines are dropped and counted, and nothing waits.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are batched, too short to be noticed in a log.
const GATHER: Duration = Duration::from_millis(10);

/// The most bytes in the queue: some thousand lines.
const MAX_WAITING: usize = 1 << 20;

/// Lines dropped since the start of the process, because the reader was too slow.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines dropped since the start of the process, because the reader was too slow.
pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The queue of lines. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Whether the thread is writing a batch.
    writing: bool,
    /// How many callers wait for a flush; the thread then does not wait for more lines.
    flushing: usize,
}

impl Lines {
    /// Starts a thread that writes to `out`. `lost` formats the line about dropped ones.
    pub(super) fn to(out: impl Write + Send + 'static, lost: fn(u64) -> String) -> Self {
        let lines = Self::default();
        let shared = Arc::clone(&lines.shared);
        let thread = thread::Builder::new().name("log".to_owned());
        // A thread can be spawned when a process starts; if not, there is no log.
        let _ = thread.spawn(move || shared.write(out, lost));
        lines
    }

    /// Queues a whole line.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > MAX_WAITING {
            state.lost += 1;
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        if first {
            self.shared.changed.notify_all();
        }
    }

    /// Waits until all lines are written, but at most a second.
    pub(super) fn flush(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut state = self.shared.lock();
        state.flushing += 1;
        self.shared.changed.notify_all();
        let unwritten = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, unwritten);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.flushing -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut out: impl Write, lost_line: fn(u64) -> String) {
        let mut batch = Vec::new();
        loop {
            let lost = {
                let is_idle = |state: &mut State| state.waiting.is_empty();
                let state = self.changed.wait_while(self.lock(), is_idle);
                let mut state = state.unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut batch, &mut state.waiting);
                state.writing = true;
                std::mem::take(&mut state.lost)
            };
            // If standard error is closed, the error cannot be reported.
            let _ = out.write_all(&batch);
            if lost > 0 {
                let _ = writeln!(out, "{}", lost_line(lost));
            }
            let _ = out.flush();
            batch.clear();
            let mut state = self.lock();
            state.writing = false;
            self.changed.notify_all();
            let in_peace = |state: &mut State| state.flushing == 0;
            drop(self.changed.wait_timeout_while(state, GATHER, in_peace));
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A reader that reads when permitted.
    struct Slow(mpsc::Receiver<()>, Arc<Mutex<Vec<u8>>>);

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
    fn lines_are_in_order_and_a_flush_waits_for_them() {
        let (read, reads) = mpsc::sync_channel(1);
        let page = Arc::default();
        let lines = Lines::to(Slow(reads, Arc::clone(&page)), |lost| {
            format!("{lost} were lost")
        });
        drop(read);
        for n in 0..1_000 {
            writeln!(&mut &lines, "line {n}").unwrap();
        }
        lines.flush();
        let text = String::from_utf8(page.lock().unwrap().clone()).unwrap();
        let expected: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_stopped_reader_blocks_nothing_and_the_lost_lines_are_reported() {
        let (read, reads) = mpsc::sync_channel(1);
        let page = Arc::default();
        let lines = Lines::to(Slow(reads, Arc::clone(&page)), |lost| {
            format!("{lost} were lost")
        });
        let line = [b'x'; 1023];
        for _ in 0..4_000 {
            (&mut &lines).write_all(&line).unwrap();
            (&mut &lines).write_all(b"\n").unwrap();
        }
        drop(read);
        lines.flush();
        let text = String::from_utf8(page.lock().unwrap().clone()).unwrap();
        assert!(text.len() < 3 * MAX_WAITING, "{}", text.len());
        assert!(text.contains(" were lost"), "{}", text.len());
    }
}
