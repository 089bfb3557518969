//! The frames that the connection guard follows: they are those of a plain reader, wherever the
//! bytes are cut, and only a connection with a frame that has begun is waited for.
#![no_main]

use dashgate::server::http2_frames::Frames;
use dashgate_fuzz::plain_frames::{self, PREFACE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let plain = plain_frames::read(bytes);
    // One of the sizes is taken from the input itself, so that inputs stay readable.
    for size in [
        usize::MAX,
        1,
        bytes.last().map_or(2, |byte| usize::from(*byte) + 1),
    ] {
        let mut frames = Frames::inbound();
        let mut heads = Vec::new();
        for piece in bytes.chunks(size) {
            frames.follow(piece, |head| heads.push(head));
        }
        let Some((expected, complete)) = &plain else {
            assert!(!frames.is_http2());
            assert_eq!(frames.unfinished(), None);
            continue;
        };
        assert!(frames.is_http2());
        assert_eq!(*expected, heads);
        assert_eq!(*complete, frames.is_between());
        // Between two frames a block of headers may still be unfinished; within one that is not
        // DATA something always is.
        let in_data = heads.last().is_some_and(|head| head.kind == 0);
        if !complete && bytes.len() > PREFACE.len() && !in_data {
            assert!(frames.unfinished().is_some());
        }
    }
});
