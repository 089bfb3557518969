//! Measures decoded audio: loudness, silence, pitch, and the kind of signal.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::audio_decoder::DecodedAudio;

/// Length of a step, the unit in which loudness is measured, in milliseconds.
const STEP_MS: u32 = 20;
/// Steps below this loudness are silence in any recording.
const SILENT_DB: f64 = -60.0;
/// Steps this many dB below the loud ones are pauses.
const PAUSE_DB: f64 = 35.0;
/// Shorter pauses do not separate segments: plosive consonants are silent that long.
const GAP_STEPS: usize = 10;
/// Shorter segments are clicks, and ignored.
const CLICK_STEPS: usize = 3;
/// The most segments that an answer lists; further ones are only counted.
pub(super) const LISTED_SEGMENTS: usize = 12;

/// The result of the analysis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AudioAnalysis {
    /// Loudness of the whole recording in dBFS. Minus infinity for digital silence.
    pub(super) loudness_dbfs: f64,
    /// Level of the loudest sample in dBFS.
    pub(super) peak_dbfs: f64,
    /// What is not silent: start and end in seconds.
    pub(super) segments: Vec<(f64, f64)>,
    /// The prevailing pitch in Hz, if there is one.
    pub(super) pitch_hz: Option<f64>,
    /// The kind of signal.
    pub(super) signal_kind: SignalKind,
}

/// The kind of signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalKind {
    /// No signal.
    Silence,
    /// One steady frequency.
    Tone,
    /// Human speech.
    Speech,
    /// A signal with pitch that is not speech.
    Music,
    /// A signal without pitch.
    Noise,
}

/// Analyses a recording. Blocks for the time of the computation.
pub(super) fn analyse_audio(recording: &DecodedAudio) -> AudioAnalysis {
    let length = usize::try_from(recording.rate * STEP_MS / 1000)
        .unwrap_or(1)
        .max(1);
    let steps: Vec<f64> = recording
        .samples
        .chunks(length)
        .map(|step| db(power(step)))
        .collect();
    let segments = segments(&steps);
    let peak = recording
        .samples
        .iter()
        .fold(0.0_f32, |peak, s| peak.max(s.abs()));
    let peak = f64::from(peak);
    let (pitch_hz, signal_kind) = match signal_kind(recording, &steps, &segments) {
        _ if segments.is_empty() => (None, SignalKind::Silence),
        found => found,
    };
    let seconds = |step: usize| real(step) * f64::from(STEP_MS) / 1000.0;
    let total = real(recording.samples.len()) / f64::from(recording.rate.max(1));
    AudioAnalysis {
        loudness_dbfs: db(power(&recording.samples)),
        peak_dbfs: db(peak * peak),
        segments: segments
            .iter()
            .map(|(from, to)| (seconds(*from), seconds(*to).min(total)))
            .collect(),
        pitch_hz,
        signal_kind,
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

/// Runs of steps that are not silent, each as its first step and the step after its last.
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

/// Results for each frame of the spectrum, one element per frame.
#[derive(Default)]
struct Frames {
    /// Frequency with the most power.
    peaks: Vec<f64>,
    /// Share of the power within a few bins of the peak.
    shares: Vec<f64>,
    /// Pitch, for the frames that have one.
    pitches: Vec<f64>,
    /// Spectral flatness: 1 for white noise.
    flatness: Vec<f64>,
}

/// Bins on each side of a peak over which the Hann window spreads it.
const SPREAD: usize = 3;
/// The lowest and the highest pitch, in Hz.
const PITCHES: (f64, f64) = (60.0, 1000.0);
/// The least autocorrelation, one period later, of a frame with pitch.
const PITCHED: f64 = 0.6;
/// The most frames that are analysed; a longer recording is sampled evenly.
const FRAMES: usize = 600;

fn signal_kind(
    recording: &DecodedAudio,
    steps: &[f64],
    segments: &[(usize, usize)],
) -> (Option<f64>, SignalKind) {
    let frames = analyse_frames(recording, steps, segments);
    let count = real(frames.peaks.len().max(1));
    let pitched = real(frames.pitches.len()) / count;
    let share = median(&frames.shares).unwrap_or(0.0);
    let peak = median(&frames.peaks);
    let steady = peak.is_some_and(|peak| spread(&frames.peaks, peak) < 0.01);
    if share > 0.9 && steady {
        return (peak, SignalKind::Tone);
    }
    let flatness = median(&frames.flatness).unwrap_or(0.0);
    let pitch = median(&frames.pitches).filter(|_| pitched > 0.15);
    if pitch.is_none() || (flatness > 0.3 && pitched < 0.3) {
        return (None, SignalKind::Noise);
    }
    // In speech, loudness falls between syllables and the pitch glides.
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
    let signal_kind = if speech {
        SignalKind::Speech
    } else {
        SignalKind::Music
    };
    (pitch, signal_kind)
}

fn analyse_frames(recording: &DecodedAudio, steps: &[f64], segments: &[(usize, usize)]) -> Frames {
    let rate = f64::from(recording.rate.max(1));
    // About 64 ms: two periods of the lowest pitch, and a power of two for the transform.
    let wanted = usize::try_from(recording.rate / 16).unwrap_or(1024);
    let size = wanted.next_power_of_two().max(256);
    let hop = usize::try_from(recording.rate * STEP_MS / 1000)
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
        let Some(frame) = recording.samples.get(start..start + size) else {
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
    // The first bins hold the offset of the signal, and what the window spreads of it.
    let powers: Vec<f64> = bins.iter().map(|bin| f64::from(bin.norm_sqr())).collect();
    let skipped = SPREAD.min(powers.len());
    let audible = powers.get(skipped..).unwrap_or_default();
    let total: f64 = audible.iter().sum();
    let highest = audible.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let Some((index, _)) = highest.filter(|_| total > 0.0) else {
        return;
    };
    let from = index.saturating_sub(SPREAD);
    let to = (index + SPREAD + 1).min(audible.len());
    let near = audible.get(from..to).unwrap_or_default();
    let sum: f64 = near.iter().sum();
    // The centroid of the power around the peak has a finer resolution than a bin.
    let centre: f64 = near
        .iter()
        .enumerate()
        .map(|(n, power)| real(from + n) * power)
        .sum();
    frames.peaks.push((centre / sum + real(skipped)) * width);
    frames.shares.push(sum / total);
    let floor = total / real(audible.len()) * 1e-9;
    let logs: f64 = audible.iter().map(|power| (power + floor).ln()).sum();
    let mean = total / real(audible.len());
    frames
        .flatness
        .push((logs / real(audible.len())).exp() / mean);
}

/// The first lag whose autocorrelation is close to the maximum.
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
        // Longer lags overlap less; the quotient compensates for it.
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

/// The median distance from the centre, relative to the centre.
fn spread(values: &[f64], centre: f64) -> f64 {
    let distances: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&distances).unwrap_or(0.0) / centre.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(rate: u32, samples: Vec<f32>) -> DecodedAudio {
        DecodedAudio {
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
    fn a_tone_is_reported_with_its_pitch_and_loudness() {
        for (rate, hz) in [
            (16_000, 440.0),
            (44_100, 1000.0),
            (8000, 100.0),
            (48_000, 5000.0),
        ] {
            let analysis = analyse_audio(&recording(rate, sine(rate, hz, 2.0, 0.5)));
            assert_eq!(analysis.signal_kind, SignalKind::Tone, "{hz}");
            let pitch = analysis.pitch_hz.unwrap();
            assert!(
                (pitch - f64::from(hz)).abs() / f64::from(hz) < 0.01,
                "{pitch} for {hz}"
            );
            assert!(
                (analysis.loudness_dbfs + 9.03).abs() < 0.1,
                "{}",
                analysis.loudness_dbfs
            );
            assert!(
                (analysis.peak_dbfs + 6.02).abs() < 0.1,
                "{}",
                analysis.peak_dbfs
            );
            assert_eq!(analysis.segments.len(), 1);
        }
    }

    #[test]
    fn silence_separates_segments() {
        let mut samples = vec![0.0; 8000];
        samples.extend(sine(16_000, 300.0, 1.0, 0.3));
        samples.extend(noise(16_000, 0.000_1));
        samples.extend(sine(16_000, 300.0, 0.5, 0.3));
        samples.extend(vec![0.0; 1600]);
        let analysis = analyse_audio(&recording(16_000, samples));
        let expected = [(0.5, 1.5), (2.5, 3.0)];
        assert_eq!(analysis.segments.len(), 2, "{:?}", analysis.segments);
        for (found, expected) in analysis.segments.iter().zip(expected) {
            assert!((found.0 - expected.0).abs() < 0.03, "{found:?}");
            assert!((found.1 - expected.1).abs() < 0.03, "{found:?}");
        }
    }

    #[test]
    fn silence_and_noise_have_no_pitch() {
        let analysis = analyse_audio(&recording(16_000, vec![0.0; 16_000]));
        assert_eq!(
            (analysis.signal_kind, analysis.pitch_hz),
            (SignalKind::Silence, None)
        );
        assert_eq!(analysis.loudness_dbfs, f64::NEG_INFINITY);
        let analysis = analyse_audio(&recording(16_000, noise(32_000, 0.3)));
        assert_eq!(
            (analysis.signal_kind, analysis.pitch_hz),
            (SignalKind::Noise, None)
        );
        assert_eq!(
            analyse_audio(&recording(8000, Vec::new())).signal_kind,
            SignalKind::Silence
        );
    }

    /// Syllables of a gliding voice with harmonics, separated by noise.
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
        let analysis = analyse_audio(&recording(16_000, speech(16_000)));
        assert_eq!(analysis.signal_kind, SignalKind::Speech);
        assert!(
            (70.0..170.0).contains(&analysis.pitch_hz.unwrap()),
            "{:?}",
            analysis.pitch_hz
        );
        let mut chords = Vec::new();
        for base in [220.0, 246.9, 261.6, 220.0] {
            let voices: Vec<Vec<f32>> = [1.0, 1.25, 1.5, 2.0]
                .iter()
                .map(|part| sine(16_000, base * part, 0.5, 0.15))
                .collect();
            chords.extend((0..8000).map(|n| voices.iter().map(|v| v[n]).sum::<f32>()));
        }
        assert_eq!(
            analyse_audio(&recording(16_000, chords)).signal_kind,
            SignalKind::Music
        );
    }
}
