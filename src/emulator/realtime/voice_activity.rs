//! Voice activity detection by energy: finds where speech begins and ends in samples that arrive
//! in chunks.

/// Length of a step, the unit in which energy is measured, in milliseconds.
const STEP_MS: u64 = 20;
/// Consecutive loud steps that begin speech: shorter ones are clicks.
const START_STEPS: u64 = 3;
/// The level of a threshold of zero, in dBFS.
const ZERO_DBFS: f64 = -50.0;
/// How much a threshold of one raises the level, in dB.
const THRESHOLD_DB: f64 = 20.0;

/// How speech is detected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::emulator) struct VadSettings {
    /// From -1, the most sensitive, to 1.
    pub(in crate::emulator) threshold: f64,
    /// Silence that ends speech, in milliseconds.
    pub(in crate::emulator) silence_ms: u64,
}

/// A change, at its position since the first sample of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum VadEvent {
    /// Speech began at this time, in milliseconds.
    Started(u64),
    /// Silence has lasted long enough at this time; speech ended so much earlier.
    Stopped(u64),
}

/// The detector of one session.
#[derive(Clone, Debug)]
pub(in crate::emulator) struct VoiceActivity {
    rate: u32,
    step: Vec<i16>,
    steps: u64,
    loud: u64,
    quiet: u64,
    is_speaking: bool,
}

impl VoiceActivity {
    /// A detector for a sample rate.
    pub(in crate::emulator) fn new(rate: u32) -> Self {
        Self {
            rate,
            step: Vec::new(),
            steps: 0,
            loud: 0,
            quiet: 0,
            is_speaking: false,
        }
    }

    /// The time of the samples so far, in milliseconds.
    pub(in crate::emulator) fn position_ms(&self) -> u64 {
        let partial = u64::try_from(self.step.len()).unwrap_or(0);
        self.steps * STEP_MS + partial * 1000 / u64::from(self.rate.max(1))
    }

    /// Ends speech, for whatever reason.
    pub(in crate::emulator) fn stop(&mut self) {
        (self.loud, self.quiet, self.is_speaking) = (0, 0, false);
    }

    /// Takes samples, up to the first change. Returns the number that were taken, and the change.
    pub(in crate::emulator) fn take(
        &mut self,
        samples: &[i16],
        settings: VadSettings,
    ) -> (usize, Option<VadEvent>) {
        let length = usize::try_from(u64::from(self.rate) * STEP_MS / 1000).unwrap_or(1);
        let length = length.max(1);
        let mut taken = 0;
        while let Some(rest) = samples.get(taken..).filter(|rest| !rest.is_empty()) {
            let wanted = length.saturating_sub(self.step.len()).min(rest.len());
            self.step.extend(rest.iter().take(wanted));
            taken += wanted;
            if self.step.len() < length {
                break;
            }
            let is_loud = level(&self.step) > ZERO_DBFS + THRESHOLD_DB * settings.threshold;
            self.step.clear();
            self.steps += 1;
            if let Some(event) = self.change(is_loud, settings) {
                return (taken, Some(event));
            }
        }
        (taken, None)
    }

    fn change(&mut self, is_loud: bool, settings: VadSettings) -> Option<VadEvent> {
        if is_loud {
            (self.loud, self.quiet) = (self.loud + 1, 0);
        } else {
            (self.loud, self.quiet) = (0, self.quiet + 1);
        }
        if !self.is_speaking && self.loud >= START_STEPS {
            self.is_speaking = true;
            return Some(VadEvent::Started((self.steps - self.loud) * STEP_MS));
        }
        if self.is_speaking && self.quiet * STEP_MS >= settings.silence_ms {
            self.stop();
            return Some(VadEvent::Stopped(self.steps * STEP_MS));
        }
        None
    }
}

/// The loudness of samples in dBFS.
fn level(samples: &[i16]) -> f64 {
    let sum: f64 = samples
        .iter()
        .map(|sample| f64::from(*sample) * f64::from(*sample))
        .sum();
    let count = u32::try_from(samples.len()).map_or(1.0, f64::from);
    10.0 * (sum / count.max(1.0) / (32_768.0 * 32_768.0)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: VadSettings = VadSettings {
        threshold: 0.5,
        silence_ms: 200,
    };

    fn tone(ms: usize, size: f64) -> Vec<i16> {
        let sample = |n: usize| (size * (n as f64 * 0.172_787_6).sin()) as i16;
        (0..ms * 16).map(sample).collect()
    }

    fn events(samples: &[i16], chunk: usize, settings: VadSettings) -> Vec<VadEvent> {
        let mut vad = VoiceActivity::new(16_000);
        let mut events = Vec::new();
        for mut chunk in samples.chunks(chunk) {
            while !chunk.is_empty() {
                let (taken, event) = vad.take(chunk, settings);
                events.extend(event);
                chunk = &chunk[taken..];
            }
        }
        assert_eq!(vad.position_ms(), samples.len() as u64 / 16);
        events
    }

    #[test]
    fn speech_begins_and_ends_at_the_same_time_whatever_the_chunks() {
        let samples = [tone(400, 0.0), tone(600, 8000.0), tone(300, 0.0)].concat();
        for chunk in [7, 320, 1600, 100_000] {
            let found = events(&samples, chunk, SETTINGS);
            assert_eq!(found, [VadEvent::Started(400), VadEvent::Stopped(1200)]);
        }
    }

    #[test]
    fn clicks_and_short_pauses_change_nothing() {
        let click = [tone(100, 0.0), tone(40, 8000.0), tone(500, 0.0)].concat();
        assert_eq!(events(&click, 320, SETTINGS), []);
        let paused = [tone(200, 8000.0), tone(160, 0.0), tone(200, 8000.0)].concat();
        assert_eq!(events(&paused, 320, SETTINGS), [VadEvent::Started(0)]);
    }

    #[test]
    fn the_threshold_decides_what_is_loud() {
        let quiet = tone(300, 200.0);
        let at = |threshold| VadSettings {
            threshold,
            ..SETTINGS
        };
        assert_eq!(events(&quiet, 320, at(0.5)), []);
        assert_eq!(events(&quiet, 320, at(0.0)), [VadEvent::Started(0)]);
    }
}
