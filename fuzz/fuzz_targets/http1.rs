//! Any bytes as an answer of HTTP, cut at any places: nothing panics, no body is longer than its
//! bytes, and where they are cut makes no difference.
#![no_main]

use dashgate::http1::framing::Framing;
use dashgate::http1::head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let Ok(Some((head, length))) = head::read(bytes) else {
        return;
    };
    let body = bytes.get(length..).unwrap_or_default();
    let whole = read(&head, &[body]);
    let pieces: Vec<&[u8]> = body.chunks(usize::from(cut) + 1).collect();
    assert_eq!(whole, read(&head, &pieces));
});

/// The body, whether it ended, and whether what came was one.
fn read(head: &head::Head, pieces: &[&[u8]]) -> (Vec<u8>, bool, bool) {
    let mut body = Vec::new();
    let Ok(mut framing) = Framing::of(head.status, &head.headers) else {
        return (body, false, false);
    };
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    for piece in pieces {
        if framing.take(piece, &mut body).is_err() {
            // What was read before the fault may depend on the cut; that there is one may not.
            return (Vec::new(), false, false);
        }
    }
    assert!(body.len() <= bytes);
    (body, framing.is_done(), true)
}
