//! The line at the end of a live session, and lines about what happened in it.

use std::time::Duration;

use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;

use super::usage_words;

/// What is counted during a session.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    model: String,
    first_audio: Option<Duration>,
    ended: Option<pb::SessionEnded>,
    /// Whether a response failed.
    pub(crate) has_failed: bool,
}

impl Summary {
    /// Counts an event.
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::SessionStarted(started) => self.model.clone_from(&started.model),
            Event::ResponseCompleted(end) => {
                self.has_failed |= end.status() == pb::ResponseStatus::Failed;
                let latency = end.first_audio_latency;
                let latency = latency.and_then(|latency| Duration::try_from(latency).ok());
                self.first_audio = self.first_audio.or(latency);
            }
            Event::SessionEnded(ended) => self.ended = Some(ended.clone()),
            Event::SessionUpdated(_)
            | Event::SpeechStarted(_)
            | Event::SpeechStopped(_)
            | Event::InputCommitted(_)
            | Event::InputTranscript(_)
            | Event::AmbientTranscript(_)
            | Event::ResponseStarted(_)
            | Event::ResponseDelta(_)
            | Event::SessionWarning(_)
            | Event::SessionEnding(_) => {}
        }
    }

    /// The number of responses.
    pub(crate) fn responses(&self) -> i32 {
        self.ended.as_ref().map_or(0, |ended| ended.responses)
    }

    /// Usage and durations in one line.
    pub(crate) fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(ended) = &self.ended {
            parts.extend(ended.usage.as_ref().and_then(usage_words::words));
            match ended.responses {
                1 => parts.push("1 response".to_owned()),
                count => parts.push(format!("{count} responses")),
            }
            let spans = [
                (&ended.input_audio_duration, "in"),
                (&ended.output_audio_duration, "out"),
            ];
            for (span, direction) in spans {
                let span = span.and_then(|span| Duration::try_from(span).ok());
                if let Some(span) = span.filter(|span| !span.is_zero()) {
                    let seconds = span.as_secs_f64();
                    parts.push(format!("{seconds:.2} s of audio {direction}"));
                }
            }
        }
        if let Some(latency) = self.first_audio {
            parts.push(format!("first audio {} ms", latency.as_millis()));
        }
        format!("[{}] {}", self.model, parts.join("; "))
    }
}

/// A warning in one line.
pub(crate) fn warning(warning: &pb::SessionWarning) -> String {
    let code = match warning.code.as_str() {
        "" => warning.reason().as_str_name(),
        code => code,
    };
    match warning.field.as_str() {
        "" => format!("warning: {code}: {}", warning.message),
        field => format!("warning: {code} {field}: {}", warning.message),
    }
}

/// The announced end of a session in one line.
pub(crate) fn ending(ending: &pb::SessionEnding) -> String {
    let left = ending
        .time_left
        .and_then(|left| Duration::try_from(left).ok());
    let reason = ending.reason().as_str_name();
    match left {
        Some(left) => format!("the session ends in {} s: {reason}", left.as_secs()),
        None => format!("the session ends soon: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(millis: u64) -> Option<prost_types::Duration> {
        Duration::from_millis(millis).try_into().ok()
    }

    #[test]
    fn usage_and_durations_are_one_line() {
        let mut summary = Summary::default();
        summary.take(&Event::SessionStarted(pb::SessionStarted {
            model: "m".into(),
            ..pb::SessionStarted::default()
        }));
        for latency in [320, 500] {
            summary.take(&Event::ResponseCompleted(pb::ResponseCompleted {
                first_audio_latency: duration(latency),
                ..pb::ResponseCompleted::default()
            }));
        }
        summary.take(&Event::SessionEnded(pb::SessionEnded {
            usage: Some(pb::Usage {
                input_tokens: Some(336),
                output_tokens: Some(41),
                ..pb::Usage::default()
            }),
            input_audio_duration: duration(3_790),
            output_audio_duration: duration(0),
            responses: 2,
        }));
        assert_eq!(
            summary.line(),
            "[m] 336 tokens in, 41 out; 2 responses; 3.79 s of audio in; first audio 320 ms"
        );
        assert_eq!(summary.responses(), 2);
        assert!(!summary.has_failed);
    }

    #[test]
    fn warnings_and_the_announced_end_are_one_line_each() {
        let one = pb::SessionWarning {
            code: "invalid_value".into(),
            message: "too high".into(),
            field: "session.temperature".into(),
            ..pb::SessionWarning::default()
        };
        let expected = "warning: invalid_value session.temperature: too high";
        assert_eq!(warning(&one), expected);
        let end = pb::SessionEnding {
            time_left: duration(60_000),
            reason: pb::ErrorReason::ShuttingDown.into(),
        };
        assert_eq!(ending(&end), "the session ends in 60 s: SHUTTING_DOWN");
    }
}
