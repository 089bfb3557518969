//! The summary of an answer: a line of text, and a JSON object.

use std::time::Duration;

use dashgate_client::v1 as pb;
use serde::Serialize;

use super::answer::{self, Answer};
use super::error::Failure;
use super::message_json::{Fields, Shown, fields, keys};
use super::schema::Schema;
use super::usage_words;

/// Usage and timing in one line.
pub(crate) fn line(answer: &Answer) -> String {
    let mut parts = Vec::new();
    if let Some(usage) = &answer.usage {
        parts.extend(usage_words::words(usage));
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
    match answer.finish_reason().as_str() {
        "stop" | "" => {}
        "length" => parts.push("token limit reached".to_owned()),
        other => parts.push(format!("ended by {other}")),
    }
    if answer.audio_bytes > 0 {
        parts.push(format!("{} bytes of audio", answer.audio_bytes));
    }
    format!("[{}] {}", answer.model, parts.join("; "))
}

fn span(span: Duration) -> String {
    match span.as_millis() {
        0..1_000 => format!("{} ms", span.as_millis()),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}

/// The answer as one JSON object; `failure` is an error that occurred after the answer.
pub(crate) fn json(answer: &Answer, failure: Option<&Failure>) -> String {
    let timing = &answer.timing;
    let milliseconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1_000.0);
    let schema = Schema::read();
    let [extra_output, extra] = answer.extras.each_ref().map(|open| open.as_ref().map(keys));
    let warnings = answer.warnings.iter();
    let view = View {
        text: &answer.text(),
        reasoning: answer.reasoning(),
        finish_reason: &answer.finish_reason(),
        images: &answer.images,
        audio_bytes: answer.audio_bytes,
        notes: &answer.notes,
        usage: answer
            .usage
            .as_ref()
            .map(|usage| fields(&schema, "Usage", usage)),
        model: &answer.model,
        request_id: &answer.request_id,
        upstream_request_id: &answer.upstream_request_id,
        timing: Times {
            first_event_ms: milliseconds(timing.first_event),
            total_ms: milliseconds(timing.total),
            attempts: timing.attempts,
        },
        choices: answer
            .choices
            .iter()
            .map(|one| choice(&schema, one))
            .collect(),
        search_info: answer
            .search_info
            .as_ref()
            .map(|info| fields(&schema, "SearchInfo", info)),
        extra_output,
        extra,
        warnings: warnings
            .map(|one| fields(&schema, "Warning", one))
            .collect(),
        error: failure,
    };
    serde_json::to_string(&view).unwrap_or_default()
}

/// A choice with the names of the schema; its text and finish reason have the same keys as above.
fn choice(schema: &Schema, choice: &pb::Choice) -> Fields {
    let mut all = Fields(vec![
        ("index".to_owned(), Shown::Whole(choice.index.into())),
        ("text".to_owned(), Shown::Text(answer::text(choice))),
        (
            "finish_reason".to_owned(),
            Shown::Text(answer::finish(choice)),
        ),
    ]);
    let said = ["index", "finish_reason", "raw_finish_reason"];
    let more = fields(schema, "Choice", choice).0.into_iter();
    all.0
        .extend(more.filter(|(name, _)| !said.contains(&name.as_str())));
    all
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
    usage: Option<Fields>,
    model: &'a str,
    request_id: &'a str,
    upstream_request_id: &'a str,
    timing: Times,
    choices: Vec<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_info: Option<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_output: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<Shown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Fields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
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

#[cfg(test)]
mod tests {
    use super::super::answer::Timing;
    use super::*;

    fn ended(reason: &str) -> pb::Choice {
        let text = pb::content::Kind::Text("hi \"there\"\n".into());
        pb::Choice {
            message: Some(pb::Message {
                content: vec![crate::cli::attach::content(text)],
                ..pb::Message::default()
            }),
            raw_finish_reason: reason.into(),
            ..pb::Choice::default()
        }
    }

    fn answer() -> Answer {
        Answer {
            choices: vec![ended("stop")],
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
            ..Answer::default()
        }
    }

    #[test]
    fn usage_and_timing_are_one_line() {
        assert_eq!(
            line(&answer()),
            "[qwen-audio-turbo] 1276 tokens in (768 audio), 19 out; \
             first event 12 ms, total 1.50 s"
        );
        let cut = Answer {
            choices: vec![ended("length")],
            usage: None,
            ..answer()
        };
        assert!(line(&cut).ends_with("token limit reached"));
    }

    #[test]
    fn the_object_has_what_was_reported_and_nothing_else() {
        assert_eq!(
            json(&answer(), None),
            concat!(
                r#"{"text":"hi \"there\"\n","reasoning":"","finish_reason":"stop","#,
                r#""usage":{"input_tokens":1276,"output_tokens":19,"audio_tokens":768,"#,
                r#""output_tokens_details":{"text_tokens":19}},"#,
                r#""model":"qwen-audio-turbo","request_id":"r","upstream_request_id":"up","#,
                r#""timing":{"first_event_ms":12.0,"total_ms":1500.0,"attempts":1},"#,
                r#""choices":[{"index":0,"text":"hi \"there\"\n","finish_reason":"stop","#,
                r#""message":{"content":[{"text":"hi \"there\"\n"}]}}]}"#
            )
        );
    }
}
