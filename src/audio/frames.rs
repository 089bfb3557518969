//! Formats that have only frames: MPEG audio, AAC in ADTS, AMR. Frames are counted.

use memchr::memmem;

use super::bytes::{be16, be32, real};
use super::recording::Recording;

/// The maximum number of frames counted; the rest is extrapolated. Four hours of MP3.
const MOST_FRAMES: usize = 1 << 19;

/// The maximum offset of the first frame, after data that players skip.
const FIRST_FRAME_WITHIN: usize = 64 * 1024;

/// How many consecutive frames are required in the middle of other data: two occur by chance in
/// files of other formats.
const PROOF_FRAMES: usize = 4;

/// The bytes that are read of a frame.
const FRAME_HEADER: usize = 7;

/// A frame: its length in bytes and in seconds.
pub(super) struct Frame {
    pub(super) bytes: usize,
    pub(super) seconds: f64,
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Frames of MPEG audio.
    Mpeg,
    /// Frames of AAC in ADTS.
    Aac,
    /// A frame, as far as these bytes show: the next one is not complete enough to prove it.
    Incomplete,
    /// Something else.
    Other,
}

/// Whether bytes begin with frames, which two consecutive ones prove.
pub fn begins(bytes: &[u8]) -> Begin {
    let mut rest = bytes;
    for _ in 0..2 {
        if rest.len() < FRAME_HEADER && rest.iter().take(1).all(|byte| *byte == 0xff) {
            return Begin::Incomplete;
        }
        match frame(rest) {
            Some(found) => rest = rest.get(found.bytes..).unwrap_or_default(),
            None => return Begin::Other,
        }
    }
    match bytes.get(1).is_some_and(|second| second & 0x06 == 0) {
        true => Begin::Aac,
        false => Begin::Mpeg,
    }
}

/// MPEG audio of any layer, or AAC in ADTS.
pub(super) fn mpeg(recording: Recording<'_>) -> Option<f64> {
    let tagged = tag(recording.head);
    let after = recording.head.get(tagged..)?;
    let searched = after.get(..FIRST_FRAME_WITHIN).unwrap_or(after);
    // Each frame begins with eight set bits, which are rare otherwise.
    let begin = memchr::memchr_iter(0xff, searched).find(|at| is_begin(after, *at))?;
    let stream = after.get(begin..)?;
    let first = frame(stream)?;
    if let Some(frames) = index(stream) {
        return Some(f64::from(frames) * first.seconds);
    }
    let begin = u64::try_from(tagged.checked_add(begin)?).ok()?;
    counted(stream, recording.size.saturating_sub(begin), frame)
}

/// AMR, narrow and wide band.
pub(super) fn amr(recording: Recording<'_>) -> Option<f64> {
    const NARROW: &[u8] = b"#!AMR\n";
    const WIDE: &[u8] = b"#!AMR-WB\n";
    let narrow = |bytes: &[u8]| amr_frame(bytes, [12, 13, 15, 17, 19, 20, 26, 31, 5]);
    let wide = |bytes: &[u8]| amr_frame(bytes, [17, 23, 32, 36, 40, 46, 50, 58, 60]);
    let head = recording.head;
    let rest = |magic: &[u8]| {
        let skipped = u64::try_from(magic.len()).unwrap_or(0);
        recording.size.saturating_sub(skipped)
    };
    if let Some(stream) = head.strip_prefix(NARROW) {
        return counted(stream, rest(NARROW), narrow);
    }
    counted(head.strip_prefix(WIDE)?, rest(WIDE), wide)
}

/// The total duration of frames. Missing bytes and bytes that are not frames are extrapolated.
pub(super) fn counted(
    stream: &[u8],
    size: u64,
    frame: impl Fn(&[u8]) -> Option<Frame>,
) -> Option<f64> {
    let (mut at, mut seconds) = (0, 0.0);
    for _ in 0..MOST_FRAMES {
        let Some(found) = stream.get(at..).and_then(&frame) else {
            break;
        };
        at += found.bytes;
        seconds += found.seconds;
    }
    let read = u64::try_from(at).ok().filter(|read| *read > 0)?;
    // A trailer, such as an ID3v1 tag, is not audio.
    const TRAILER: u64 = 1024;
    match size.saturating_sub(read) {
        0..=TRAILER => Some(seconds),
        _ => Some(seconds * real(size) / real(read)),
    }
}

/// The bytes after an ID3v2 tag, if there is one.
pub(super) fn after_tag(head: &[u8]) -> &[u8] {
    head.get(tag(head)..).unwrap_or_default()
}

/// The length of an ID3v2 tag at the beginning.
fn tag(head: &[u8]) -> usize {
    let size = head.strip_prefix(b"ID3").and_then(|rest| rest.get(3..7));
    size.map_or(0, |size| {
        let size = size
            .iter()
            .fold(0, |sum, byte| (sum << 7) | usize::from(byte & 0x7f));
        10 + size
    })
}

/// Whether a frame begins here. Where the next one should be, there must be one or the end, and
/// some more if this is not the beginning of the file.
fn is_begin(bytes: &[u8], at: usize) -> bool {
    let wanted = if at == 0 { 2 } else { PROOF_FRAMES };
    let mut next = at;
    for n in 0..wanted {
        let rest = bytes.get(next..).filter(|rest| rest.len() >= 4);
        match rest.map(frame) {
            Some(Some(found)) => next += found.bytes,
            Some(None) => return false,
            None => return n > 0,
        }
    }
    true
}

/// The number of frames in a Xing, Info or VBRI header.
fn index(stream: &[u8]) -> Option<u32> {
    let first = stream.get(..frame(stream)?.bytes.min(stream.len()))?;
    let xing = memmem::find(first, b"Xing").or_else(|| memmem::find(first, b"Info"));
    if let Some(at) = xing {
        let has_frames = be32(first, at + 4)? & 1 != 0;
        return be32(first, at + 8).filter(|_| has_frames);
    }
    be32(first, memmem::find(first, b"VBRI")? + 14)
}

/// A frame of MPEG audio, or of AAC, whose layer bits are 0.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let header = be32(bytes, 0)?;
    if header >> 21 != 0x7ff {
        return None;
    }
    match (header >> 17) & 3 {
        0 => adts(bytes),
        layer => mpeg_frame(header, layer),
    }
}

/// The bit rates in kbit/s of one column of the table in ISO/IEC 11172-3 and 13818-3.
fn bit_rates(version_1: bool, layer: u32) -> [u32; 14] {
    match (version_1, layer) {
        (true, 3) => [
            32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
        ],
        (true, 2) => [
            32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
        ],
        (true, _) => [
            32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ],
        (false, 3) => [
            32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
        ],
        (false, _) => [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    }
}

/// A frame of MPEG audio. The bits of the layer are 3 for layer I, 1 for layer III.
fn mpeg_frame(header: u32, layer: u32) -> Option<Frame> {
    // 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5.
    let version = (header >> 19) & 3;
    if version == 1 {
        return None;
    }
    let version_1 = version == 3;
    let column = usize::try_from((header >> 12) & 15).ok()?.checked_sub(1)?;
    let bit_rate = *bit_rates(version_1, layer).get(column)? * 1000;
    let rates = [44_100, 48_000, 32_000];
    let rate: u32 = *rates.get(usize::try_from((header >> 10) & 3).ok()?)?;
    let rate = match version {
        3 => rate,
        2 => rate / 2,
        _ => rate / 4,
    };
    let padding = (header >> 9) & 1;
    let (samples, bytes) = match (layer, version_1) {
        (3, _) => (384, (12 * bit_rate / rate + padding) * 4),
        (1, false) => (576, 72 * bit_rate / rate + padding),
        _ => (1152, 144 * bit_rate / rate + padding),
    };
    Some(Frame {
        bytes: usize::try_from(bytes).ok().filter(|bytes| *bytes > 4)?,
        seconds: f64::from(samples) / f64::from(rate),
    })
}

/// A frame of AAC: 1,024 samples for each block of raw data.
fn adts(bytes: &[u8]) -> Option<Frame> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    if be16(bytes, 0)? & 0xfff6 != 0xfff0 {
        return None;
    }
    let header = be32(bytes, 2)?;
    let rate = *RATES.get(usize::try_from((header >> 26) & 15).ok()?)?;
    let length = usize::try_from((header >> 5) & 0x1fff).ok()?;
    let blocks = u32::from(*bytes.get(6)? & 3) + 1;
    Some(Frame {
        bytes: Some(length).filter(|length| *length >= 7)?,
        seconds: f64::from(1024 * blocks) / f64::from(rate),
    })
}

/// A frame of AMR: 20 ms. Modes above the table are silence or lost frames, without data.
fn amr_frame(bytes: &[u8], sizes: [usize; 9]) -> Option<Frame> {
    const SECONDS: f64 = 0.02;
    let first = *bytes.first()?;
    // Padding bits must be 0; otherwise it is not AMR.
    if first & 0x83 != 0 {
        return None;
    }
    let mode = usize::from((first >> 3) & 15);
    Some(Frame {
        bytes: 1 + sizes.get(mode).copied().unwrap_or(0),
        seconds: SECONDS,
    })
}

#[cfg(test)]
mod tests {
    use super::super::measured::seconds;

    #[test]
    fn two_accidental_frames_have_no_duration() {
        // MPEG-1 layer III, 128 kbit/s at 44.1 kHz: 417 bytes.
        let frame = [&[0xff, 0xfb, 0x90, 0][..], &[0; 413]].concat();
        let mut bytes = vec![0x42; 1_000];
        bytes.extend(frame.repeat(2));
        bytes.extend(vec![0x42; 60_000]);
        assert_eq!(seconds(&bytes), None);
        // Data before a real stream is skipped as before.
        let real = [vec![0; 1_000], frame.repeat(50)].concat();
        let found = seconds(&real).unwrap();
        assert!((found - 50.0 * 1_152.0 / 44_100.0).abs() < 0.01, "{found}");
    }
}
