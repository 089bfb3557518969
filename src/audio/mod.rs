//! Measures the duration of audio without decoding it.
//!
//! DashScope's models process a limited length of audio and ignore the rest, so the gateway has to
//! know the duration of a recording. [`duration`] reads the fields of the container. It allocates
//! nothing, decodes nothing, and every loop has a bound, because the bytes come from callers.

mod ac3;
mod au;
mod bytes;
mod caf;
mod chunks;
mod ebml;
mod flac;
pub mod frames;
mod mp4;
mod muxed;
mod ogg;
pub mod recording;
pub mod wave;
mod wave64;

use std::time::Duration;

use recording::Recording;

/// The duration of a recording, from its container. `None` if the container is unknown or has no
/// duration. For formats without such a field (MP3 without an index, AAC, AC-3, AMR), the frames
/// are counted; if only a part of the bytes is available, the rest is extrapolated. If a writer
/// that could not seek left the field empty (FLAC, WAVE), the end of the recording is used.
pub fn duration(recording: Recording<'_>) -> Option<Duration> {
    let head = recording.head;
    let id = head.get(..4)?;
    let seconds = match id {
        b"RIFF" if head.get(8..11) == Some(b"AVI") => muxed::avi(recording),
        b"RIFF" | b"RIFX" | b"RF64" | b"BW64" => wave::seconds(recording),
        b"riff" => wave64::seconds(recording),
        b"FORM" => chunks::aiff(head),
        b"caff" => caf::seconds(recording),
        b"fLaC" => flac::seconds(recording),
        b".snd" => au::seconds(recording),
        b"OggS" => ogg::seconds(recording),
        [b'F', b'L', b'V', _] => muxed::flv(recording),
        // The clock of its packs is not that of its audio, which would have to be read.
        [0, 0, 1, 0xba] => None,
        [0x0b, 0x77, ..] => ac3::seconds(recording),
        [0x1a, 0x45, 0xdf, 0xa3] => ebml::seconds(recording),
        [0x30, 0x26, 0xb2, 0x75] => chunks::asf(head),
        [b'#', b'!', b'A', b'M'] => frames::amr(recording),
        [b'I', b'D', b'3', _] if frames::after_tag(head).starts_with(b"fLaC") => {
            let head = frames::after_tag(head);
            flac::seconds(Recording { head, ..recording })
        }
        _ if mp4::is(head) => mp4::seconds(recording),
        _ => frames::mpeg(recording),
    }?;
    // A damaged field must not cause a panic or a duration of centuries.
    const LONGEST_SECONDS: f64 = 1e9;
    let plausible = seconds.is_finite() && (0.0..=LONGEST_SECONDS).contains(&seconds);
    plausible.then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod measured;
#[cfg(test)]
mod tests;
