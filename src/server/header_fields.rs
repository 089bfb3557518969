//! Limits the header fields of a connection beyond those that its calls may have.
//!
//! HPACK encodes a repeated field in one byte, so 30 KB of headers are 30,000 fields, and each
//! costs as much to decode, store and drop as one that was sent in full: milliseconds, before the
//! size can be checked. So the fields of large header blocks are counted as they arrive, by their
//! lengths alone, without decoding strings.

use tokio::time::Instant;

use super::http2_frames::{self, Head};

/// A complete header block up to this length is not counted: it has no more fields than that.
const UNCOUNTED: usize = 512;

/// The minimum size of a field in HTTP/2's accounting. The fields that a call may have are not
/// charged.
const LEAST_FIELD: usize = 32;

/// How many additional fields a connection may send at once. They take about half a millisecond,
/// and headers of 1 MiB with fields of 256 bytes have as many.
const INITIAL: usize = 4 * 1024;

/// The credit per second: headers as large as that per minute.
const PER_SECOND: usize = INITIAL / 60;

/// The header fields of one connection.
#[derive(Debug)]
pub(super) struct HeaderFields {
    /// The number of fields in a header block that are not charged.
    free: usize,
    credit: usize,
    /// When credit was last added for time.
    refilled: Instant,
    /// Whether the current header block is counted.
    counts: bool,
    /// How many bytes of the frame precede its fields, and how many follow them.
    lead: usize,
    padding: usize,
    state: State,
    fields: usize,
}

/// The next token of a header block.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A field, or the end.
    Field,
    /// The rest of a field's number; then this many strings.
    Number(u8),
    /// The length of a string; this many are left.
    Length(u8),
    /// The rest of that length, its value so far, and its shift.
    MoreLength(u8, u64, u32),
    /// This many bytes of a string.
    Text(u8, u64),
}

impl HeaderFields {
    /// The limits of a connection whose calls may have this much metadata.
    pub(super) fn new(max_metadata: usize) -> Self {
        Self {
            free: max_metadata / LEAST_FIELD,
            credit: INITIAL,
            refilled: Instant::now(),
            counts: false,
            lead: 0,
            padding: 0,
            state: State::Field,
            fields: 0,
        }
    }

    /// Counts some bytes of a frame, after `before` earlier ones. Returns whether the connection
    /// may continue.
    pub(super) fn follow(&mut self, head: Head, before: usize, mut bytes: &[u8]) -> bool {
        match head.kind {
            http2_frames::HEADERS if before == 0 => self.begin(head, bytes),
            http2_frames::CONTINUATION if before == 0 => (self.lead, self.padding) = (0, 0),
            http2_frames::HEADERS | http2_frames::CONTINUATION => {}
            _ => return true,
        }
        if !self.counts {
            return true;
        }
        let lead = self.lead.saturating_sub(before).min(bytes.len());
        let end = head.length.saturating_sub(self.padding);
        let end = end.saturating_sub(before).min(bytes.len());
        bytes = bytes.get(lead..end).unwrap_or_default();
        let charged = self.fields.max(self.free);
        self.read(bytes);
        self.pay(self.fields.saturating_sub(charged))
    }

    fn begin(&mut self, head: Head, bytes: &[u8]) {
        let is = |flag| head.flags & flag != 0;
        self.counts = head.length > UNCOUNTED || !is(http2_frames::END_HEADERS);
        self.lead =
            usize::from(is(http2_frames::PADDED)) + 5 * usize::from(is(http2_frames::PRIORITIZED));
        self.padding = match bytes.first() {
            Some(length) if is(http2_frames::PADDED) => usize::from(*length),
            _ => 0,
        };
        (self.state, self.fields) = (State::Field, 0);
    }

    /// Reads the representations of RFC 7541, section 6.
    fn read(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.state = match self.state {
                State::Field => {
                    self.fields += 1;
                    first(byte)
                }
                State::Number(texts) if byte & 0x80 == 0 => next(texts),
                State::Number(_) => self.state,
                State::Length(texts) => match byte & 0x7f {
                    0x7f => State::MoreLength(texts, 0x7f, 0),
                    length => text(texts, u64::from(length)),
                },
                State::MoreLength(texts, length, shift) => {
                    // Finally longer than any header block: the HTTP library rejects what is not a
                    // number.
                    let more = u64::from(byte & 0x7f) << shift.min(32);
                    let length = length.saturating_add(more);
                    match byte & 0x80 {
                        0 => text(texts, length),
                        _ => State::MoreLength(texts, length, (shift + 7).min(32)),
                    }
                }
                State::Text(texts, left) => {
                    // This byte, and the rest of the string.
                    let more = usize::try_from(left - 1).unwrap_or(usize::MAX);
                    let more = more.min(bytes.len());
                    bytes = bytes.get(more..).unwrap_or_default();
                    text(texts, left - 1 - more as u64)
                }
            };
        }
    }

    fn pay(&mut self, cost: usize) -> bool {
        if self.credit < cost {
            let millis = usize::try_from(self.refilled.elapsed().as_millis());
            let given = millis.unwrap_or(usize::MAX).saturating_mul(PER_SECOND) / 1000;
            if given > 0 {
                self.refilled = Instant::now();
                self.credit = self.credit.saturating_add(given).min(INITIAL);
            }
        }
        let left = self.credit.checked_sub(cost);
        self.credit = left.unwrap_or_default();
        left.is_some()
    }
}

/// The token after the first byte of a field.
fn first(byte: u8) -> State {
    // The number of bits of the number, and of strings that follow if it names no field.
    let (bits, texts) = match byte.leading_zeros() {
        0 => (7, 0),
        1 => (6, 2),
        // A table size update: no field, and no string.
        2 => (5, 0),
        _ => (4, 2),
    };
    let most = (1 << bits) - 1;
    let texts = |number| if texts == 2 && number > 0 { 1 } else { texts };
    match byte & most {
        number if number == most => State::Number(texts(number)),
        number => next(texts(number)),
    }
}

fn next(texts: u8) -> State {
    match texts {
        0 => State::Field,
        _ => State::Length(texts),
    }
}

fn text(texts: u8, left: u64) -> State {
    match left {
        0 => next(texts - 1),
        left => State::Text(texts, left),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A number in HPACK's encoding.
    fn number(first: u8, bits: u32, value: usize) -> Vec<u8> {
        let most = (1usize << bits) - 1;
        if value < most {
            return vec![first | value as u8];
        }
        let (mut bytes, mut left) = (vec![first | most as u8], value - most);
        while left >= 128 {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    fn literal(text: &[u8]) -> Vec<u8> {
        [number(0, 7, text.len()), text.to_vec()].concat()
    }

    #[derive(Clone, Debug)]
    enum Field {
        Indexed(usize),
        Literal(u8, u32, usize, Vec<u8>, Vec<u8>),
        Size(usize),
    }

    impl Field {
        fn bytes(&self) -> Vec<u8> {
            match self {
                Self::Indexed(index) => number(0x80, 7, *index),
                Self::Size(size) => number(0x20, 5, *size),
                Self::Literal(first, bits, 0, name, value) => {
                    [number(*first, *bits, 0), literal(name), literal(value)].concat()
                }
                Self::Literal(first, bits, index, _, value) => {
                    [number(*first, *bits, *index), literal(value)].concat()
                }
            }
        }
    }

    fn field() -> impl Strategy<Value = Field> {
        let text = || proptest::collection::vec(any::<u8>(), 0..400);
        let kind = prop_oneof![Just((0x40, 6)), Just((0x00, 4)), Just((0x10, 4))];
        prop_oneof![
            (1usize..500).prop_map(Field::Indexed),
            (0usize..9000).prop_map(Field::Size),
            (kind, 0usize..300, text(), text())
                .prop_map(|((first, bits), index, n, v)| Field::Literal(first, bits, index, n, v)),
        ]
    }

    fn head(kind: u8, flags: u8, length: usize) -> Head {
        Head {
            kind,
            flags,
            stream: 1,
            length,
        }
    }

    /// Sends a complete header block, in one frame.
    fn send(fields: &mut HeaderFields, bytes: &[u8]) -> bool {
        let head = head(
            http2_frames::HEADERS,
            http2_frames::END_HEADERS,
            bytes.len(),
        );
        fields.follow(head, 0, bytes)
    }

    proptest! {
        #[test]
        fn fields_are_counted_wherever_they_are_cut(
            all in proptest::collection::vec(field(), 0..30),
            (padding, prioritized) in (proptest::option::of(0u8..60), any::<bool>()),
            (first, size) in (0usize..2000, 1usize..700),
        ) {
            let block = all.iter().flat_map(Field::bytes).collect::<Vec<_>>();
            let (first, rest) = block.split_at(first.min(block.len()));
            let mut fields = HeaderFields::new(8192);
            let mut flags = 0;
            let mut payload = Vec::new();
            if let Some(padding) = padding {
                flags |= http2_frames::PADDED;
                payload.push(padding);
            }
            if prioritized {
                flags |= http2_frames::PRIORITIZED;
                payload.extend([0xff; 5]);
            }
            payload.extend(first);
            payload.extend(vec![0xbe; usize::from(padding.unwrap_or_default())]);
            let frames = [(head(http2_frames::HEADERS, flags, payload.len()), &payload[..]),
                (head(http2_frames::CONTINUATION, http2_frames::END_HEADERS, rest.len()), rest)];
            for (head, payload) in frames {
                if payload.is_empty() {
                    prop_assert!(fields.follow(head, 0, payload));
                }
                for (at, piece) in payload.chunks(size).enumerate() {
                    prop_assert!(fields.follow(head, at * size, piece));
                }
            }
            prop_assert_eq!(fields.fields, all.len());
        }

        #[test]
        fn any_bytes_are_borne(
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
            (flags, size) in (any::<u8>(), 1usize..40),
        ) {
            let mut fields = HeaderFields::new(8192);
            let head = head(http2_frames::HEADERS, flags & !http2_frames::END_HEADERS, bytes.len());
            for (at, piece) in bytes.chunks(size).enumerate() {
                fields.follow(head, at * size, piece);
            }
            prop_assert!(fields.fields <= bytes.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_call_may_have_is_free_and_more_is_bounded() {
        let mut fields = HeaderFields::new(8192);
        for _ in 0..10_000 {
            assert!(send(&mut fields, &[0xbe; 256]));
            assert!(send(&mut fields, &[0xbe; 512]));
        }
        let large = [0xbe; 30_000];
        assert!(!send(&mut fields, &large), "one such head is too much");
        // A slightly too large one may come several times, and again after some time.
        let mut fields = HeaderFields::new(8192);
        let large = [0xbe; 256 + 1000];
        for _ in 0..3 {
            let borne = (0..10).take_while(|_| send(&mut fields, &large)).count();
            assert_eq!(borne, 4);
            tokio::time::advance(Duration::from_secs(61)).await;
        }
    }
}
