//! Decodes audio within limits of duration, rate, samples and time.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::TimeBase;

use super::decode_budget::Budget;
use super::riff::rebuilt;

/// Decoding stops after this duration, which is above every model's limit.
const DECODED_SECONDS: u64 = 600;
/// The highest sample rate in Hz, above every common one; buffers grow with the rate.
const RATE: u32 = 384_000;
/// Samples that are kept for the analysis: ten minutes at 48 kHz, about 115 MB.
const SAMPLES: usize = 28_800_000;
/// Consecutive packets that fail before a file counts as damaged.
const BROKEN_PACKETS: u32 = 50;

/// Decoded audio, mixed to one channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DecodedAudio {
    /// The container, for example `wave`.
    pub(super) container: String,
    /// The codec, for example `pcm_s16le`.
    pub(super) codec: String,
    /// Samples per second.
    pub(super) rate: u32,
    /// Channels of the file.
    pub(super) channels: usize,
    /// Frames of the file, as far as it was decoded.
    pub(super) frames: u64,
    /// Whether the file is longer than what was decoded.
    pub(super) longer: bool,
    /// The samples to analyse, from -1 to 1.
    pub(super) samples: Vec<f32>,
}

impl DecodedAudio {
    /// Duration of what was decoded, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "frames are far below 2^52")]
        let frames = self.frames as f64;
        frames / f64::from(self.rate.max(1))
    }
}

/// Decodes a file and keeps the samples of its first seconds. Blocks: call it on a blocking thread.
///
/// Returns `None` if the bytes are no audio that can be decoded.
pub(super) fn decode(
    bytes: Bytes,
    analysed_seconds: u32,
    budget: &mut Budget,
) -> Option<DecodedAudio> {
    let bytes = rebuilt(&bytes, DECODED_SECONDS + 1).unwrap_or(bytes);
    // Some damaged files overflow in the decoders, which panics. They count as files that cannot be
    // decoded; no state outlives the attempt.
    let attempt = AssertUnwindSafe(|| attempt(bytes, analysed_seconds, budget));
    catch_unwind(attempt).ok().flatten()
}

fn attempt(bytes: Bytes, analysed_seconds: u32, budget: &mut Budget) -> Option<DecodedAudio> {
    let source = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            source,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .ok()?;
    let track = format.default_track(TrackType::Audio)?;
    let (id, base) = (track.id, track.time_base);
    let parameters = track.codec_params.as_ref()?.audio()?.clone();
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(&parameters, &AudioDecoderOptions::default())
        .ok()?;
    let mut recording = DecodedAudio {
        container: format.format_info().short_name.to_owned(),
        codec: decoder.codec_info().short_name.to_owned(),
        rate: 0,
        channels: 0,
        frames: 0,
        longer: false,
        samples: Vec::new(),
    };
    read(
        &mut *format,
        &mut *decoder,
        (id, base),
        analysed_seconds,
        &mut recording,
        budget,
    )?;
    (recording.frames > 0).then_some(recording)
}

fn read(
    format: &mut dyn FormatReader,
    decoder: &mut dyn AudioDecoder,
    (track, base): (u32, Option<TimeBase>),
    analysed_seconds: u32,
    recording: &mut DecodedAudio,
    budget: &mut Budget,
) -> Option<()> {
    let mut interleaved: Vec<f32> = Vec::new();
    let mut broken = 0;
    let most = |recording: &DecodedAudio| DECODED_SECONDS * u64::from(recording.rate);
    // A file that ends within a packet counts as complete: the fingerprint shows the missing bytes.
    while let Ok(Some(packet)) = format.next_packet() {
        if budget.is_spent() {
            recording.longer = true;
            break;
        }
        if packet.track_id != track {
            continue;
        }
        let analysed = u64::from(analysed_seconds) * u64::from(recording.rate);
        let counted = frames(packet.dur.get(), base, recording.rate);
        if recording.rate > 0 && recording.frames >= analysed && counted > 0 {
            // The remaining packets are counted without decoding them.
            recording.frames = recording.frames.saturating_add(counted);
            if recording.frames > most(recording) {
                recording.longer = true;
                break;
            }
            continue;
        }
        let buffer = match decoder.decode(&packet) {
            Ok(buffer) => buffer,
            Err(Error::DecodeError(_) | Error::IoError(_)) if broken < BROKEN_PACKETS => {
                broken += 1;
                continue;
            }
            Err(_) => return (recording.frames > 0).then_some(()),
        };
        broken = 0;
        if recording.rate == 0 {
            recording.rate = buffer.spec().rate();
            recording.channels = buffer.spec().channels().count();
        }
        if recording.rate == 0 || recording.rate > RATE || recording.channels == 0 {
            return None;
        }
        buffer.copy_to_vec_interleaved(&mut interleaved);
        budget.spend(interleaved.len());
        let analysed = u64::from(analysed_seconds) * u64::from(recording.rate);
        for frame in interleaved.chunks_exact(recording.channels) {
            if recording.frames < analysed && recording.samples.len() < SAMPLES {
                recording.samples.push(mixed(frame));
            }
            recording.frames += 1;
        }
        if recording.frames > most(recording) {
            recording.longer = true;
            break;
        }
    }
    Some(())
}

/// The number of frames in a packet of this duration; 0 if the container does not say.
fn frames(duration: u64, base: Option<TimeBase>, rate: u32) -> u64 {
    let Some(base) = base else {
        return 0;
    };
    let frames = u128::from(duration) * u128::from(base.numer.get()) * u128::from(rate);
    u64::try_from(frames / u128::from(base.denom.get())).unwrap_or(u64::MAX)
}

fn mixed(frame: &[f32]) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a few channels")]
    let channels = frame.len() as f32;
    let sum: f32 = frame.iter().sum();
    let mixed = sum / channels;
    if mixed.is_finite() { mixed } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::speech_synthesis::wav;
    use super::*;

    #[test]
    fn a_wav_is_decoded_to_its_samples() {
        let samples: Vec<i16> = (0..16_000)
            .map(|n| if n % 2 == 0 { 8192 } else { -8192 })
            .collect();
        let recording = decode(wav(16_000, &samples), 30, &mut Budget::default()).unwrap();
        assert_eq!(
            (recording.rate, recording.channels, recording.frames),
            (16_000, 1, 16_000)
        );
        assert_eq!((recording.samples[0], recording.samples[1]), (0.25, -0.25));
        assert_eq!(recording.codec, "pcm_s16le");
        assert!((recording.seconds() - 1.0).abs() < 1e-9 && !recording.longer);
    }

    #[test]
    fn only_the_first_seconds_are_analysed() {
        let recording = decode(wav(1000, &[1; 3000]), 2, &mut Budget::default()).unwrap();
        assert_eq!((recording.frames, recording.samples.len()), (3000, 2000));
    }

    #[test]
    fn very_long_audio_is_not_decoded_to_its_end() {
        let recording = decode(wav(1000, &vec![0; 700_000]), 1, &mut Budget::default()).unwrap();
        assert!(recording.longer && recording.frames < 620_000);
    }

    #[test]
    fn bytes_that_are_no_audio_are_refused() {
        for bytes in [
            &b""[..],
            b"RIFF",
            b"hello, this is no audio at all",
            &[0; 5000],
        ] {
            assert_eq!(
                decode(Bytes::copy_from_slice(bytes), 30, &mut Budget::default()),
                None
            );
        }
        let empty = wav(16_000, &[]);
        assert_eq!(decode(empty, 30, &mut Budget::default()), None);
    }

    #[test]
    fn the_documented_codecs_are_built_in() {
        use symphonia::core::codecs::audio::well_known as known;
        let codecs = symphonia::default::get_codecs();
        for codec in [
            known::CODEC_ID_PCM_S16LE,
            known::CODEC_ID_MP3,
            known::CODEC_ID_FLAC,
            known::CODEC_ID_VORBIS,
            known::CODEC_ID_AAC,
            known::CODEC_ID_ALAC,
        ] {
            assert!(codecs.get_audio_decoder(codec).is_some(), "{codec:?}");
        }
    }

    /// A FLAC file of silence in eight channels at 384 kHz: 42 bytes for half a million samples.
    fn flac(frames: u32) -> Bytes {
        let mut file = b"fLaC\x80\0\0\x22\xff\xff\xff\xff\0\0\0\0\0\0".to_vec();
        // 20 bits of rate, 3 of channels less one, 5 of bits less one, 36 of samples: unknown.
        let about = (384_000_u64 << 44) | (7 << 41) | (15 << 36);
        file.extend(about.to_be_bytes());
        file.extend([0; 16]);
        for number in 0..frames {
            // A fixed size of 65535 samples, the rate of the file, eight channels, 16 bits.
            let mut frame = vec![0xff, 0xf8, 0x70, 0x78];
            let mut text = [0; 4];
            let character = char::from_u32(number).unwrap();
            frame.extend(character.encode_utf8(&mut text).as_bytes());
            frame.extend([0xff, 0xfe]);
            frame.push(crc(&frame, 8, 0x07) as u8);
            frame.extend([0; 3 * 8]);
            let sum = crc(&frame, 16, 0x8005) as u16;
            frame.extend(sum.to_be_bytes());
            file.extend(frame);
        }
        Bytes::from(file)
    }

    fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u32 {
        let top = 1 << (width - 1);
        bytes.iter().fold(0, |sum: u32, byte| {
            (0..8).fold(sum ^ (u32::from(*byte) << (width - 8)), |sum, _| {
                let shifted = sum << 1;
                let next = if sum & top == 0 {
                    shifted
                } else {
                    shifted ^ polynomial
                };
                next & ((1 << width) - 1)
            })
        })
    }

    #[test]
    fn a_small_file_of_much_audio_costs_no_more_than_the_budget() {
        let two = decode(flac(2), 600, &mut Budget::default()).unwrap();
        assert_eq!(
            (two.frames, two.channels, two.longer),
            (2 * 65_535, 8, false)
        );
        let mut budget = Budget::default();
        let cut = decode(flac(400), 600, &mut budget).unwrap();
        assert!(cut.longer && budget.is_spent(), "{} frames", cut.frames);
        assert!(cut.frames * 8 < 65_000_000, "{} frames", cut.frames);
        // Nothing is left for other files of the request.
        assert_eq!(decode(flac(2), 600, &mut budget), None);
    }

    #[test]
    fn nothing_is_decoded_for_a_client_that_has_disconnected() {
        let (mut budget, guard) = Budget::guarded();
        drop(guard);
        assert_eq!(decode(wav(8000, &[1; 8000]), 30, &mut budget), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn damaged_files_never_panic(at in 0usize..44, byte: u8, length in 0usize..2044) {
            let mut bytes = wav(8000, &[100; 1000]).to_vec();
            bytes[at] = byte;
            bytes.truncate(length);
            drop(decode(Bytes::from(bytes), 30, &mut Budget::default()));
        }
    }
}
