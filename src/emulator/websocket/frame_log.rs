//! The frames of a socket for the journal: shortened, and consecutive ones of a kind counted.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::emulator::request_journal::{Entry, shown_body};

/// Rows of one socket in the journal; later frames are only counted.
const MAX_ROWS: usize = 256;
/// Bytes of the frames of one socket that are shown; of later ones only the type and the length is.
const MAX_SHOWN: usize = 64 * 1024;
/// Types whose consecutive frames are one row: the ones that carry audio or text in chunks.
const COUNTED: [&str; 4] = [".append", ".delta", "binary", "continue-task"];

/// The log of one socket.
#[derive(Debug)]
pub(super) struct FrameLog {
    began: Instant,
    rows: Vec<Row>,
    omitted: u64,
    noted: usize,
    shown: usize,
}

#[derive(Debug)]
struct Row {
    from: &'static str,
    kind: String,
    ms: u128,
    count: u64,
    bytes: usize,
    frame: Value,
}

impl FrameLog {
    /// An empty log.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            rows: Vec::new(),
            omitted: 0,
            noted: 0,
            shown: 0,
        }
    }

    /// Records a text frame. `from` is `client` or `server`.
    pub(super) fn text(&mut self, from: &'static str, kind: &str, text: &str, entry: &Entry) {
        // Most frames are only counted.
        let shown = || match serde_json::from_str::<Value>(text) {
            Ok(frame) => shown_body(&frame),
            Err(_) => shown_body(&Value::String(text.to_owned())),
        };
        self.add(from, kind, text.len(), shown, entry);
    }

    /// Records a binary frame.
    pub(super) fn binary(&mut self, from: &'static str, bytes: &Bytes, entry: &Entry) {
        self.add(from, "binary", bytes.len(), || Value::Null, entry);
    }

    /// Records a close frame.
    pub(super) fn close(&mut self, from: &'static str, code: u16, reason: &str, entry: &Entry) {
        let shown = || json!({"code": code, "reason": reason});
        self.add(from, "close", 0, shown, entry);
    }

    fn add(
        &mut self,
        from: &'static str,
        kind: &str,
        bytes: usize,
        frame: impl FnOnce() -> Value,
        entry: &Entry,
    ) {
        if from == "server" {
            entry.sent(bytes, true);
        }
        let is_counted = COUNTED.iter().any(|end| kind.ends_with(end));
        let last = self.rows.last_mut().filter(|_| is_counted);
        if let Some(row) = last.filter(|row| row.from == from && row.kind == kind) {
            row.count += 1;
            row.bytes += bytes;
            return;
        }
        if self.rows.len() >= MAX_ROWS {
            self.omitted += 1;
            return;
        }
        let mut frame = match self.shown < MAX_SHOWN {
            true => frame(),
            false => Value::Null,
        };
        self.shown += frame.to_string().len();
        if self.shown > MAX_SHOWN {
            frame = Value::Null;
        }
        self.rows.push(Row {
            from,
            kind: kind.to_owned(),
            ms: self.began.elapsed().as_millis(),
            count: 1,
            bytes,
            frame,
        });
    }

    /// Writes the log to the journal if it has new rows.
    pub(super) fn note_new_rows(&mut self, entry: &Entry) {
        if self.noted < self.rows.len() {
            self.note(entry);
        }
    }

    /// Writes the log to the journal.
    pub(super) fn note(&mut self, entry: &Entry) {
        self.noted = self.rows.len();
        let row = |row: &Row| {
            json!({"from": row.from, "ms": row.ms, "type": row.kind, "count": row.count,
                "bytes": row.bytes, "frame": row.frame})
        };
        entry.note("socket", self.rows.iter().map(row).collect());
        if self.omitted > 0 {
            entry.note("socket_omitted", json!(self.omitted));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderMap;

    use super::*;
    use crate::emulator::clock::Clock;
    use crate::emulator::request_journal::Journal;

    #[tokio::test(start_paused = true)]
    async fn chunks_are_counted_and_audio_is_shortened() {
        let journal = Arc::new(Journal::new(2, Clock::new()));
        let entry = journal.open("GET", "/", &HeaderMap::new());
        let mut log = FrameLog::new();
        let audio = "A".repeat(4268);
        let append = json!({"type": "input_audio_buffer.append", "audio": audio}).to_string();
        for _ in 0..3 {
            log.text("client", "input_audio_buffer.append", &append, &entry);
        }
        log.text("server", "session.created", "{\"a\":1}", &entry);
        log.close("server", 1000, "", &entry);
        log.note(&entry);
        let rows = journal.json()["requests"][0]["socket"].clone();
        assert_eq!(rows.as_array().unwrap().len(), 3);
        assert_eq!(rows[0]["count"], 3);
        let shown = rows[0]["frame"]["audio"].as_str().unwrap();
        assert!(shown.starts_with("<4268 bytes, crc32 "), "{shown}");
        assert_eq!(rows[1]["frame"]["a"], 1);
        assert_eq!(rows[2]["frame"]["code"], 1000);
    }
}
