//! Limits the frames without payload that a connection may send, relative to its useful traffic.
//!
//! Each control frame costs a credit, and one more for each 32 bytes in it. Credit is earned by
//! useful traffic (calls, data received, data sent) and by time. Clients respond to each frame of
//! data with up to two `WINDOW_UPDATE` and a `PING`, which determines the credit of a frame of
//! data; a flood of frames earns nothing and ends its connection.

use tokio::time::Instant;

use super::http2_frames::{self, Head};

/// The initial credit, and the maximum earned by time. A client sends about ten control frames
/// before its first call.
const INITIAL: usize = 1_000;

/// The credit earned per second. Keepalive is one frame in ten seconds.
const PER_SECOND: usize = 100;

/// The maximum credit: what a client may send for 64 MiB of responses that it has not acknowledged
/// yet.
const MOST: usize = 10_000;

/// The credit of a call: a reset, a priority, a window update, and one in reserve.
const CALL: usize = 4;

/// The credit of a frame of data sent: `WINDOW_UPDATE` for the stream and the connection, a `PING`
/// to measure the round trip, and one in reserve.
const SENT_DATA: usize = 4;

/// Frames of data below this earn nothing. The shortest event is longer; a caller that opens its
/// window byte by byte causes shorter ones.
const SMALL_DATA: usize = 8;

/// Data sent earn an additional credit for each of these bytes: some clients open their window as
/// they read.
const SENT_BYTES: usize = 512;

/// Data received earn a credit for each of these bytes.
const RECEIVED_BYTES: usize = 1024;

/// The maximum of a data frame's padding with its length.
const MAX_PADDING: usize = 256;

/// A control frame costs an additional credit for each of these bytes.
const CONTROL_BYTES: usize = 32;

/// The headers of a call cost a credit for each of these bytes: 1 MiB is the maximum read.
const HEADER_BYTES: usize = 16 * 1024;

/// The credit of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    credit: usize,
    /// When credit was last added for time.
    refilled: Instant,
}

impl FrameBudget {
    /// The credit of a new connection.
    pub fn start() -> Self {
        Self {
            credit: INITIAL,
            refilled: Instant::now(),
        }
    }

    /// Counts a received frame. Returns whether the connection may continue.
    pub fn received(&mut self, head: Head) -> bool {
        let Head {
            kind,
            flags,
            length,
            ..
        } = head;
        match kind {
            http2_frames::DATA => {
                let padded = flags & http2_frames::PADDED != 0 && length <= MAX_PADDING;
                if length > 0 && !padded {
                    self.earn(length / RECEIVED_BYTES);
                    return true;
                }
                // An empty frame that ends a request is useful.
                flags & http2_frames::END_STREAM != 0 || self.pay(1)
            }
            http2_frames::HEADERS => {
                self.earn(CALL);
                self.pay(length / HEADER_BYTES)
            }
            http2_frames::CONTINUATION => self.pay(length / HEADER_BYTES),
            _ => self.pay(1 + length / CONTROL_BYTES),
        }
    }

    /// Counts a sent frame.
    pub fn sent(&mut self, head: Head) {
        match head.kind {
            http2_frames::DATA if head.length < SMALL_DATA => {}
            http2_frames::DATA => self.earn(SENT_DATA + head.length / SENT_BYTES),
            http2_frames::HEADERS => self.earn(CALL),
            // Each is acknowledged by one frame.
            http2_frames::PING | http2_frames::SETTINGS if head.flags & http2_frames::ACK == 0 => {
                self.earn(1)
            }
            _ => {}
        }
    }

    fn earn(&mut self, credit: usize) {
        self.credit = (self.credit + credit).min(MOST);
    }

    fn pay(&mut self, cost: usize) -> bool {
        if self.credit < cost {
            self.refill();
        }
        let left = self.credit.checked_sub(cost);
        self.credit = left.unwrap_or_default();
        left.is_some()
    }

    /// Adds the credit earned by time. The clock is read only if the credit is used up.
    fn refill(&mut self) {
        let millis = usize::try_from(self.refilled.elapsed().as_millis()).unwrap_or(usize::MAX);
        let given = millis.saturating_mul(PER_SECOND) / 1000;
        if given > 0 {
            self.refilled = Instant::now();
            self.credit = (self.credit + given).min(INITIAL.max(self.credit));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn head(kind: u8, flags: u8, length: usize) -> Head {
        Head {
            kind,
            flags,
            stream: 1,
            length,
        }
    }

    const PRIORITY: u8 = 2;
    const RST_STREAM: u8 = 3;
    const WINDOW_UPDATE: u8 = 8;
    const UNKNOWN: u8 = 200;

    #[tokio::test(start_paused = true)]
    async fn floods_end_within_the_initial_credit() {
        for (name, frame, most) in [
            ("PING", head(http2_frames::PING, 0, 8), 1_000),
            (
                "PING-ACK",
                head(http2_frames::PING, http2_frames::ACK, 8),
                1_000,
            ),
            ("SETTINGS", head(http2_frames::SETTINGS, 0, 6), 1_000),
            (
                "SETTINGS of 16 KiB",
                head(http2_frames::SETTINGS, 0, 16_380),
                1,
            ),
            (
                "SETTINGS-ACK",
                head(http2_frames::SETTINGS, http2_frames::ACK, 0),
                1_000,
            ),
            ("WINDOW_UPDATE", head(WINDOW_UPDATE, 0, 4), 1_000),
            ("PRIORITY", head(PRIORITY, 0, 5), 1_000),
            ("RST_STREAM", head(RST_STREAM, 0, 4), 1_000),
            ("unknown", head(UNKNOWN, 0, 0), 1_000),
            ("unknown of 16 KiB", head(UNKNOWN, 0, 16_384), 1),
            ("empty DATA", head(http2_frames::DATA, 0, 0), 1_000),
            (
                "padding",
                head(http2_frames::DATA, http2_frames::PADDED, 256),
                1_000,
            ),
            (
                "large heads",
                head(http2_frames::CONTINUATION, 0, 65_536),
                250,
            ),
        ] {
            let mut budget = FrameBudget::start();
            let borne = (0..2_000).take_while(|_| budget.received(frame)).count();
            assert_eq!(borne, most, "{name}");
            tokio::time::advance(Duration::from_secs(1)).await;
            let later = (0..2_000).take_while(|_| budget.received(frame)).count();
            assert!(later <= 100, "{name}: {later}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_opened_byte_by_byte_earns_nothing() {
        let mut budget = FrameBudget::start();
        let borne = (0..2_000).take_while(|_| {
            budget.sent(head(http2_frames::DATA, 0, 1));
            budget.received(head(WINDOW_UPDATE, 0, 4))
        });
        assert_eq!(borne.count(), 1_000);
    }

    /// The control frames of libraries, as observed; the lowest credit of a connection in ten
    /// minutes.
    #[tokio::test(start_paused = true)]
    async fn honest_clients_keep_nearly_all_their_credit() {
        let window = head(WINDOW_UPDATE, 0, 4);
        let ping = head(http2_frames::PING, 0, 8);
        let pong = head(http2_frames::PING, http2_frames::ACK, 8);
        let event = head(http2_frames::DATA, 0, 20);
        let chunk = head(http2_frames::DATA, 0, 16_384);
        let audio = head(http2_frames::DATA, 0, 325);
        let call = head(http2_frames::HEADERS, 4, 200);
        let reset = head(RST_STREAM, 0, 4);
        let end = head(http2_frames::DATA, http2_frames::END_STREAM, 0);
        // (name, each round: received, sent; rounds a second)
        let clients: &[(&str, &[Head], &[Head], u64)] = &[
            (
                "grpc-go, small events",
                &[window, window, ping],
                &[event],
                100,
            ),
            ("grpc-java, small events", &[window, window], &[event], 100),
            (
                "C core and Python, large answers",
                &[window, window, ping],
                &[chunk],
                1000,
            ),
            ("window of 1 KiB at a time", &[window; 32], &[chunk], 100),
            ("20 ms audio frames", &[audio], &[], 50),
            ("calls that are cancelled", &[call, window, reset], &[], 100),
            (
                "empty end of each request",
                &[call, end, window],
                &[call, event],
                500,
            ),
            (
                "keepalive",
                &[ping, pong],
                &[head(http2_frames::PING, 0, 8)],
                1,
            ),
        ];
        for (name, received, sent, rate) in clients {
            let mut budget = FrameBudget::start();
            let (mut lowest, mut control) = (budget.credit, 0usize);
            let rounds = rate * 600;
            for _ in 0..rounds {
                sent.iter().for_each(|head| budget.sent(*head));
                for head in *received {
                    assert!(budget.received(*head), "{name}");
                    let useful = [http2_frames::DATA, http2_frames::HEADERS].contains(&head.kind);
                    control += usize::from(!useful);
                }
                lowest = lowest.min(budget.credit);
            }
            println!("{name}: {control} control frames, lowest credit {lowest}");
            let by_time = if *name == "keepalive" { 700 } else { 0 };
            assert!(lowest + by_time >= 990, "{name}: {lowest}");
        }
    }
}
