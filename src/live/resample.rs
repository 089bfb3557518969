//! Resamples PCM between the rate of the caller and one that the model accepts, piece by piece.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters,
    SincInterpolationType, WindowFunction,
};

use crate::chat::live_event::{LivePiece, ResponseStatus};
use crate::error::{Error, Reason};
use crate::upstream::LiveProfile;

use super::event::LiveEvent;

/// The samples that are processed at once, per second of audio: pieces of 10 ms.
const CHUNKS_PER_SECOND: u32 = 100;

/// The length of the filter. Its delay is half of it: two milliseconds at 16 kHz.
const FILTER_LENGTH: usize = 64;

/// The positions between two samples for which the filter is computed beforehand.
const OVERSAMPLING: usize = 128;

/// The scale of 16-bit samples.
const SCALE: f32 = 32_768.0;

/// Resamples mono PCM of 16 bits. What belongs together has exactly the same playing time before
/// and after, once it is flushed.
pub(super) struct Resampler {
    inner: Async<f32>,
    /// The samples that are not processed yet: fewer than a chunk.
    pending: Vec<f32>,
    /// The result of a chunk.
    output: Vec<f32>,
    /// The samples of the filter's delay, which are no audio, that are still to come.
    delay: usize,
    /// The samples that were taken and given since the last flush.
    taken: u64,
    given: u64,
    from: u32,
    to: u32,
    /// The first byte of a sample whose second byte has not come.
    odd_byte: Option<u8>,
}

/// The resamplers of a session, in the directions that need one.
#[derive(Debug, Default)]
pub(super) struct Resampling {
    input: Option<Resampler>,
    output: Option<Resampler>,
    /// The response and the item of the last audio for the caller.
    last: Option<(Arc<str>, Arc<str>)>,
}

impl Resampling {
    /// The resamplers of a session.
    pub(super) fn new(profile: &LiveProfile) -> Result<Self, Error> {
        let between = |is_pcm: bool, from: u32, to: u32| match is_pcm && from != to {
            true => Resampler::new(from, to).map(Some),
            false => Ok(None),
        };
        let (input, output) = (profile.input_rate, profile.output_rate);
        let for_caller = profile.caller_output_rate.unwrap_or(output);
        Ok(Self {
            input: between(profile.input_is_pcm, profile.caller_input_rate, input)?,
            output: between(profile.output_is_pcm, output, for_caller)?,
            last: None,
        })
    }

    /// Audio of the caller, for DashScope.
    pub(super) fn input(&mut self, audio: Bytes) -> Result<Bytes, Error> {
        match &mut self.input {
            Some(resampler) => resampler.push(&audio),
            None => Ok(audio),
        }
    }

    /// The rest of the caller's audio: its turn ends.
    pub(super) fn flush_input(&mut self) -> Result<Bytes, Error> {
        match &mut self.input {
            Some(resampler) => resampler.flush(),
            None => Ok(Bytes::new()),
        }
    }

    /// The caller's audio is discarded.
    pub(super) fn clear_input(&mut self) {
        if let Some(resampler) = &mut self.input {
            resampler.reset();
        }
    }

    /// Events with the audio for the caller.
    pub(super) fn output(&mut self, events: Vec<LiveEvent>) -> Result<Vec<LiveEvent>, Error> {
        let Some(resampler) = &mut self.output else {
            return Ok(events);
        };
        let mut resampled = Vec::with_capacity(events.len());
        for event in events {
            if let LiveEvent::Delta {
                response_id,
                item_id,
                piece: LivePiece::Audio(audio),
            } = event
            {
                let audio = resampler.push(&audio)?;
                let ids = (response_id, item_id);
                if !audio.is_empty() {
                    resampled.push(delta(&ids, audio));
                }
                self.last = Some(ids);
                continue;
            }
            if let LiveEvent::ResponseCompleted(end) = &event {
                let last = self.last.take();
                let rest = resampler.flush()?;
                if let Some(ids) = last
                    && end.status == ResponseStatus::Completed
                    && !rest.is_empty()
                {
                    resampled.push(delta(&ids, rest));
                }
            }
            resampled.push(event);
        }
        Ok(resampled)
    }
}

fn delta((response_id, item_id): &(Arc<str>, Arc<str>), audio: Bytes) -> LiveEvent {
    LiveEvent::Delta {
        response_id: Arc::clone(response_id),
        item_id: Arc::clone(item_id),
        piece: LivePiece::Audio(audio),
    }
}

impl fmt::Debug for Resampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resampler")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Resampler {
    /// A resampler between these rates.
    pub(super) fn new(from: u32, to: u32) -> Result<Self, Error> {
        let chunk = usize::try_from(from / CHUNKS_PER_SECOND).unwrap_or_default();
        let parameters = SincInterpolationParameters {
            sinc_len: FILTER_LENGTH,
            f_cutoff: None,
            oversampling_factor: OVERSAMPLING,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let ratio = f64::from(to) / f64::from(from);
        let fixed = FixedAsync::Input;
        let inner = Async::new_sinc(ratio, 1.0, &parameters, chunk.max(1), 1, fixed);
        let inner = inner.map_err(failed)?;
        let (delay, most) = (inner.output_delay(), inner.output_frames_max());
        Ok(Self {
            inner,
            pending: Vec::with_capacity(chunk),
            output: vec![0.0; most],
            delay,
            taken: 0,
            given: 0,
            from,
            to,
            odd_byte: None,
        })
    }

    /// Adds audio. Returns what is complete.
    pub(super) fn push(&mut self, pcm: &[u8]) -> Result<Bytes, Error> {
        let mut result = BytesMut::new();
        for byte in pcm {
            let Some(low) = self.odd_byte.take() else {
                self.odd_byte = Some(*byte);
                continue;
            };
            let sample = i16::from_le_bytes([low, *byte]);
            self.pending.push(f32::from(sample) / SCALE);
            self.taken += 1;
            if self.pending.len() >= self.inner.input_frames_next() {
                self.process(&mut result)?;
            }
        }
        Ok(result.freeze())
    }

    /// Returns the rest. What follows is independent of it.
    pub(super) fn flush(&mut self) -> Result<Bytes, Error> {
        let mut result = BytesMut::new();
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let wanted = (self.taken * to + from / 2) / from;
        while self.given < wanted {
            self.process(&mut result)?;
            if self.given > wanted {
                // The silence after the end.
                let excess = usize::try_from(self.given - wanted).unwrap_or_default();
                result.truncate(result.len().saturating_sub(excess * 2));
                self.given = wanted;
            }
        }
        self.reset();
        Ok(result.freeze())
    }

    /// Forgets what was not returned.
    pub(super) fn reset(&mut self) {
        self.inner.reset();
        self.pending.clear();
        self.odd_byte = None;
        self.delay = self.inner.output_delay();
        self.taken = 0;
        self.given = 0;
    }

    /// Processes the pending samples, followed by silence if they are fewer than a chunk.
    fn process(&mut self, result: &mut BytesMut) -> Result<(), Error> {
        let chunk = self.inner.input_frames_next();
        self.pending.resize(chunk, 0.0);
        let most = self.output.len();
        let input = InterleavedSlice::new(&self.pending, 1, chunk).map_err(failed)?;
        let mut output = InterleavedSlice::new_mut(&mut self.output, 1, most).map_err(failed)?;
        let indexing: Option<&Indexing> = None;
        let processed = self
            .inner
            .process_into_buffer(&input, &mut output, indexing);
        let (_, length) = processed.map_err(failed)?;
        self.pending.clear();
        let skipped = self.delay.min(length);
        self.delay -= skipped;
        let samples = self.output.get(skipped..length).unwrap_or_default();
        result.reserve(samples.len() * 2);
        for sample in samples {
            result.extend_from_slice(&rounded(*sample).to_le_bytes());
            self.given += 1;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the value is within the range of the type"
)]
fn rounded(sample: f32) -> i16 {
    let scaled = (sample * SCALE).round();
    scaled.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

fn failed(cause: impl fmt::Display) -> Error {
    Error::new(Reason::GatewayBug, "audio cannot be resampled").with_source(cause)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// A tone of this frequency.
    fn tone(rate: u32, hertz: f64, samples: usize) -> Vec<u8> {
        shifted_tone(rate, hertz, samples, 0.0)
    }

    /// A tone that is so many samples early.
    fn shifted_tone(rate: u32, hertz: f64, samples: usize, early: f64) -> Vec<u8> {
        let seconds = |n: usize| (n as f64 + early) / f64::from(rate);
        let at = |n: usize| (seconds(n) * hertz * TAU).sin() * 16_000.0;
        (0..samples)
            .flat_map(|n| (at(n).round() as i16).to_le_bytes())
            .collect()
    }

    fn samples(pcm: &[u8]) -> Vec<i16> {
        pcm.chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }

    fn resampled(resampler: &mut Resampler, pcm: &[u8], piece: usize) -> Vec<u8> {
        let mut result = Vec::new();
        for piece in pcm.chunks(piece) {
            result.extend_from_slice(&resampler.push(piece).unwrap());
        }
        result.extend_from_slice(&resampler.flush().unwrap());
        result
    }

    #[test]
    fn a_tone_stays_the_same_tone_in_every_pair_of_rates() {
        for (from, to) in [
            (44_100, 16_000),
            (48_000, 16_000),
            (8_000, 16_000),
            (22_050, 16_000),
            (24_000, 44_100),
            (24_000, 8_000),
        ] {
            let pcm = tone(from, 440.0, from as usize / 2);
            let mut resampler = Resampler::new(from, to).unwrap();
            // The delay is compensated in whole samples. The filter's first result is one sample
            // after its start.
            let exact = FILTER_LENGTH as f64 / 2.0 * f64::from(to) / f64::from(from) - 1.0;
            let early = resampler.delay as f64 - exact;
            assert!(early.abs() <= 1.5, "{from} {to}: {early}");
            let heard = samples(&resampled(&mut resampler, &pcm, 1000));
            assert_eq!(heard.len(), to as usize / 2, "{from} {to}");
            let expected = samples(&shifted_tone(to, 440.0, to as usize / 2, early));
            // The ends are between the tone and silence.
            let inner = to as usize / 50..to as usize / 2 - to as usize / 50;
            let error = inner
                .map(|at| (i32::from(heard[at]) - i32::from(expected[at])).abs())
                .max();
            assert!(error.unwrap() < 200, "{from} {to}: {error:?}");
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_pieces() {
        let pcm = tone(44_100, 1000.0, 10_001);
        let mut resampler = Resampler::new(44_100, 16_000).unwrap();
        let whole = resampled(&mut resampler, &pcm, pcm.len());
        for piece in [2, 14, 882, 4410] {
            assert!(resampled(&mut resampler, &pcm, piece) == whole, "{piece}");
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_forgotten() {
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        resampler.push(&tone(48_000, 440.0, 5000)).unwrap();
        resampler.reset();
        let silence = resampled(&mut resampler, &[0; 9600], 960);
        assert_eq!(silence.len(), 3200);
        assert!(silence.iter().all(|byte| *byte == 0));
        assert!(resampler.flush().unwrap().is_empty());
    }
}
