//! Counts the frames of videos without decoding them.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::decode_budget::Budget;

/// The most frames that are counted: three hours at 60 per second.
const FRAMES: u64 = 648_000;

/// The properties of a video that its container gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VideoInfo {
    /// For example `isomp4`.
    pub(super) container: String,
    /// Frames of its video track.
    pub(super) frames: u64,
}

/// Reads the properties of a video. `None` for unknown containers; MP4 and Matroska are known.
/// Blocks: call it on a blocking thread.
pub(super) fn video_info(bytes: Bytes, budget: &Budget) -> Option<VideoInfo> {
    // As with audio, a damaged file may make the reader panic; it then counts as unreadable.
    catch_unwind(AssertUnwindSafe(|| attempt(bytes, budget)))
        .ok()
        .flatten()
}

fn attempt(bytes: Bytes, budget: &Budget) -> Option<VideoInfo> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe.probe(&Hint::new(), source, format, metadata).ok()?;
    let track = format.first_track(TrackType::Video)?.id;
    let mut frames = 0;
    while let Ok(Some(packet)) = format.next_packet() {
        frames += u64::from(packet.track_id == track);
        if frames >= FRAMES || budget.is_spent() {
            break;
        }
    }
    Some(VideoInfo {
        container: format.format_info().short_name.to_owned(),
        frames,
    })
}

#[cfg(test)]
mod tests {
    use super::super::speech_synthesis::wav;
    use super::*;

    #[test]
    fn bytes_that_are_no_video_are_refused() {
        for bytes in [
            Bytes::new(),
            Bytes::from_static(b"\0\0\0\x18ftypmp42"),
            wav(8000, &[1; 99]),
        ] {
            assert_eq!(video_info(bytes, &Budget::default()), None);
        }
    }
}
