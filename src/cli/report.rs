//! What is said about an answer: a line for people, an object for programs.

use std::time::Duration;

use serde::Serialize;

use crate::grpc::pb;

use super::answer::Answer;

/// Usage and timing in one line.
pub(crate) fn line(answer: &Answer) -> String {
    let mut parts = Vec::new();
    if let Some(usage) = &answer.usage {
        parts.extend(tokens(usage));
    }
    let timing = &answer.timing;
    match (timing.first_event, timing.total) {
        (Some(first), Some(total)) => {
            parts.push(format!(
                "first event {}, total {}",
                span(first),
                span(total)
            ));
        }
        (None, Some(total)) => parts.push(format!("total {}", span(total))),
        (_, None) => {}
    }
    if timing.attempts > 1 {
        parts.push(format!("{} attempts", timing.attempts));
    }
    match answer.finish_reason.as_str() {
        "stop" | "" => {}
        "length" => parts.push("cut off by the limit of tokens".to_owned()),
        other => parts.push(format!("ended by {other}")),
    }
    if answer.audio_bytes > 0 {
        parts.push(format!("{} bytes of audio", answer.audio_bytes));
    }
    format!("[{}] {}", answer.model, parts.join("; "))
}

/// What was used, in words.
pub(crate) fn tokens(usage: &pb::Usage) -> Option<String> {
    let mut words = Vec::new();
    if let Some(count) = usage.input_tokens {
        let details = usage.input_tokens_details.as_ref();
        let audio = details.and_then(|details| details.audio_tokens);
        match usage.audio_tokens.or(audio) {
            Some(audio) => words.push(format!("{count} tokens in ({audio} of sound)")),
            None => words.push(format!("{count} tokens in")),
        }
    }
    if let Some(count) = usage.output_tokens {
        words.push(format!("{count} out"));
    }
    if let Some(seconds) = usage.audio_seconds {
        words.push(format!("{seconds} s of sound"));
    }
    if let Some(count) = usage.characters {
        words.push(format!("{count} characters"));
    }
    if let Some(count) = usage.image_count {
        words.push(format!("{count} pictures"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

fn span(span: Duration) -> String {
    match span.as_millis() {
        0..1_000 => format!("{} ms", span.as_millis()),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}

/// The answer as one JSON object.
pub(crate) fn json(answer: &Answer) -> String {
    let timing = &answer.timing;
    let milliseconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1_000.0);
    let view = View {
        text: &answer.text,
        reasoning: &answer.reasoning,
        finish_reason: &answer.finish_reason,
        images: &answer.images,
        audio_bytes: answer.audio_bytes,
        notes: &answer.notes,
        usage: answer.usage.as_ref().map(Usage::from),
        model: &answer.model,
        request_id: &answer.request_id,
        upstream_request_id: &answer.upstream_request_id,
        timing: Times {
            first_event_ms: milliseconds(timing.first_event),
            total_ms: milliseconds(timing.total),
            attempts: timing.attempts,
        },
    };
    serde_json::to_string(&view).unwrap_or_default()
}

#[derive(Serialize)]
struct View<'a> {
    text: &'a str,
    reasoning: &'a str,
    finish_reason: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    images: &'a [String],
    #[serde(skip_serializing_if = "is_zero")]
    audio_bytes: usize,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
    usage: Option<Usage>,
    model: &'a str,
    request_id: &'a str,
    upstream_request_id: &'a str,
    timing: Times,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over by reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct Times {
    first_event_ms: Option<f64>,
    total_ms: Option<f64>,
    attempts: i32,
}

/// The counts under their names in the schema; what DashScope did not report is left out.
macro_rules! counts {
    ($(#[$doc:meta])* $view:ident from $message:ident: $($field:ident: $kind:ty),+
        $(; $($nested:ident),+)?) => {
        $(#[$doc])*
        #[derive(Serialize)]
        struct $view {
            $(#[serde(skip_serializing_if = "Option::is_none")] $field: Option<$kind>,)+
            $($(#[serde(skip_serializing_if = "Option::is_none")] $nested: Option<Details>,)+)?
        }

        impl From<&pb::$message> for $view {
            fn from(message: &pb::$message) -> Self {
                Self {
                    $($field: message.$field.clone(),)+
                    $($($nested: message.$nested.as_ref().map(Details::from),)+)?
                }
            }
        }
    };
}

counts! {
    Usage from Usage:
    input_tokens: i32, output_tokens: i32, total_tokens: i32, audio_tokens: i32,
    image_tokens: i32, video_tokens: i32, cached_tokens: i32,
    cache_creation_input_tokens: i32, cache_type: String, audio_seconds: f64,
    characters: i32, image_count: i32, width: i32, height: i32;
    input_tokens_details, output_tokens_details, prompt_tokens_details
}

counts! {
    Details from TokensDetails:
    text_tokens: i32, audio_tokens: i32, image_tokens: i32, video_tokens: i32,
    reasoning_tokens: i32, cached_tokens: i32, cache_creation_input_tokens: i32,
    cache_type: String
}

#[cfg(test)]
mod tests {
    use super::super::answer::Timing;
    use super::*;

    fn answer() -> Answer {
        Answer {
            text: "hi \"there\"\n".into(),
            finish_reason: "stop".into(),
            model: "qwen-audio-turbo".into(),
            request_id: "r".into(),
            upstream_request_id: "up".into(),
            usage: Some(pb::Usage {
                input_tokens: Some(1276),
                output_tokens: Some(19),
                audio_tokens: Some(768),
                output_tokens_details: Some(pb::TokensDetails {
                    text_tokens: Some(19),
                    ..pb::TokensDetails::default()
                }),
                ..pb::Usage::default()
            }),
            timing: Timing {
                first_event: Some(Duration::from_millis(12)),
                total: Some(Duration::from_millis(1500)),
                attempts: 1,
            },
            complete: true,
            ..Answer::default()
        }
    }

    #[test]
    fn usage_and_timing_are_one_line() {
        assert_eq!(
            line(&answer()),
            "[qwen-audio-turbo] 1276 tokens in (768 of sound), 19 out; \
             first event 12 ms, total 1.50 s"
        );
        let cut = Answer {
            finish_reason: "length".into(),
            usage: None,
            ..answer()
        };
        assert!(line(&cut).ends_with("cut off by the limit of tokens"));
    }

    #[test]
    fn the_object_has_what_was_reported_and_nothing_else() {
        assert_eq!(
            json(&answer()),
            concat!(
                r#"{"text":"hi \"there\"\n","reasoning":"","finish_reason":"stop","#,
                r#""usage":{"input_tokens":1276,"output_tokens":19,"audio_tokens":768,"#,
                r#""output_tokens_details":{"text_tokens":19}},"#,
                r#""model":"qwen-audio-turbo","request_id":"r","upstream_request_id":"up","#,
                r#""timing":{"first_event_ms":12.0,"total_ms":1500.0,"attempts":1}}"#
            )
        );
    }
}
