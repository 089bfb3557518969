//! An event stream, read from memory in the plainest way, to compare the gateway's decoder with.
//!
//! It is written from the HTML standard and the three exceptions that `dashscope::sse` documents,
//! not from its code: the whole stream is split into lines first, and nothing is shared.

use dashgate::dashscope::sse::{Limits, Overflow};

/// An event: the fields of `sse::Frame`, owned.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The last `event` field.
    pub event: Vec<u8>,
    /// The `data` fields, joined by LF.
    pub data: Vec<u8>,
    /// The status in a comment or `status` field.
    pub http_status: Option<u16>,
    /// Whether its last line had an end.
    pub whole: bool,
}

/// The event that is being read.
#[derive(Default)]
struct Draft {
    event: Vec<u8>,
    data: Option<Vec<u8>>,
    http_status: Option<u16>,
}

impl Draft {
    /// Ends the event. One without data is none.
    fn end(&mut self, whole: bool, events: &mut Vec<Event>) {
        let draft = std::mem::take(self);
        if let Some(data) = draft.data {
            events.push(Event {
                event: draft.event,
                data,
                http_status: draft.http_status,
                whole,
            });
        }
    }
}

/// All events of a stream, and the limit that it breaks, if it breaks one.
pub fn read(stream: &[u8], limits: Limits) -> (Vec<Event>, Option<Overflow>) {
    let mut events = Vec::new();
    let mut draft = Draft::default();
    for (number, (line, ended)) in lines(stream).into_iter().enumerate() {
        if line.len() > limits.line_bytes {
            return (events, Some(Overflow::Line));
        }
        let line = match number {
            0 => line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line),
            _ => line,
        };
        if line.is_empty() {
            draft.end(true, &mut events);
            continue;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if (name == b"id" || name == b"event") && draft.data.is_some() {
            draft.end(true, &mut events);
        }
        match name {
            b"" => {
                let digits = value.strip_prefix(b"HTTP_STATUS/");
                draft.http_status = digits.and_then(status).or(draft.http_status);
            }
            b"status" => draft.http_status = status(value).or(draft.http_status),
            b"event" => draft.event = value.to_vec(),
            b"data" => {
                let data = match draft.data.take() {
                    Some(data) => [&data, value].join(&b'\n'),
                    None => value.to_vec(),
                };
                if data.len() > limits.event_bytes {
                    return (events, Some(Overflow::Event));
                }
                draft.data = Some(data);
            }
            _ => {}
        }
        if !ended {
            draft.end(false, &mut events);
        }
    }
    draft.end(true, &mut events);
    (events, None)
}

/// The lines of a stream, without their ends, and whether each has one.
fn lines(stream: &[u8]) -> Vec<(&[u8], bool)> {
    let mut lines = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < stream.len() {
        match stream[at] {
            b'\n' | b'\r' => {
                lines.push((&stream[from..at], true));
                at += if stream[at..].starts_with(b"\r\n") {
                    2
                } else {
                    1
                };
                from = at;
            }
            _ => at += 1,
        }
    }
    if from < at {
        lines.push((&stream[from..at], false));
    }
    lines
}

/// A status of three digits.
fn status(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
