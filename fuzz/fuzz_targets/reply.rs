//! The answer decoder: whatever the bytes, no panic, and the contract of the event stream holds.
#![no_main]

use bytes::Bytes;
use dashgate::chat::event::Event;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::{Decoder, Limits};
use dashgate::error::Error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Reply::new(Opening::default());
    let outcome = whole.take_whole(bytes).and_then(|()| whole.finish());
    check(&mut whole, outcome);

    let mut reply = Reply::new(Opening::default());
    let outcome = read(bytes, &mut reply).and_then(|()| reply.finish());
    check(&mut reply, outcome);
});

fn read(bytes: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let mut decoder = Decoder::new(Limits {
        line_bytes: 1 << 16,
        event_bytes: 1 << 16,
    });
    decoder.push(Bytes::copy_from_slice(bytes));
    decoder.end();
    while let Ok(Some(frame)) = decoder.next() {
        reply.take_frame(&frame)?;
    }
    Ok(())
}

/// `Started` is first and once; `End` is last, and there exactly when nothing failed.
fn check(reply: &mut Reply, outcome: Result<(), Error>) {
    let events: Vec<Event> = std::iter::from_fn(|| reply.pop()).collect();
    let starts = events.iter().filter(|e| matches!(e, Event::Started(_))).count();
    let ends = events.iter().filter(|e| matches!(e, Event::End(_))).count();
    assert_eq!(starts, usize::from(!events.is_empty()));
    assert_eq!(ends, usize::from(outcome.is_ok()));
    assert!(events.first().is_none_or(|e| matches!(e, Event::Started(_))));
    assert!(outcome.is_err() || matches!(events.last(), Some(Event::End(_))));
}
