//! The event decoder: it must not panic, must keep its bounds, and must not care where a stream is
//! cut.
#![no_main]

use bytes::Bytes;
use dashgate::dashscope::sse::{Decoder, Frame, Limits, Overflow};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    line_bytes: 256,
    event_bytes: 512,
};

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (stream, size) = input;
    let whole = decode(&stream, usize::MAX);
    let cut = decode(&stream, usize::from(size).max(1));
    assert_eq!(whole, cut);
    assert!(whole.0.iter().all(|frame| frame.data.len() <= LIMITS.event_bytes));
});

fn decode(stream: &[u8], size: usize) -> (Vec<Frame>, Option<Overflow>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut frames = Vec::new();
    for chunk in stream.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        if let Some(overflow) = drain(&mut decoder, &mut frames) {
            return (frames, Some(overflow));
        }
    }
    decoder.end();
    let overflow = drain(&mut decoder, &mut frames);
    (frames, overflow)
}

fn drain(decoder: &mut Decoder, frames: &mut Vec<Frame>) -> Option<Overflow> {
    loop {
        match decoder.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return None,
            Err(overflow) => return Some(overflow),
        }
    }
}
