//! Generates audio: the output of text-to-speech models, and WAV files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

/// DashScope streams speech at 24 kHz.
pub(super) const RATE: u32 = 24_000;
/// Samples for each character: 60 ms.
const SAMPLES: u16 = 1440;
/// Bytes of PCM in one chunk of a stream: 0.2 s.
const PIECE: usize = 9600;

/// Bytes of the header of [`wav`].
pub(super) const WAV_HEADER: usize = 44;

/// Converts a text to audio: each character is a short tone, higher for higher code points, and a
/// space is silence. It is no speech, but differs from text to text.
pub(super) fn synthesize(text: &str, voice: &str) -> Vec<i16> {
    let voice: u32 = voice.bytes().map(u32::from).sum();
    let mut samples = Vec::new();
    for character in text.chars() {
        let step = u32::from(character).wrapping_add(voice) % 48;
        // Quarter tones over two octaves from 160 Hz, the range of voices.
        let pitch = 160.0 * 2_f32.powf(u16::try_from(step).map_or(0.0, f32::from) / 24.0);
        let loud = if character.is_whitespace() {
            0.0
        } else {
            8000.0
        };
        for n in 0..SAMPLES {
            let n = f32::from(n);
            let fade = (n.min(f32::from(SAMPLES) - n) / 120.0).min(1.0);
            let phase = std::f32::consts::TAU * pitch * n / 24_000.0;
            let sample = loud * fade * (phase.sin() + 0.4 * (2.0 * phase).sin());
            #[expect(clippy::cast_possible_truncation, reason = "at most 11200 in size")]
            samples.push(sample as i16);
        }
    }
    samples
}

/// The PCM of the samples in chunks, as base64.
pub(super) fn pieces(samples: &[i16]) -> Vec<String> {
    let pcm = pcm(samples);
    pcm.chunks(PIECE)
        .map(|piece| STANDARD.encode(piece))
        .collect()
}

/// A WAV file with one channel of 16 bits.
pub(super) fn wav(rate: u32, samples: &[i16]) -> Bytes {
    wav_of_pcm(rate, &pcm(samples))
}

/// A WAV file of a chunk of PCM, both as base64.
pub(super) fn wav_of_base64(rate: u32, chunk: &str) -> String {
    // Chunks of a script were decoded when it was parsed.
    STANDARD.encode(wav_of_pcm(
        rate,
        &STANDARD.decode(chunk).unwrap_or_default(),
    ))
}

fn wav_of_pcm(rate: u32, pcm: &[u8]) -> Bytes {
    let length = u32::try_from(pcm.len()).unwrap_or(u32::MAX);
    let mut file = BytesMut::with_capacity(pcm.len() + WAV_HEADER);
    file.put_slice(b"RIFF");
    file.put_u32_le(length.saturating_add(36));
    file.put_slice(b"WAVEfmt ");
    file.put_u32_le(16);
    file.put_u16_le(1);
    file.put_u16_le(1);
    file.put_u32_le(rate);
    file.put_u32_le(rate.saturating_mul(2));
    file.put_u16_le(2);
    file.put_u16_le(16);
    file.put_slice(b"data");
    file.put_u32_le(length);
    file.put_slice(pcm);
    file.freeze()
}

/// A WAV file as DashScope streams it: its length is unknown at the start, so the sizes of the RIFF
/// and data chunks are placeholders.
pub(super) fn streamed_wav(rate: u32, samples: &[i16]) -> Bytes {
    let mut file = BytesMut::from(wav(rate, samples));
    for (at, size) in [(4, 0x7fff_ffbf_u32), (40, 0x7fff_ff9b)] {
        if let Some(place) = file.get_mut(at..at + 4) {
            place.copy_from_slice(&size.to_le_bytes());
        }
    }
    file.freeze()
}

/// The bytes of samples.
pub(super) fn pcm(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_join_to_the_samples_of_the_file() {
        let samples = synthesize("hello 你好", "Cherry");
        assert_eq!(samples.len(), 8 * usize::from(SAMPLES));
        let joined: Vec<u8> = pieces(&samples)
            .iter()
            .flat_map(|piece| STANDARD.decode(piece).unwrap())
            .collect();
        assert_eq!(wav(RATE, &samples)[44..], joined);
        let streamed = streamed_wav(RATE, &samples);
        assert_eq!(streamed[4..8], [0xbf, 0xff, 0xff, 0x7f]);
        assert_eq!(streamed[40..44], [0x9b, 0xff, 0xff, 0x7f]);
        assert_eq!(streamed[44..], joined);
        assert_ne!(samples, synthesize("hello 你坏", "Cherry"));
        assert_ne!(samples, synthesize("hello 你好", "Ethan"));
    }
}
