//! What the emulator hears in a turn: the analysis of its audio, and its transcript.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::emulator::audio_analysis::{AudioAnalysis, SignalKind, analyse_audio};
use crate::emulator::audio_decoder::DecodedAudio;
use crate::emulator::templates::Language;

/// Audio that was analysed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) struct Heard {
    /// Its duration.
    pub(in crate::emulator) seconds: f64,
    /// Its transcript.
    pub(in crate::emulator) transcript: String,
}

/// Analyses the audio of a turn. The analysis runs on another thread, a few at a time.
pub(in crate::emulator) async fn hear(
    permits: &Arc<Semaphore>,
    samples: Vec<i16>,
    rate: u32,
    language: Language,
) -> Heard {
    let permit = Arc::clone(permits).acquire_owned().await;
    let analysed = spawn_blocking(move || {
        let recording = recording(samples, rate);
        let analysis = analyse_audio(&recording);
        // Held by the work, which ends also if the connection does not wait for it.
        drop(permit);
        (recording.seconds(), analysis)
    });
    let Ok((seconds, analysis)) = analysed.await else {
        // The analysis is free of panics; without it, the turn is only counted.
        return Heard {
            seconds: 0.0,
            transcript: String::new(),
        };
    };
    Heard {
        seconds,
        transcript: transcript(seconds, &analysis, language),
    }
}

fn recording(samples: Vec<i16>, rate: u32) -> DecodedAudio {
    DecodedAudio {
        container: "pcm".to_owned(),
        codec: "pcm_s16le".to_owned(),
        rate,
        channels: 1,
        frames: u64::try_from(samples.len()).unwrap_or(0),
        longer: false,
        samples: samples
            .iter()
            .map(|sample| f32::from(*sample) / 32_768.0)
            .collect(),
    }
}

/// For example `2.3 seconds of a tone at about 440 Hz.`
fn transcript(seconds: f64, analysis: &AudioAnalysis, language: Language) -> String {
    let (chinese, english) = match analysis.signal_kind {
        SignalKind::Silence => ("静音", "silence"),
        SignalKind::Tone => ("纯音", "a tone"),
        SignalKind::Speech => ("语音", "speech"),
        SignalKind::Music => ("音乐", "music"),
        SignalKind::Noise => ("噪声", "noise"),
    };
    match (language, analysis.pitch_hz) {
        (Language::Chinese, Some(hz)) => format!("{seconds:.1} 秒{chinese}，约 {hz:.0} Hz。"),
        (Language::Chinese, None) => format!("{seconds:.1} 秒{chinese}。"),
        (Language::English, Some(hz)) => {
            format!("{seconds:.1} seconds of {english} at about {hz:.0} Hz.")
        }
        (Language::English, None) => format!("{seconds:.1} seconds of {english}."),
    }
}

/// The transcript of compressed audio, which the emulator does not decode.
pub(in crate::emulator) fn undecoded(bytes: usize, language: Language) -> Heard {
    Heard {
        seconds: 0.0,
        transcript: match language {
            Language::Chinese => format!("{bytes} 字节压缩音频。"),
            Language::English => format!("{bytes} bytes of compressed audio."),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transcript_describes_the_audio() {
        let permits = Arc::new(Semaphore::new(1));
        let tone = |n: u32| (8000.0 * (n as f32 * 0.172_787_6).sin()) as i16;
        let samples: Vec<i16> = (0..36_800).map(tone).collect();
        let heard = hear(&permits, samples.clone(), 16_000, Language::English).await;
        assert_eq!(heard.transcript, "2.3 seconds of a tone at about 440 Hz.");
        let heard = hear(&permits, samples, 16_000, Language::Chinese).await;
        assert_eq!(heard.transcript, "2.3 秒纯音，约 440 Hz。");
        let heard = hear(&permits, vec![0; 8000], 16_000, Language::English).await;
        assert_eq!(heard.transcript, "0.5 seconds of silence.");
    }
}
