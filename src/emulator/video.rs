//! Counts the frames of films, without decoding them.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

use super::decode_budget::Budget;

/// More frames than in three hours at 60 a second are not counted.
const FRAMES: u64 = 648_000;

/// What can be told of a film by its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Film {
    /// For example `isomp4`.
    pub(super) container: String,
    /// The frames of its picture.
    pub(super) frames: u64,
}

/// Looks at a film. None for containers that are not known (MP4 and Matroska are). Blocks: call it
/// on a thread for that.
pub(super) fn watch(bytes: Bytes, budget: &Budget) -> Option<Film> {
    // As for sound: a damaged file may make the reader panic, and then it cannot be read.
    catch_unwind(AssertUnwindSafe(|| attempt(bytes, budget)))
        .ok()
        .flatten()
}

fn attempt(bytes: Bytes, budget: &Budget) -> Option<Film> {
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
    Some(Film {
        container: format.format_info().short_name.to_owned(),
        frames,
    })
}

#[cfg(test)]
mod tests {
    use super::super::speech_synthesis::wav;
    use super::*;

    #[test]
    fn what_is_no_film_is_not_watched() {
        for bytes in [
            Bytes::new(),
            Bytes::from_static(b"\0\0\0\x18ftypmp42"),
            wav(8000, &[1; 99]),
        ] {
            assert_eq!(watch(bytes, &Budget::default()), None);
        }
    }
}
