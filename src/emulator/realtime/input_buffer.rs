//! The audio and the images that a client has appended and not committed yet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::audio_format::{AudioFormat, Encoding, PcmReader};
use super::session_config::invalid;
use crate::emulator::image::{ImageInfo, image_info};
use crate::emulator::websocket::session::SocketError;

/// The longest audio that is kept: five minutes at 16 kHz. Older audio is dropped, as DashScope
/// drops what is older than five minutes.
const MAX_SAMPLES: usize = 300 * 16_000;
/// The most images of a turn.
const MAX_IMAGES: usize = 256;
/// The largest image, before base64.
const IMAGE_BYTES: usize = 500 * 1024;

/// The buffer of one session.
#[derive(Debug, Default)]
pub(super) struct InputBuffer {
    reader: PcmReader,
    samples: Vec<i16>,
    /// Bytes of compressed audio, which is not kept.
    compressed: usize,
    images: Vec<ImageInfo>,
    has_audio: bool,
}

/// What was committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn {
    /// The audio.
    pub(super) samples: Vec<i16>,
    /// Bytes of compressed audio.
    pub(super) compressed: usize,
    /// The samples before speech, and those of the silence after it. They belong to the turn, and
    /// not to what is heard in it.
    pub(super) padding: (usize, usize),
    /// The images.
    pub(super) images: Vec<ImageInfo>,
}

impl InputBuffer {
    /// Decodes appended audio. The samples are added by [`InputBuffer::push`]; compressed audio is
    /// only counted.
    ///
    /// # Errors
    ///
    /// If it is not base64.
    pub(super) fn decode(
        &mut self,
        audio: &str,
        format: AudioFormat,
    ) -> Result<Vec<i16>, SocketError> {
        let bytes = STANDARD.decode(audio);
        let bytes = bytes.map_err(|_| invalid("Invalid audio: it must be base64.", "audio"))?;
        self.has_audio |= !bytes.is_empty();
        Ok(match format.encoding {
            Encoding::Pcm | Encoding::Wav => self.reader.samples(&bytes),
            Encoding::Compressed => {
                self.compressed += bytes.len();
                Vec::new()
            }
        })
    }

    /// Whether there is compressed audio.
    pub(super) fn has_compressed(&self) -> bool {
        self.compressed > 0
    }

    /// Adds samples.
    pub(super) fn push(&mut self, samples: &[i16]) {
        self.samples.extend(samples);
        let excess = self.samples.len().saturating_sub(MAX_SAMPLES);
        // Dropped in blocks, so that a full buffer is not moved for every frame.
        if excess > MAX_SAMPLES / 16 {
            self.samples.drain(..excess);
        }
    }

    /// Keeps only the last samples: those before speech that belong to a turn.
    pub(super) fn keep_last(&mut self, count: usize) {
        let excess = self.samples.len().saturating_sub(count);
        if excess > count {
            self.samples.drain(..excess);
        }
    }

    /// Adds an image.
    ///
    /// # Errors
    ///
    /// If no audio came before it, or it is no image within the limits.
    pub(super) fn push_image(&mut self, image: &str) -> Result<(), SocketError> {
        let refused = |message: &str| Err(invalid(message, "image"));
        if !self.has_audio {
            return refused("Error append image before append audio.");
        }
        let Ok(bytes) = STANDARD.decode(image) else {
            return refused("Invalid image: it must be base64.");
        };
        if bytes.len() > IMAGE_BYTES {
            return refused("Invalid image: it must be at most 500 KB.");
        }
        if self.images.len() >= MAX_IMAGES {
            return refused("Too many images before a commit.");
        }
        let image = image_info(&bytes).filter(|image| image.format == "JPEG");
        let Some(image) = image else {
            return refused("Invalid image: it must be JPEG.");
        };
        self.images.push(image);
        Ok(())
    }

    /// Empties the buffer.
    pub(super) fn clear(&mut self) {
        let _ = self.take();
        self.has_audio = false;
    }

    /// Takes the last samples of the buffer, and everything else in it.
    pub(super) fn take_last(&mut self, count: usize) -> Turn {
        let mut turn = self.take();
        let excess = turn.samples.len().saturating_sub(count);
        turn.samples.drain(..excess);
        turn
    }

    /// Takes everything in the buffer.
    pub(super) fn take(&mut self) -> Turn {
        let buffer = std::mem::take(self);
        // What is appended next continues the same stream.
        self.reader = buffer.reader;
        self.has_audio = buffer.has_audio;
        Turn {
            samples: buffer.samples,
            compressed: buffer.compressed,
            padding: (0, 0),
            images: buffer.images,
        }
    }
}

impl Turn {
    /// Whether there is no audio.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.compressed == 0
    }

    /// The samples of the speech. All of them, if their beginning was dropped.
    pub(super) fn speech(&self) -> &[i16] {
        let (before, after) = self.padding;
        let end = self.samples.len().saturating_sub(after);
        let speech = self.samples.get(before..end);
        speech
            .filter(|speech| !speech.is_empty())
            .unwrap_or(&self.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::image::generate_png;

    /// A JPEG image of 64 by 48 pixels, up to its data.
    const JPEG: &[u8] = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x30\0\x40\x01\x01\x11\0\xff\xd9";

    const FORMAT: AudioFormat = AudioFormat {
        encoding: Encoding::Pcm,
        rate: 16_000,
    };

    #[test]
    fn images_need_audio_first_and_are_taken_with_it() {
        let image = STANDARD.encode(JPEG);
        let mut buffer = InputBuffer::default();
        let error = buffer.push_image(&image).unwrap_err();
        assert_eq!(error.message, "Error append image before append audio.");
        let samples = buffer.decode("AAABAAIA", FORMAT).unwrap();
        buffer.push(&samples);
        buffer.push_image(&image).unwrap();
        assert!(buffer.push_image("AAAA").is_err());
        let png = STANDARD.encode(generate_png("a cat", 64, 48).unwrap());
        let error = buffer.push_image(&png).unwrap_err();
        assert_eq!(error.message, "Invalid image: it must be JPEG.");
        assert!(buffer.decode("%", FORMAT).is_err());
        let turn = buffer.take_last(2);
        assert_eq!(turn.samples, [1, 2]);
        assert_eq!((turn.images[0].width, turn.images[0].height), (64, 48));
        assert!(buffer.take().is_empty());
    }

    #[test]
    fn the_buffer_is_bounded() {
        let mut buffer = InputBuffer::default();
        for _ in 0..2000 {
            buffer.push(&[1; 16_000]);
        }
        assert!(buffer.samples.len() <= MAX_SAMPLES + MAX_SAMPLES / 16);
        buffer.keep_last(100);
        assert_eq!(buffer.samples.len(), 100);
    }
}
