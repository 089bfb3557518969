//! Parses the frames of HTTP/2 in passing, without buffering them.
//!
//! The HTTP/2 library reports neither pings nor incomplete frames, and both have to be limited. So
//! frame headers are parsed here a second time: nine bytes each.

/// The client connection preface.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD: usize = 9;

/// Frame types.
pub const DATA: u8 = 0;
/// The headers of a call, or its trailers.
pub const HEADERS: u8 = 1;
/// The settings of a connection.
pub const SETTINGS: u8 = 4;
/// A keepalive request.
pub const PING: u8 = 6;
/// More headers.
pub const CONTINUATION: u8 = 9;
const PUSH_PROMISE: u8 = 5;

/// The flag of PING and SETTINGS that are acknowledgements.
pub const ACK: u8 = 0x1;
/// The flag of the last frame of a request.
pub const END_STREAM: u8 = 0x1;
/// The flag of headers with a priority.
pub const PRIORITIZED: u8 = 0x20;
/// The flag of a frame with padding.
pub const PADDED: u8 = 0x8;
/// The flag of the last frame of headers.
pub const END_HEADERS: u8 = 0x4;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The frame type.
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// The stream.
    pub stream: u32,
    /// The length of the payload.
    pub length: usize,
}

/// A part of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Its header.
    Head(Head),
    /// Part of its payload, and how much of that came before.
    Payload(Head, usize, &'a [u8]),
}

/// The parser state of one direction of a connection.
#[derive(Debug)]
pub struct Frames {
    state: State,
    /// How many times there was nothing incomplete.
    rests: u64,
}

#[derive(Debug)]
enum State {
    /// The number of bytes of the preface received.
    Preface(usize),
    /// The number of bytes of the next header received.
    Head([u8; HEAD], usize),
    /// The number of bytes left of this frame.
    Payload(Head, usize),
    /// Not HTTP/2.
    Other,
}

impl Frames {
    /// From the caller.
    pub fn inbound() -> Self {
        Self::begun(State::Preface(0))
    }

    /// To the caller.
    pub fn outbound() -> Self {
        Self::begun(State::Head([0; HEAD], 0))
    }

    fn begun(state: State) -> Self {
        Self { state, rests: 0 }
    }

    /// Whether the peer has sent enough to determine its protocol.
    pub fn is_greeted(&self) -> bool {
        match self.state {
            State::Preface(_) => false,
            State::Head(..) => self.rests > 0,
            State::Payload(..) | State::Other => true,
        }
    }

    /// Whether it is HTTP/2, as far as known.
    pub fn is_http2(&self) -> bool {
        !matches!(self.state, State::Other)
    }

    /// Whether the last frame is complete and no other has begun.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Head(_, 0))
    }

    /// The number of an incomplete element that has to end soon: a frame header, a frame other than
    /// data, or headers whose frames have not all arrived. The number changes when another begins.
    pub fn unfinished(&self) -> Option<u64> {
        let unfinished = match &self.state {
            State::Preface(_) | State::Other => false,
            State::Head(_, filled) => *filled > 0 || self.in_block(),
            State::Payload(head, _) => head.kind != DATA,
        };
        unfinished.then_some(self.rests >> 1)
    }

    /// Parses these bytes, and calls `each` with each frame header.
    pub fn follow(&mut self, bytes: &[u8], mut each: impl FnMut(Head)) {
        self.follow_pieces(bytes, |piece| {
            if let Piece::Head(head) = piece {
                each(head);
            }
        });
    }

    /// Parses these bytes, and calls `each` with frame headers and payloads.
    pub fn follow_pieces(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece<'_>)) {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Other => return,
                State::Preface(heard) => {
                    bytes = rest;
                    let expected = PREFACE.get(*heard) == Some(&first);
                    *heard += 1;
                    match (expected, *heard == PREFACE.len()) {
                        (false, _) => self.state = State::Other,
                        (true, true) => self.state = State::Head([0; HEAD], 0),
                        (true, false) => {}
                    }
                }
                State::Head(head, filled) => {
                    bytes = rest;
                    if let Some(place) = head.get_mut(*filled) {
                        *place = first;
                    }
                    *filled += 1;
                    if *filled == HEAD {
                        let head = read(*head);
                        each(Piece::Head(head));
                        if head.length == 0 {
                            // Headers may begin with a frame that has no fields.
                            each(Piece::Payload(head, 0, &[]));
                        }
                        self.enter(head, head.length);
                    }
                }
                State::Payload(head, left) => {
                    let taken = bytes.len().min(*left);
                    let (piece, rest) = bytes.split_at(taken);
                    each(Piece::Payload(*head, head.length - *left, piece));
                    bytes = rest;
                    let (head, left) = (*head, *left - taken);
                    self.enter(head, left);
                }
            }
        }
    }

    fn enter(&mut self, head: Head, left: usize) {
        if left > 0 {
            self.state = State::Payload(head, left);
            return;
        }
        self.state = State::Head([0; HEAD], 0);
        let block = [HEADERS, PUSH_PROMISE, CONTINUATION].contains(&head.kind);
        // The lowest bit is set while more frames of the headers are expected.
        self.rests = match block && head.flags & END_HEADERS == 0 {
            true => self.rests | 1,
            false => (self.rests | 1) + 1,
        };
    }

    fn in_block(&self) -> bool {
        self.rests & 1 == 1
    }
}

fn read(head: [u8; HEAD]) -> Head {
    let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    Head {
        kind,
        flags,
        stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        length: length as usize,
    }
}

/// A GOAWAY frame with a reason.
pub fn goaway(last_stream: u32, code: u32, why: &str) -> Vec<u8> {
    const GOAWAY: u8 = 7;
    // The reason is always short.
    let length = u32::try_from(8 + why.len()).unwrap_or_default();
    let [_, a, b, c] = length.to_be_bytes();
    let mut frame = vec![a, b, c, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend(last_stream.to_be_bytes());
    frame.extend(code.to_be_bytes());
    frame.extend(why.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_head_that_is_not_finished_is_known_until_it_is() {
        let mut frames = Frames::inbound();
        let mut after = |bytes: &[u8]| {
            frames.follow(bytes, |_| {});
            (frames.is_greeted(), frames.unfinished())
        };
        assert_eq!(after(&PREFACE[..10]), (false, None));
        assert_eq!(after(&PREFACE[10..]), (false, None));
        let settings = frame(4, 0, 0, &[]);
        assert_eq!(after(&settings[..8]), (false, Some(0)));
        assert_eq!(after(&settings[8..]), (true, None));
        // Headers of three frames are one element from the first byte to the last.
        let head = frame(HEADERS, 0, 1, b"abc");
        let more = frame(CONTINUATION, 0, 1, b"def");
        let last = frame(CONTINUATION, END_HEADERS, 1, b"ghi");
        let first = after(&head[..1]).1;
        assert!(first.is_some());
        for part in [
            &head[1..10],
            &head[10..],
            &more[..3],
            &more[3..],
            &last[..11],
        ] {
            assert_eq!(after(part).1, first);
        }
        assert_eq!(after(&last[11..]).1, None);
        // The next one is another element.
        let second = after(&head[..2]).1;
        assert!(second.is_some() && second != first);
        // Data may arrive as slowly as its reader allows.
        let mut rest = head[2..].to_vec();
        rest.extend(&last);
        rest.extend(&frame(DATA, 0, 1, b"xyz")[..10]);
        assert_eq!(after(&rest).1, None);
    }

    #[test]
    fn what_is_no_http2_is_left_alone() {
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "PRI * HTTP/1.1\r\n\r\n",
            "\x16\x03\x01",
        ] {
            let mut frames = Frames::inbound();
            frames.follow(text.as_bytes(), |head| panic!("{head:?}"));
            assert!(frames.is_greeted() && !frames.is_http2(), "{text:?}");
            assert_eq!(frames.unfinished(), None);
        }
    }

    #[test]
    fn a_goaway_is_a_frame() {
        let mut heads = Vec::new();
        let mut frames = Frames::outbound();
        frames.follow(&goaway(5, 11, "too_many_pings"), |head| heads.push(head));
        assert!(frames.is_between());
        assert_eq!(
            heads,
            [Head {
                kind: 7,
                flags: 0,
                stream: 0,
                length: 22,
            }]
        );
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_they_are_cut(
            all in proptest::collection::vec(
                (0u8..10, any::<u8>(), 0u32..100, proptest::collection::vec(any::<u8>(), 0..40)),
                0..8,
            ),
            size in 1usize..20,
        ) {
            let mut bytes = PREFACE.to_vec();
            let mut expected = Vec::new();
            for (kind, flags, stream, payload) in &all {
                bytes.extend(frame(*kind, *flags, *stream, payload));
                let length = payload.len();
                expected.push(Head { kind: *kind, flags: *flags, stream: *stream, length });
            }
            let (mut frames, mut heads) = (Frames::inbound(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.follow(piece, |head| heads.push(head));
            }
            prop_assert!(frames.is_between());
            prop_assert_eq!(heads, expected);
        }
    }
}
