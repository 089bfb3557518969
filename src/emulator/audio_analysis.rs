//! Listens to decoded sound: how loud it is, where it is silent, its pitch and its nature.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::audio_decoder::Sound;

/// Loudness is measured in steps of this many milliseconds.
const STEP_MS: u32 = 20;
/// Quieter steps than this are silence, whatever else there is.
const SILENT_DB: f64 = -60.0;
/// Steps this far below the loud ones are pauses.
const PAUSE_DB: f64 = 35.0;
/// Shorter pauses do not part segments: consonants are silent that long.
const GAP_STEPS: usize = 10;
/// Shorter segments are clicks.
const CLICK_STEPS: usize = 3;
/// More segments than this are counted but not listed.
pub(super) const LISTED_SEGMENTS: usize = 12;

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    /// The loudness of the whole, in dB below full scale. Minus infinity for digital silence.
    pub(super) loudness_dbfs: f64,
    /// The loudest sample, likewise.
    pub(super) peak_dbfs: f64,
    /// Where it is not silent: begin and end in seconds.
    pub(super) segments: Vec<(f64, f64)>,
    /// The pitch that prevails, in Hz, if there is one.
    pub(super) pitch_hz: Option<f64>,
    /// What it is nearest to.
    pub(super) nature: Nature,
}

/// What sound is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// There is nothing to hear.
    Silence,
    /// One steady frequency.
    Tone,
    /// Somebody speaks.
    Speech,
    /// Sound with pitch that is not speech.
    Music,
    /// Sound without pitch.
    Noise,
}

/// Listens. Blocks while it computes.
pub(super) fn listen(sound: &Sound) -> Heard {
    let length = usize::try_from(sound.rate * STEP_MS / 1000)
        .unwrap_or(1)
        .max(1);
    let steps: Vec<f64> = sound
        .samples
        .chunks(length)
        .map(|step| db(power(step)))
        .collect();
    let segments = segments(&steps);
    let peak = sound
        .samples
        .iter()
        .fold(0.0_f32, |peak, s| peak.max(s.abs()));
    let peak = f64::from(peak);
    let (pitch_hz, nature) = match nature(sound, &steps, &segments) {
        _ if segments.is_empty() => (None, Nature::Silence),
        found => found,
    };
    let seconds = |step: usize| real(step) * f64::from(STEP_MS) / 1000.0;
    let total = real(sound.samples.len()) / f64::from(sound.rate.max(1));
    Heard {
        loudness_dbfs: db(power(&sound.samples)),
        peak_dbfs: db(peak * peak),
        segments: segments
            .iter()
            .map(|(from, to)| (seconds(*from), seconds(*to).min(total)))
            .collect(),
        pitch_hz,
        nature,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn real(count: usize) -> f64 {
    count as f64
}

fn power(samples: &[f32]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    sum / real(samples.len().max(1))
}

fn db(power: f64) -> f64 {
    10.0 * power.log10()
}

/// Runs of steps that are not silent, as pairs of first step and the one after the last.
fn segments(steps: &[f64]) -> Vec<(usize, usize)> {
    let mut sorted = steps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let loud = sorted.get(sorted.len() * 95 / 100).copied();
    let threshold = (loud.unwrap_or(SILENT_DB) - PAUSE_DB).max(SILENT_DB);
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (step, _) in steps.iter().enumerate().filter(|(_, db)| **db > threshold) {
        match runs.last_mut() {
            Some((_, end)) if step < *end + GAP_STEPS => *end = step + 1,
            _ => runs.push((step, step + 1)),
        }
    }
    runs.retain(|(from, to)| to - from >= CLICK_STEPS);
    runs
}

/// What the frames of the spectrum say, one value for each.
#[derive(Default)]
struct Frames {
    /// The frequency with the most power.
    peaks: Vec<f64>,
    /// The share of the power within a few bins of it.
    shares: Vec<f64>,
    /// The pitch of the voice or instrument, if there is one.
    pitches: Vec<f64>,
    /// How even the spectrum is: 1 for white noise.
    flatness: Vec<f64>,
}

/// Bins to each side of a peak that the Hann window spreads it over.
const SPREAD: usize = 3;
/// The lowest and the highest pitch that is looked for, in Hz.
const PITCHES: (f64, f64) = (60.0, 1000.0);
/// How like itself a frame must be, one period later, to have a pitch.
const PITCHED: f64 = 0.6;
/// Frames that are analysed; longer sound is sampled evenly.
const FRAMES: usize = 600;

fn nature(sound: &Sound, steps: &[f64], segments: &[(usize, usize)]) -> (Option<f64>, Nature) {
    let frames = analyse(sound, steps, segments);
    let count = real(frames.peaks.len().max(1));
    let pitched = real(frames.pitches.len()) / count;
    let share = median(&frames.shares).unwrap_or(0.0);
    let peak = median(&frames.peaks);
    let steady = peak.is_some_and(|peak| spread(&frames.peaks, peak) < 0.01);
    if share > 0.9 && steady {
        return (peak, Nature::Tone);
    }
    let flatness = median(&frames.flatness).unwrap_or(0.0);
    let pitch = median(&frames.pitches).filter(|_| pitched > 0.15);
    if pitch.is_none() || (flatness > 0.3 && pitched < 0.3) {
        return (None, Nature::Noise);
    }
    // Speech moves: its loudness falls between syllables and its pitch glides.
    let loud: Vec<f64> = segments
        .iter()
        .flat_map(|(from, to)| steps.get(*from..*to).unwrap_or_default())
        .copied()
        .collect();
    let level = median(&loud).unwrap_or(SILENT_DB);
    let quiet = loud.iter().filter(|step| **step < level - 10.0).count();
    let pauses = real(quiet) / real(loud.len().max(1));
    let glide = pitch.map_or(0.0, |pitch| spread(&frames.pitches, pitch));
    let in_voice = pitch.is_some_and(|pitch| (70.0..450.0).contains(&pitch));
    let speech = in_voice && pitched < 0.97 && pauses > 0.08 && glide > 0.03;
    let nature = if speech {
        Nature::Speech
    } else {
        Nature::Music
    };
    (pitch, nature)
}

fn analyse(sound: &Sound, steps: &[f64], segments: &[(usize, usize)]) -> Frames {
    let rate = f64::from(sound.rate.max(1));
    // About 64 ms: two periods of the lowest pitch, and a power of two for the transform.
    let wanted = usize::try_from(sound.rate / 16).unwrap_or(1024);
    let size = wanted.next_power_of_two().max(256);
    let hop = usize::try_from(sound.rate * STEP_MS / 1000)
        .unwrap_or(1)
        .max(1);
    let loud = segments
        .iter()
        .flat_map(|(from, to)| *from..*to)
        .collect::<Vec<_>>();
    let level = median(
        &loud
            .iter()
            .filter_map(|step| steps.get(*step))
            .copied()
            .collect::<Vec<_>>(),
    );
    let level = level.unwrap_or(SILENT_DB) - 15.0;
    let mut planner = RealFftPlanner::<f32>::new();
    let forward = planner.plan_fft_forward(size);
    let double = planner.plan_fft_forward(size * 2);
    let inverse = planner.plan_fft_inverse(size * 2);
    let mut frames = Frames::default();
    let every = loud.len().div_ceil(FRAMES).max(1);
    for step in loud.iter().step_by(every) {
        let start = step * hop;
        let Some(frame) = sound.samples.get(start..start + size) else {
            continue;
        };
        if db(power(frame)) < level {
            continue;
        }
        let mut input: Vec<f32> = window(frame);
        let mut bins = forward.make_output_vec();
        if forward.process(&mut input, &mut bins).is_ok() {
            spectrum(&bins, rate / real(size), &mut frames);
        }
        let mut padded = frame.to_vec();
        padded.resize(size * 2, 0.0);
        let mut bins = double.make_output_vec();
        let mut echo = inverse.make_output_vec();
        if double.process(&mut padded, &mut bins).is_ok() {
            for bin in &mut bins {
                *bin = Complex::new(bin.norm_sqr(), 0.0);
            }
            if inverse.process(&mut bins, &mut echo).is_ok() {
                frames.pitches.extend(pitch(&echo, size, rate));
            }
        }
    }
    frames
}

fn window(frame: &[f32]) -> Vec<f32> {
    let turn = std::f64::consts::TAU / real(frame.len());
    let weigh = |(n, sample): (usize, &f32)| {
        let weight = 0.5 - 0.5 * (turn * real(n)).cos();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "samples are of f32's precision"
        )]
        let weight = weight as f32;
        weight * sample
    };
    frame.iter().enumerate().map(weigh).collect()
}

fn spectrum(bins: &[Complex<f32>], width: f64, frames: &mut Frames) {
    // The first bins hold the offset of the signal and what the window spreads of it.
    let powers: Vec<f64> = bins.iter().map(|bin| f64::from(bin.norm_sqr())).collect();
    let skipped = SPREAD.min(powers.len());
    let heard = powers.get(skipped..).unwrap_or_default();
    let total: f64 = heard.iter().sum();
    let highest = heard.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let Some((index, _)) = highest.filter(|_| total > 0.0) else {
        return;
    };
    let from = index.saturating_sub(SPREAD);
    let to = (index + SPREAD + 1).min(heard.len());
    let near = heard.get(from..to).unwrap_or_default();
    let sum: f64 = near.iter().sum();
    // The centre of the power around the peak is finer than a bin.
    let centre: f64 = near
        .iter()
        .enumerate()
        .map(|(n, power)| real(from + n) * power)
        .sum();
    frames.peaks.push((centre / sum + real(skipped)) * width);
    frames.shares.push(sum / total);
    let floor = total / real(heard.len()) * 1e-9;
    let logs: f64 = heard.iter().map(|power| (power + floor).ln()).sum();
    let mean = total / real(heard.len());
    frames
        .flatness
        .push((logs / real(heard.len())).exp() / mean);
}

/// The first lag at which the sound is almost as like itself as anywhere.
fn pitch(echo: &[f32], size: usize, rate: f64) -> Option<f64> {
    let lags = |hz: f64| rate / hz;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lags are positive and below the size of a frame"
    )]
    let (shortest, longest) = (lags(PITCHES.1) as usize, lags(PITCHES.0) as usize);
    let energy = f64::from(*echo.first()?);
    let likeness = |lag: usize| -> f64 {
        // Longer lags overlap less; the quotient makes up for it.
        let overlap = real(size) / real(size.saturating_sub(lag).max(1));
        echo.get(lag)
            .map_or(0.0, |value| f64::from(*value) / energy * overlap)
    };
    let longest = longest.min(size * 3 / 4);
    let best = (shortest.max(2)..longest).map(likeness).fold(0.0, f64::max);
    if energy <= 0.0 || best < PITCHED {
        return None;
    }
    let lag = (shortest.max(2)..longest).find(|lag| {
        let here = likeness(*lag);
        here > 0.9 * best && here >= likeness(lag - 1) && here >= likeness(lag + 1)
    })?;
    let (before, here, after) = (likeness(lag - 1), likeness(lag), likeness(lag + 1));
    let bend = before - 2.0 * here + after;
    let shift = if bend.abs() > 1e-12 {
        0.5 * (before - after) / bend
    } else {
        0.0
    };
    Some(rate / (real(lag) + shift.clamp(-0.5, 0.5)))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The median distance from the centre, as a share of it.
fn spread(values: &[f64], centre: f64) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&distances).unwrap_or(0.0) / centre.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(rate: u32, samples: Vec<f32>) -> Sound {
        Sound {
            container: String::new(),
            codec: String::new(),
            rate,
            channels: 1,
            frames: samples.len() as u64,
            longer: false,
            samples,
        }
    }

    fn sine(rate: u32, hz: f32, seconds: f32, size: f32) -> Vec<f32> {
        let count = (rate as f32 * seconds) as u32;
        let turn = std::f32::consts::TAU * hz / rate as f32;
        (0..count).map(|n| size * (turn * n as f32).sin()).collect()
    }

    fn noise(count: usize, size: f32) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(7);
        (0..count)
            .map(|_| size * (random.f32() * 2.0 - 1.0))
            .collect()
    }

    #[test]
    fn a_tone_is_told_with_its_pitch_and_loudness() {
        for (rate, hz) in [
            (16_000, 440.0),
            (44_100, 1000.0),
            (8000, 100.0),
            (48_000, 5000.0),
        ] {
            let heard = listen(&sound(rate, sine(rate, hz, 2.0, 0.5)));
            assert_eq!(heard.nature, Nature::Tone, "{hz}");
            let pitch = heard.pitch_hz.unwrap();
            assert!(
                (pitch - f64::from(hz)).abs() / f64::from(hz) < 0.01,
                "{pitch} for {hz}"
            );
            assert!(
                (heard.loudness_dbfs + 9.03).abs() < 0.1,
                "{}",
                heard.loudness_dbfs
            );
            assert!((heard.peak_dbfs + 6.02).abs() < 0.1, "{}", heard.peak_dbfs);
            assert_eq!(heard.segments.len(), 1);
        }
    }

    #[test]
    fn silence_parts_segments() {
        let mut samples = vec![0.0; 8000];
        samples.extend(sine(16_000, 300.0, 1.0, 0.3));
        samples.extend(noise(16_000, 0.000_1));
        samples.extend(sine(16_000, 300.0, 0.5, 0.3));
        samples.extend(vec![0.0; 1600]);
        let heard = listen(&sound(16_000, samples));
        let expected = [(0.5, 1.5), (2.5, 3.0)];
        assert_eq!(heard.segments.len(), 2, "{:?}", heard.segments);
        for (found, expected) in heard.segments.iter().zip(expected) {
            assert!((found.0 - expected.0).abs() < 0.03, "{found:?}");
            assert!((found.1 - expected.1).abs() < 0.03, "{found:?}");
        }
    }

    #[test]
    fn silence_and_noise_have_no_pitch() {
        let heard = listen(&sound(16_000, vec![0.0; 16_000]));
        assert_eq!((heard.nature, heard.pitch_hz), (Nature::Silence, None));
        assert_eq!(heard.loudness_dbfs, f64::NEG_INFINITY);
        let heard = listen(&sound(16_000, noise(32_000, 0.3)));
        assert_eq!((heard.nature, heard.pitch_hz), (Nature::Noise, None));
        assert_eq!(listen(&sound(8000, Vec::new())).nature, Nature::Silence);
    }

    /// Syllables of a gliding voice with overtones, with hissing between them.
    fn speech(rate: u32) -> Vec<f32> {
        let mut samples = Vec::new();
        let mut phase = 0.0_f32;
        for syllable in 0..12_u32 {
            let length = rate / 5;
            for n in 0..length {
                let part = n as f32 / length as f32;
                let hz = 110.0 + 40.0 * (syllable as f32 * 1.3).sin() - 25.0 * part;
                phase += std::f32::consts::TAU * hz / rate as f32;
                let shape = (std::f32::consts::PI * part).sin().powi(2);
                let voice: f32 = (1..8).map(|k| (phase * k as f32).sin() / k as f32).sum();
                samples.push(0.2 * shape * voice);
            }
            samples.extend(noise(rate as usize / 20, 0.02));
        }
        samples
    }

    #[test]
    fn a_gliding_voice_is_speech_and_chords_are_music() {
        let heard = listen(&sound(16_000, speech(16_000)));
        assert_eq!(heard.nature, Nature::Speech);
        assert!(
            (70.0..170.0).contains(&heard.pitch_hz.unwrap()),
            "{:?}",
            heard.pitch_hz
        );
        let mut chords = Vec::new();
        for base in [220.0, 246.9, 261.6, 220.0] {
            let voices: Vec<Vec<f32>> = [1.0, 1.25, 1.5, 2.0]
                .iter()
                .map(|part| sine(16_000, base * part, 0.5, 0.15))
                .collect();
            chords.extend((0..8000).map(|n| voices.iter().map(|v| v[n]).sum::<f32>()));
        }
        assert_eq!(listen(&sound(16_000, chords)).nature, Nature::Music);
    }
}
