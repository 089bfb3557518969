//! Estimates the memory of a response's elements before any of them is decoded.
//!
//! Two bytes of JSON can become hundreds of bytes of a list's element, and compression shortens
//! them a thousandfold on the wire. So JSON above [`UNWEIGHED`] is scanned once: strings are
//! skipped, and every other token counts as what it takes on its way through the gateway.

use memchr::memchr2;

use crate::error::{Error, Reason, Sent};
use crate::memory::CallMemory;

/// JSON up to this length is not weighed. Nearly every event is shorter, and its elements take less
/// than a megabyte, for one event of a call at a time.
const UNWEIGHED: usize = 4 * 1024;

/// An object. Once decoded, it is at most three times as large as the largest type of a list's
/// element (a growing list holds its old buffer beside one of twice the size), plus an event and a
/// message of the answer. An object with a single unknown key is a tree node in the message.
const OBJECT: usize = 1280;

/// A list: its own element in another list, and a capacity of four.
const LIST: usize = 256;

/// An element of a list: a value of any kind while the list grows, its copy in the unknown keys of
/// the part, and a value of the message.
const ELEMENT: usize = 192;

/// A text in a list. Some lists of objects also accept texts, which become objects.
const TEXT: usize = OBJECT;

/// A key of an object, other than the first: its text three times, its value, and its slot in the
/// index of a large object.
const KEY: usize = 384;

/// The part of the memory limit that one answer's elements may count as: one half. The costliest
/// kind, parts with an unknown key each, takes less than twice its estimate, so that no single
/// answer exceeds the limit.
const PART_OF_LIMIT: usize = 2;

/// The estimated memory of the elements of this JSON, without its texts; 0 up to [`UNWEIGHED`].
pub(super) fn weight(json: &[u8]) -> usize {
    match json.len() <= UNWEIGHED {
        true => 0,
        false => weigh(json),
    }
}

/// Fails if an answer with elements of this weight must not be decoded.
pub(super) fn check(weight: usize, memory: &CallMemory, sent: Sent) -> Result<(), Error> {
    let most = memory.limit() / PART_OF_LIMIT;
    if weight <= most {
        return Ok(());
    }
    let message = format!(
        "DashScope's answer has so many elements that it takes more than {most} bytes once it is \
         decoded, one half of memory.limit"
    );
    Err(Error::new(Reason::UpstreamProtocol, message).with_sent(sent))
}

fn weigh(json: &[u8]) -> usize {
    let mut weight = 0_usize;
    // One bit for each level, the innermost last: whether it is a list. Deeper levels are kept as
    // text, so their weight does not matter.
    let mut lists = 0_u128;
    let mut rest = json;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let in_list = lists & 1 == 1;
        let more = match byte {
            b'"' => {
                rest = after_string(after);
                if in_list { TEXT } else { 0 }
            }
            b'{' => {
                lists <<= 1;
                OBJECT
            }
            b'[' => {
                lists = (lists << 1) | 1;
                LIST
            }
            b'}' | b']' => {
                lists >>= 1;
                0
            }
            b',' if in_list => ELEMENT,
            b',' => KEY,
            _ => 0,
        };
        weight = weight.saturating_add(more);
    }
    weight
}

/// The JSON after the string whose opening quote was consumed.
fn after_string(mut json: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', json) {
        let escaped = usize::from(json.get(at) == Some(&b'\\'));
        json = json.get(at + 1 + escaped..).unwrap_or_default();
        if escaped == 0 {
            return json;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::call::Caller;
    use crate::memory::{Kind, MemoryLedger};

    #[test]
    fn only_tokens_outside_of_strings_are_counted() {
        for (json, expected) in [
            ("", 0),
            (r#""{[,""#, 0),
            (r#""\"{[,\\""#, 0),
            ("{}", OBJECT),
            (r#"{"a":1,"b":"x,y"}"#, OBJECT + KEY),
            ("[1,2]", LIST + ELEMENT),
            (r#"["a","b"]"#, LIST + ELEMENT + 2 * TEXT),
            (r#"[{"a":["b"]},1]"#, 2 * LIST + OBJECT + TEXT + ELEMENT),
            (r#"{"a":[1],"b":2}"#, OBJECT + LIST + KEY),
            // Not JSON: the parser reports that.
            ("]]}}\"", 0),
            (r#""\"#, 0),
        ] {
            assert_eq!(weigh(json.as_bytes()), expected, "{json}");
        }
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert_eq!(weigh(deep.as_bytes()), 1000 * LIST);
        assert_eq!(weight(deep.as_bytes()), 0);
        assert_eq!(weight("[".repeat(5000).as_bytes()), 5000 * LIST);
    }

    #[test]
    fn one_answer_may_use_half_of_the_limit() {
        let ledger = MemoryLedger::new(1 << 20);
        let memory = CallMemory::new(ledger.admit(Kind::Requests, Caller::default()).unwrap());
        assert!(check(1 << 19, &memory, Sent::Begun).is_ok());
        let error = check((1 << 19) + 1, &memory, Sent::Begun).unwrap_err();
        assert_eq!(error.reason(), Reason::UpstreamProtocol);
        assert!(error.message().contains("524288 bytes"), "{error:?}");
    }
}
