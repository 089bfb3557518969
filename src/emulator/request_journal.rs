//! The journal: the requests received, for testers, without credentials and long texts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::clock::{Clock, iso};
use super::image::crc;

/// Longer texts are replaced by their length and checksum.
const SHOWN_CHARACTERS: usize = 256;
/// Bodies that are longer even with shortened texts are omitted.
const SHOWN_BODY: usize = 64 * 1024;

/// The latest requests, the oldest first.
#[derive(Debug)]
pub(super) struct Journal {
    capacity: usize,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    entries: VecDeque<Record>,
}

/// The record of one request.
#[derive(Debug)]
struct Record {
    number: u64,
    came: Instant,
    head: Map<String, Value>,
    status: Option<u16>,
    head_ms: Option<f64>,
    frames: u64,
    bytes: u64,
    end: Option<(&'static str, f64)>,
}

impl Journal {
    /// A journal of at most `capacity` requests.
    pub(super) fn new(capacity: usize, clock: Clock) -> Self {
        Self {
            capacity,
            clock,
            state: Mutex::default(),
        }
    }

    /// Starts an entry.
    pub(super) fn open(self: &Arc<Self>, method: &str, path: &str, headers: &HeaderMap) -> Entry {
        let mut head = Map::new();
        head.insert("came".into(), json!(iso(self.clock.now())));
        head.insert("method".into(), json!(method));
        head.insert("path".into(), json!(shown_path(path)));
        head.insert("headers".into(), shown_headers(headers));
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.entries.push_back(Record {
            number,
            came: Instant::now(),
            head,
            status: None,
            head_ms: None,
            frames: 0,
            bytes: 0,
            end: None,
        });
        while state.entries.len() > self.capacity {
            state.entries.pop_front();
        }
        Entry {
            journal: Arc::clone(self),
            number,
            ended: false,
        }
    }

    /// An entry that is not recorded, for the control endpoints.
    pub(super) fn unrecorded(self: &Arc<Self>) -> Entry {
        Entry {
            journal: Arc::clone(self),
            number: u64::MAX,
            ended: true,
        }
    }

    /// The journal as JSON.
    pub(super) fn json(&self) -> Value {
        let state = self.lock();
        let entries = state.entries.iter().map(Record::json);
        json!({"requests": entries.collect::<Vec<_>>(), "seen": state.next})
    }

    /// Removes all requests; those in flight are no longer recorded.
    pub(super) fn clear(&self) {
        self.lock().entries.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Entries are written field by field: no panic leaves one half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn json(&self) -> Value {
        let mut record = Map::new();
        record.insert("number".into(), json!(self.number));
        record.extend(self.head.clone());
        record.insert("status".into(), json!(self.status));
        record.insert("head_ms".into(), json!(self.head_ms));
        record.insert("frames".into(), json!(self.frames));
        record.insert("bytes".into(), json!(self.bytes));
        let (end, ms) = self.end.unzip();
        record.insert("end".into(), json!(end.unwrap_or("running")));
        record.insert("end_ms".into(), json!(ms));
        record.into()
    }
}

/// The entry of a request in flight. If it is dropped before its end, the client has disconnected.
#[derive(Debug)]
pub(super) struct Entry {
    journal: Arc<Journal>,
    number: u64,
    ended: bool,
}

impl Entry {
    /// Records a fact: the body, the rule that matched, the request id.
    pub(super) fn note(&self, name: &str, value: Value) {
        self.write(|record, _| {
            record.head.insert(name.to_owned(), value);
        });
    }

    /// Records that the head was sent.
    pub(super) fn head(&self, status: u16) {
        self.write(|record, ms| {
            record.status = Some(status);
            record.head_ms = Some(ms);
        });
    }

    /// Records that a part of the body was sent.
    pub(super) fn sent(&self, bytes: usize, frame: bool) {
        self.write(|record, _| {
            record.frames += u64::from(frame);
            record.bytes += u64::try_from(bytes).unwrap_or(0);
        });
    }

    /// Records the end. Only the first one counts.
    pub(super) fn end(&mut self, how: &'static str) {
        if !self.ended {
            self.ended = true;
            self.write(|record, ms| record.end = Some((how, ms)));
        }
    }

    fn write(&self, write: impl FnOnce(&mut Record, f64)) {
        let mut state = self.journal.lock();
        // Numbers are consecutive, so the index follows from the first one.
        let first = state.entries.front().map_or(0, |record| record.number);
        let index = self.number.checked_sub(first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| state.entries.get_mut(index)) {
            let ms = record.came.elapsed().as_secs_f64() * 1000.0;
            write(record, (ms * 1000.0).round() / 1000.0);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.end("client closed");
    }
}

const SECRET: [&str; 6] = ["auth", "key", "token", "cookie", "secret", "sign"];

/// Whether a name denotes a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

fn shown_headers(headers: &HeaderMap) -> Value {
    let show = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let bearer = text.starts_with("Bearer ");
        let text = match is_secret(name.as_str()) {
            true if bearer => "Bearer ****".to_owned(),
            true => "****".to_owned(),
            false => short(&text),
        };
        json!([name.as_str(), text])
    };
    headers.iter().map(show).collect()
}

fn shown_path(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return short(path);
    };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=****"),
        _ => pair.to_owned(),
    });
    short(&format!("{path}?{}", pairs.collect::<Vec<_>>().join("&")))
}

/// The text, or its length and checksum if it is long.
pub(super) fn short(text: &str) -> String {
    if text.chars().nth(SHOWN_CHARACTERS).is_none() {
        return text.to_owned();
    }
    let crc = crc(text.as_bytes());
    format!("<{} bytes, crc32 {crc:08x}>", text.len())
}

/// A body with its long texts shortened.
pub(super) fn shown_body(body: &Value) -> Value {
    let shown = shortened(body);
    let length = shown.to_string().len();
    if length > SHOWN_BODY {
        return json!(format!(
            "<{length} bytes of JSON with its long texts shortened>"
        ));
    }
    shown
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => short(text).into(),
        Value::Array(list) => list.iter().map(shortened).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (short(name), shortened(value)))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_has_the_events_of_a_request_and_their_times() {
        let journal = Arc::new(Journal::new(2, Clock::new()));
        let mut entry = journal.open("POST", "/a?model=m&token=canary", &HeaderMap::new());
        tokio::time::advance(Duration::from_millis(250)).await;
        entry.head(200);
        entry.sent(10, true);
        entry.sent(5, false);
        assert_eq!(journal.json()["requests"][0]["end"], "running");
        tokio::time::advance(Duration::from_millis(250)).await;
        entry.end("completed");
        drop(entry);
        let told = journal.json()["requests"][0].clone();
        assert_eq!(told["path"], "/a?model=m&token=****");
        assert_eq!(
            (&told["status"], &told["head_ms"]),
            (&json!(200), &json!(250.0))
        );
        assert_eq!((&told["frames"], &told["bytes"]), (&json!(1), &json!(15)));
        assert_eq!(
            (&told["end"], &told["end_ms"]),
            (&json!("completed"), &json!(500.0))
        );
        drop(journal.open("GET", "/b", &HeaderMap::new()));
        drop(journal.open("GET", "/c", &HeaderMap::new()));
        let told = journal.json();
        assert_eq!(told["requests"].as_array().unwrap().len(), 2);
        assert_eq!(told["requests"][0]["end"], "client closed");
        assert_eq!(told["seen"], 3);
        journal.clear();
        assert_eq!(journal.json()["requests"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_and_long_texts_are_not_recorded() {
        let journal = Arc::new(Journal::new(9, Clock::new()));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer sk-canary"),
            ("x-api-key", "canary"),
            ("cookie", "canary"),
            ("accept", "text/event-stream"),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        let entry = journal.open("POST", "/", &headers);
        let long = "canary".repeat(100);
        entry.note(
            "body",
            shown_body(&json!({"a": [{"b": long}], "c": "short"})),
        );
        let told = journal.json().to_string();
        assert!(!told.contains("canary"), "{told}");
        assert!(told.contains("Bearer ****") && told.contains("text/event-stream"));
        assert!(told.contains("<600 bytes, crc32 ") && told.contains("short"));
        let many = Value::from(vec!["x".repeat(200); 1000]);
        assert!(shown_body(&many).is_string());
    }
}
