//! The ISO base media format: MP4, M4A, 3GP, MOV.

use memchr::memmem;

use super::bytes::{be32, be64, real};
use super::recording::Recording;

/// The maximum number of boxes read per level.
const MOST_BOXES: usize = 4096;

/// Whether the bytes begin with a box that begins such files.
pub(super) fn is(head: &[u8]) -> bool {
    matches!(
        head.get(4..8),
        Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"styp")
    )
}

/// The duration in seconds, from the movie header. Fragmented files may have it only in the
/// extension header or the index.
pub(super) fn seconds(recording: Recording<'_>) -> Option<f64> {
    let head = recording.head;
    let movie = child(head, b"moov").or_else(|| at_the_end(recording))?;
    let header = child(movie, b"mvhd")?;
    let (scale, length) = match *header.first()? {
        0 => (be32(header, 12)?, u64::from(be32(header, 16)?)),
        _ => (be32(header, 20)?, be64(header, 24)?),
    };
    if scale == 0 {
        return None;
    }
    let unknown = [0, u64::from(u32::MAX), u64::MAX];
    if !unknown.contains(&length) {
        return Some(real(length) / f64::from(scale));
    }
    let extended = child(movie, b"mvex").and_then(|found| child(found, b"mehd"));
    if let Some(extension) = extended {
        let length = match *extension.first()? {
            0 => u64::from(be32(extension, 4)?),
            _ => be64(extension, 4)?,
        };
        return Some(real(length) / f64::from(scale));
    }
    let indexed = child(head, b"sidx").and_then(index);
    indexed.or_else(|| fragments(movie, recording.tail))
}

/// The end of the last fragment: its start plus its samples.
fn fragments(movie: &[u8], tail: &[u8]) -> Option<f64> {
    let media = child(child(movie, b"trak")?, b"mdia")?;
    let header = child(media, b"mdhd")?;
    let scale = match *header.first()? {
        0 => be32(header, 12)?,
        _ => be32(header, 20)?,
    };
    let at = memmem::rfind(tail, b"moof")?.checked_sub(4)?;
    let track = child(child(tail.get(at..)?, b"moof")?, b"traf")?;
    let time = child(track, b"tfdt")?;
    let begin = match *time.first()? {
        0 => u64::from(be32(time, 4)?),
        _ => be64(time, 4)?,
    };
    let length = begin.checked_add(run(track, movie).unwrap_or(0))?;
    (scale > 0).then(|| real(length) / f64::from(scale))
}

/// The duration of a fragment: the sum of its samples', or the number of samples times the default.
fn run(track: &[u8], movie: &[u8]) -> Option<u64> {
    const DATA_OFFSET: u32 = 0x1;
    const FIRST_FLAGS: u32 = 0x4;
    const EACH_DURATION: u32 = 0x100;
    const EACH: [u32; 4] = [EACH_DURATION, 0x200, 0x400, 0x800];
    let run = child(track, b"trun")?;
    let (flags, count) = (be32(run, 0)?, be32(run, 4)?);
    if flags & EACH_DURATION == 0 {
        return Some(u64::from(count) * u64::from(default_duration(track, movie)?));
    }
    let begin = [DATA_OFFSET, FIRST_FLAGS]
        .iter()
        .fold(8, |at, flag| at + 4 * usize::from(flags & flag != 0));
    let size = EACH
        .iter()
        .fold(0, |size, flag| size + 4 * usize::from(flags & flag != 0));
    let samples = run.get(begin..)?.chunks_exact(size);
    let samples = samples.take(usize::try_from(count).ok()?);
    Some(
        samples
            .filter_map(|sample| be32(sample, 0))
            .map(u64::from)
            .sum(),
    )
}

/// The default duration of a sample.
fn default_duration(track: &[u8], movie: &[u8]) -> Option<u32> {
    const BASE_OFFSET: u32 = 0x1;
    const DESCRIPTION: u32 = 0x2;
    const DURATION: u32 = 0x8;
    let header = child(track, b"tfhd")?;
    let flags = be32(header, 0)?;
    if flags & DURATION != 0 {
        let offset = 8 * usize::from(flags & BASE_OFFSET != 0);
        let description = 4 * usize::from(flags & DESCRIPTION != 0);
        return be32(header, 8 + offset + description);
    }
    be32(child(child(movie, b"mvex")?, b"trex")?, 12)
}

/// The content of the first box of this kind.
fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = bytes;
    for _ in 0..MOST_BOXES {
        let short = be32(rest, 0)?;
        let (begin, size) = match short {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(be64(rest, 8)?).ok()?),
            size => (8, usize::try_from(size).ok()?),
        };
        if rest.get(4..8)? == kind {
            return rest.get(begin..size.min(rest.len()));
        }
        rest = rest.get(size.max(8)..)?;
    }
    None
}

/// The movie box of a file recorded in one pass, after the samples.
fn at_the_end(recording: Recording<'_>) -> Option<&[u8]> {
    let tail = recording.tail;
    let at = memmem::rfind(tail, b"moov")?.checked_sub(4)?;
    child(tail.get(at..)?, b"moov")
}

/// The total duration of the segments in an index.
fn index(index: &[u8]) -> Option<f64> {
    let scale = be32(index, 8)?;
    let counted = match *index.first()? {
        0 => 22,
        _ => 30,
    };
    let entries = index.get(counted + 2..)?.chunks_exact(12);
    let lengths = entries.filter_map(|entry| be32(entry, 4)).map(u64::from);
    let sum = lengths.take(MOST_BOXES).sum();
    (scale > 0 && sum > 0).then(|| real(sum) / f64::from(scale))
}
