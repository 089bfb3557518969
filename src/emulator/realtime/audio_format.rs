//! Formats of audio on the sockets: what is decoded and encoded, and how it is resampled.

use bytes::Bytes;

use crate::emulator::speech_synthesis::{RATE, pcm, streamed_wav};

/// The lowest and the highest sample rate that DashScope accepts.
pub(in crate::emulator) const RATES: std::ops::RangeInclusive<u32> = 8000..=48_000;

/// How audio is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Encoding {
    /// 16 bits, little-endian, one channel.
    Pcm,
    /// A WAV file of such PCM.
    Wav,
    /// A compressed format, which the emulator neither decodes nor encodes.
    Compressed,
}

/// How speech is encoded: not compressed, because the emulator has no encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum SpeechEncoding {
    /// 16 bits, little-endian, one channel.
    Pcm,
    /// A WAV file of such PCM.
    Wav,
}

/// An encoding of speech and a sample rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) struct SpeechFormat {
    /// The encoding.
    pub(in crate::emulator) encoding: SpeechEncoding,
    /// Samples per second.
    pub(in crate::emulator) rate: u32,
}

impl SpeechEncoding {
    /// The encoding of a name.
    ///
    /// # Errors
    ///
    /// What is wrong with the name: DashScope does not know it, or the emulator does not encode it.
    pub(in crate::emulator) fn of(name: &str) -> Result<Self, &'static str> {
        match Encoding::of(name) {
            Some(Encoding::Pcm) => Ok(Self::Pcm),
            Some(Encoding::Wav) => Ok(Self::Wav),
            Some(Encoding::Compressed) => Err("the emulator encodes pcm and wav only"),
            None => Err("the format is unknown"),
        }
    }
}

/// An encoding and a sample rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) struct AudioFormat {
    /// The encoding.
    pub(in crate::emulator) encoding: Encoding,
    /// Samples per second.
    pub(in crate::emulator) rate: u32,
}

impl Encoding {
    /// The encoding of a name. `None` if DashScope does not know it.
    pub(in crate::emulator) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "pcm" | "pcm16" | "pcm24" => Self::Pcm,
            "wav" => Self::Wav,
            "mp3" | "opus" | "aac" | "amr" | "speex" => Self::Compressed,
            _ => return None,
        })
    }
}

/// Encodes speech: PCM, or a WAV file whose sizes are placeholders. Only the first chunk of speech
/// has the header.
pub(in crate::emulator) fn encode(format: SpeechFormat, samples: &[i16], is_first: bool) -> Bytes {
    match format.encoding {
        SpeechEncoding::Wav if is_first => streamed_wav(format.rate, samples),
        SpeechEncoding::Pcm | SpeechEncoding::Wav => Bytes::from(pcm(samples)),
    }
}

/// Converts speech of 24 kHz to another rate, by the nearest earlier sample: it is made of tones
/// that are far below either rate.
pub(in crate::emulator) fn resample(samples: Vec<i16>, rate: u32) -> Vec<i16> {
    if rate == RATE {
        return samples;
    }
    let from = u64::from(RATE);
    let to = u64::from(rate);
    let length = u64::try_from(samples.len()).unwrap_or(0) * to / from;
    let sample = |n: u64| {
        let at = usize::try_from(n * from / to).unwrap_or(usize::MAX);
        samples.get(at).copied().unwrap_or(0)
    };
    (0..length).map(sample).collect()
}

/// Samples of audio that arrives in bytes: PCM, or a WAV file whose header is skipped.
#[derive(Clone, Debug, Default)]
pub(in crate::emulator) struct PcmReader {
    odd: Option<u8>,
    has_begun: bool,
}

impl PcmReader {
    /// The samples that are complete with these bytes.
    pub(in crate::emulator) fn samples(&mut self, bytes: &[u8]) -> Vec<i16> {
        let mut bytes = bytes;
        if !std::mem::replace(&mut self.has_begun, true)
            && bytes.starts_with(b"RIFF")
            && let Some(data) = bytes.windows(4).position(|name| name == b"data")
        {
            // The name and the size of the chunk.
            bytes = bytes.get(data + 8..).unwrap_or_default();
        }
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        if let (Some(low), Some((high, rest))) = (self.odd, bytes.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.odd = None;
            bytes = rest;
        }
        let mut pairs = bytes.chunks_exact(2);
        samples.extend(pairs.by_ref().filter_map(|pair| match pair {
            [low, high] => Some(i16::from_le_bytes([*low, *high])),
            _ => None,
        }));
        if let [odd] = pairs.remainder() {
            self.odd = Some(*odd);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::speech_synthesis::wav;

    #[test]
    fn samples_are_complete_whatever_the_chunks() {
        let samples: Vec<i16> = (-500..500).collect();
        let bytes = pcm(&samples);
        for size in [1, 2, 3, 7, 640] {
            let mut reader = PcmReader::default();
            let read: Vec<i16> = bytes
                .chunks(size)
                .flat_map(|chunk| reader.samples(chunk))
                .collect();
            assert_eq!(read, samples, "{size}");
        }
        let file = wav(16_000, &samples);
        assert_eq!(PcmReader::default().samples(&file), samples);
    }

    #[test]
    fn resampling_keeps_the_duration() {
        for rate in [8000, 16_000, 24_000, 48_000] {
            let resampled = resample(vec![7; 24_000], rate);
            assert_eq!(resampled.len(), usize::try_from(rate).unwrap());
            assert!(resampled.iter().all(|sample| *sample == 7));
        }
    }
}
