//! Any bytes as an answer of an OpenAI-style server, whole and as a stream: the contract of the
//! events holds, an error is one of the server, and the division of the stream into chunks changes
//! nothing. The first byte selects the kind of server, and whether a spoken answer was requested.
#![no_main]

use bytes::Bytes;
use dashgate::chat::event::{Event, Piece};
use dashgate::dashscope::TextForm;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::{Decoder, Limits};
use dashgate::error::Error;
use dashgate::openai::dialect::Dialect;
use dashgate::openai::reply::reply;
use dashgate_fuzz::statuses;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    line_bytes: 1 << 16,
    event_bytes: 1 << 16,
};

const DIALECTS: [&Dialect; 5] = [
    Dialect::DASHSCOPE,
    Dialect::OPENAI,
    Dialect::VLLM,
    Dialect::SGLANG,
    Dialect::SGLANG_OMNI,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&selected, bytes)) = bytes.split_first() else {
        return;
    };
    let selected = usize::from(selected);
    let dialect = DIALECTS[selected % DIALECTS.len()];
    let has_audio = selected / DIALECTS.len() % 2 == 1;
    let start = || {
        let opening = Opening {
            choices: 1 + selected / 10 % 2,
            form: TextForm::Pieces,
            ..Opening::default()
        };
        reply(opening, has_audio, dialect)
    };
    let mut whole = start();
    let outcome = whole.push_whole(bytes).and_then(|()| whole.finish());
    check(&mut whole, outcome);

    let mut pieces = start();
    let outcome = read(bytes, bytes.len().max(1), &mut pieces);
    let at_once = check(&mut pieces, outcome);
    let mut pieces = start();
    let outcome = read(bytes, 1 + selected % 7, &mut pieces);
    assert_eq!(check(&mut pieces, outcome), at_once);
});

fn read(bytes: &[u8], size: usize, reply: &mut Reply) -> Result<(), Error> {
    let mut decoder = Decoder::new(LIMITS);
    for chunk in bytes.chunks(size) {
        decoder.push(Bytes::copy_from_slice(chunk));
        frames(&mut decoder, reply)?;
    }
    decoder.end();
    frames(&mut decoder, reply)?;
    reply.finish_body(true)
}

fn frames(decoder: &mut Decoder, reply: &mut Reply) -> Result<(), Error> {
    while let Ok(Some(frame)) = decoder.next() {
        reply.push_frame(&frame)?;
    }
    Ok(())
}

/// `Started` is first and once; `End` is last, and there exactly when nothing failed. Returns the
/// texts and the audio, and the reason of the error.
fn check(reply: &mut Reply, outcome: Result<(), Error>) -> (String, Vec<u8>, Option<&'static str>) {
    let events: Vec<Event> = std::iter::from_fn(|| reply.pop()).collect();
    let starts = events.iter().filter(|e| matches!(e, Event::Started(_)));
    assert_eq!(starts.count(), usize::from(!events.is_empty()));
    let is_start = |event: &Event| matches!(event, Event::Started(_));
    assert!(events.first().is_none_or(is_start));
    let ends = events.iter().filter(|e| matches!(e, Event::End(_)));
    assert_eq!(ends.count(), usize::from(outcome.is_ok()));
    let (mut text, mut audio) = (String::new(), Vec::new());
    for event in &events {
        let Event::Delta(delta) = event else { continue };
        match &delta.piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Audio(more) => audio.extend_from_slice(more),
            _ => {}
        }
    }
    match outcome {
        Ok(()) => {
            assert!(matches!(events.last(), Some(Event::End(_))));
            (text, audio, None)
        }
        Err(error) => {
            statuses::check(&error);
            (text, audio, Some(error.reason().name()))
        }
    }
}
