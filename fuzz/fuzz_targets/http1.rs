//! Any bytes as an answer of HTTP/1.1: where they are cut makes no difference, no body is longer
//! than its bytes, and what is read of a chunked body is what a plain reader reads.
#![no_main]

use dashgate::http1::framing::Framing;
use dashgate::http1::head::{self, Head};
use libfuzzer_sys::fuzz_target;

/// A body, how many bytes belong to it, and whether it ended; nothing if it is malformed.
type Read = Option<(Vec<u8>, usize, bool)>;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((head, length))) = head::read(bytes) else {
        return;
    };
    assert!(length <= bytes.len());
    for cut in 1..length {
        // What is not complete is not taken for a shorter head.
        if let Ok(Some((_, shorter))) = head::read(&bytes[..cut]) {
            panic!("a head of {length} bytes is one of {shorter} at {cut}");
        }
    }
    let body = bytes.get(length..).unwrap_or_default();
    let whole = read(&head, &[body]);
    // One of the sizes is taken from the body itself, so that inputs stay readable.
    for size in [1, body.first().map_or(2, |byte| usize::from(*byte) + 1)] {
        let pieces: Vec<&[u8]> = body.chunks(size).collect();
        assert_eq!(whole, read(&head, &pieces), "in pieces of {size}");
    }
    if let (Ok(Framing::Chunked(_)), Some((read, used, true))) = (framing(&head), &whole) {
        assert_eq!(plain(&body[..*used]).as_ref(), Some(read));
    }
});

fn framing(head: &Head) -> Result<Framing, &'static str> {
    Framing::of(head.status, &head.headers)
}

fn read(head: &Head, pieces: &[&[u8]]) -> Read {
    let mut body = Vec::new();
    let mut framing = framing(head).ok()?;
    let (mut used, mut bytes) = (0, 0);
    for piece in pieces {
        used += framing.take(piece, &mut body).ok()?;
        bytes += piece.len();
        assert!(
            used == bytes || framing.is_done(),
            "bytes are left before the end"
        );
    }
    assert!(body.len() <= used);
    Some((body, used, framing.is_done()))
}

/// The data of a chunked body that is complete: RFC 9112, section 7.1.
fn plain(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        // What follows the digits is an extension, in any encoding.
        let digits = bytes[..end]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let digits = std::str::from_utf8(&bytes[..digits]).ok()?;
        let size = u64::from_str_radix(digits, 16).ok()?;
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(body);
        }
        let data = bytes.split_at_checked(usize::try_from(size).ok()?)?;
        body.extend(data.0);
        bytes = data.1.strip_prefix(b"\r\n")?;
    }
}
