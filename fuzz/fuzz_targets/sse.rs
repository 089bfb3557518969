//! The decoder of event streams: it reads what a plain reader reads, keeps its limits, and does not
//! care where a stream is cut.
#![no_main]

use bytes::Bytes;
use dashgate::dashscope::sse::{Decoder, Limits, Overflow};
use dashgate_fuzz::plain_sse::{self, Event};
use libfuzzer_sys::fuzz_target;

/// Small, so that short inputs reach them.
const LIMITS: Limits = Limits {
    line_bytes: 256,
    event_bytes: 512,
};

fuzz_target!(|stream: &[u8]| {
    let plain = plain_sse::read(stream, LIMITS);
    // Where it is cut is taken from the stream itself, so that inputs stay readable.
    let sizes = [
        usize::MAX,
        1,
        2,
        usize::from(stream.first().copied().unwrap_or(3)).max(1),
    ];
    for size in sizes {
        assert_eq!(plain, decode(stream, size), "in pieces of {size}");
    }
});

fn decode(stream: &[u8], size: usize) -> (Vec<Event>, Option<Overflow>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut events = Vec::new();
    for chunk in stream.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        if let Some(overflow) = drain(&mut decoder, &mut events) {
            return (events, Some(overflow));
        }
    }
    decoder.end();
    let overflow = drain(&mut decoder, &mut events);
    (events, overflow)
}

fn drain(decoder: &mut Decoder, events: &mut Vec<Event>) -> Option<Overflow> {
    loop {
        match decoder.next() {
            Ok(Some(frame)) => {
                assert!(frame.data.len() <= LIMITS.event_bytes);
                events.push(Event {
                    event: frame.event.to_vec(),
                    data: frame.data.to_vec(),
                    http_status: frame.http_status,
                    whole: frame.whole,
                });
            }
            Ok(None) => return None,
            Err(overflow) => return Some(overflow),
        }
    }
}
