//! AC-3 and E-AC-3 (ETSI TS 102 366). The format has only frames, which are counted.

use super::bytes::{be16, real};
use super::frames::{Frame, counted};
use super::recording::Recording;

/// The samples in a block of any frame.
const BLOCK_SAMPLES: f64 = 256.0;

/// The bit rates of AC-3 in kbit/s.
const BIT_RATES: [usize; 19] = [
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
];

/// The sample rates.
const RATES: [u32; 3] = [48_000, 44_100, 32_000];

/// The duration in seconds of a stream that begins with a frame. A single frame may be a
/// coincidence.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    let first = frame(head)?;
    let rest = head.get(first.bytes..).unwrap_or_default();
    if rest.len() >= 2 && be16(rest, 0) != be16(head, 0) {
        return None;
    }
    counted(head, recording.size, frame)
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    const SYNC: u16 = 0x0b77;
    if be16(bytes, 0)? != SYNC {
        return None;
    }
    // The version has the same position in both.
    match bytes.get(5)? >> 3 {
        version @ 0..=10 => ac3(bytes, version.saturating_sub(8)),
        11..=16 => enhanced(bytes),
        _ => None,
    }
}

/// An AC-3 frame of six blocks. Versions 9 and 10 have a half and a quarter of the sample rate.
fn ac3(bytes: &[u8], halved: u8) -> Option<Frame> {
    let code = *bytes.get(4)?;
    let rate = *RATES.get(usize::from(code >> 6))?;
    let size = usize::from(code & 0x3f);
    let bit_rate = *BIT_RATES.get(size / 2)?;
    let words = match rate {
        48_000 => bit_rate * 2,
        // At 44.1 kHz the frame size is not a whole number of words.
        44_100 => bit_rate * 96_000 / 44_100 + size % 2,
        _ => bit_rate * 3,
    };
    Some(Frame {
        bytes: words * 2,
        seconds: 6.0 * BLOCK_SAMPLES / f64::from(rate >> halved),
    })
}

/// An E-AC-3 frame. Frames of dependent or further substreams have no duration of their own.
fn enhanced(bytes: &[u8]) -> Option<Frame> {
    let header = be16(bytes, 2)?;
    let (kind, stream, size) = (header >> 14, header >> 11 & 7, header & 0x7ff);
    let code = *bytes.get(4)?;
    let (rate, blocks) = match (code >> 6, code >> 4 & 3) {
        // The rate then has a code of its own, in place of the number of blocks.
        (3, half) => (RATES.get(usize::from(half))? / 2, 6.0),
        (rate, 3) => (*RATES.get(usize::from(rate))?, 6.0),
        (rate, blocks) => (*RATES.get(usize::from(rate))?, f64::from(blocks + 1)),
    };
    let is_first = kind != 1 && stream == 0;
    Some(Frame {
        bytes: (usize::from(size) + 1) * 2,
        seconds: match is_first {
            true => blocks * BLOCK_SAMPLES / f64::from(rate),
            false => real(0),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::measured::{seconds, seconds_of_ends};

    /// A frame of AC-3: 48 kHz, 64 kbit/s, 1,536 samples in 256 bytes.
    fn ac3() -> Vec<u8> {
        let mut frame = vec![0x0b, 0x77, 0, 0, 0x08, 8 << 3];
        frame.resize(256, 0x55);
        frame
    }

    /// An E-AC-3 frame of six blocks at 48 kHz in 200 bytes, of this kind and substream.
    fn enhanced(kind: u8, stream: u8) -> Vec<u8> {
        let mut frame = vec![0x0b, 0x77, kind << 6 | stream << 3, 99, 0x30, 16 << 3];
        frame.resize(200, 0x55);
        frame
    }

    #[test]
    fn ac3_frames_are_counted_without_further_substreams() {
        let frame = 1_536.0 / 48_000.0;
        let close = |found: Option<f64>, expected: f64| {
            let found = found.unwrap();
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        };
        let plain = ac3().repeat(100);
        close(seconds(&plain), 100.0 * frame);
        close(seconds_of_ends(&plain, 4_096), 100.0 * frame);
        close(seconds(&enhanced(0, 0).repeat(50)), 50.0 * frame);
        let further = [enhanced(0, 0), enhanced(1, 0), enhanced(0, 1)].concat();
        close(seconds(&further.repeat(50)), 50.0 * frame);
        // 44.1 kHz: frames of 278 and 280 bytes alternate.
        let odd = |code: u8| {
            let mut frame = vec![0x0b, 0x77, 0, 0, 0x40 | code, 8 << 3];
            frame.resize(if code == 9 { 280 } else { 278 }, 0);
            frame
        };
        let both = [odd(8), odd(9)].concat().repeat(30);
        close(seconds(&both), 60.0 * 1_536.0 / 44_100.0);
        assert_eq!(
            seconds(&[ac3(), vec![7; 9_000]].concat()),
            None,
            "one is chance"
        );
    }
}
