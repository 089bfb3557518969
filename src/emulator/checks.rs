//! Validates parameters and inputs for each model family, with DashScope's error messages.

use serde_json::Value;

use super::error::ApiError;
use super::family::Kind;
use super::request::{GenerationRequest, MediaKind, Part};

/// The longest input of the text-to-speech models, in characters.
const SPOKEN_CHARACTERS: usize = 600;
/// The highest `max_tokens`, above every model's own limit, which changes.
const MAX_TOKENS: u64 = 65_536;
/// The highest `thinking_budget` of the documented models.
const THINKING_BUDGET: u64 = 81_920;

/// Validates a request.
///
/// # Errors
///
/// The first error in the request, as DashScope reports it.
pub(super) fn check(request: &GenerationRequest) -> Result<(), ApiError> {
    if request.family.kind == Kind::OtherPath {
        return Err(ApiError::parameter(OTHER_PATH));
    }
    modes(request)?;
    for rule in NUMBERS {
        rule.check(request)?;
    }
    json_mode(request)?;
    match request.family.kind {
        Kind::Chat => conversation(request),
        Kind::Transcribe => transcription(request),
        Kind::Recognise => recognition(request),
        Kind::Speak => speech(request),
        Kind::Draw => image(request),
        Kind::OtherPath => Ok(()),
    }
}

/// The message for a model that is served at another path.
const OTHER_PATH: &str = "url error, please check url!";

fn modes(request: &GenerationRequest) -> Result<(), ApiError> {
    if request.stream {
        return Ok(());
    }
    if request.requests_audio() {
        let message = "'audio' output only support with stream=true";
        return Err(ApiError::algorithm(message));
    }
    if request.family.stream_only {
        return Err(ApiError::parameter(
            "This model only support stream mode, please enable the stream parameter to access \
             the model.",
        ));
    }
    Ok(())
}

/// A number and the message for a value out of its range.
struct Number {
    name: &'static str,
    holds: fn(&GenerationRequest, &Value) -> bool,
    message: &'static str,
}

impl Number {
    fn check(&self, request: &GenerationRequest) -> Result<(), ApiError> {
        let value = request.parameters.get(self.name);
        if value.is_none_or(|value| (self.holds)(request, value)) {
            Ok(())
        } else {
            Err(ApiError::parameter(self.message))
        }
    }
}

fn real(value: &Value, holds: impl Fn(f64) -> bool) -> bool {
    value.as_f64().is_some_and(holds)
}

fn whole(value: &Value, first: u64, last: u64) -> bool {
    value.as_u64().is_some_and(|n| (first..=last).contains(&n))
}

static NUMBERS: &[Number] = &[
    Number {
        name: "temperature",
        holds: |_, value| real(value, |n| (0.0..2.0).contains(&n)),
        message: "Temperature should be in [0.0, 2.0)",
    },
    Number {
        name: "top_p",
        holds: |_, value| real(value, |n| n > 0.0 && n <= 1.0),
        message: "Range of top_p should be (0.0, 1.0]",
    },
    Number {
        name: "top_k",
        holds: |_, value| whole(value, 0, u64::MAX),
        message: "Parameter top_k be greater than or equal to 0",
    },
    Number {
        name: "seed",
        holds: |_, value| whole(value, 0, i64::MAX.unsigned_abs()),
        message: "Range of seed should be [0, 9223372036854775807]",
    },
    Number {
        name: "n",
        holds: |request, value| request.family.kind == Kind::Draw || whole(value, 1, 4),
        message: "Range of n should be [1, 4]",
    },
    Number {
        name: "n",
        holds: |request, value| request.family.kind != Kind::Draw || whole(value, 1, 6),
        message: "Range of n should be [1, 6]",
    },
    Number {
        name: "max_tokens",
        holds: |_, value| whole(value, 1, MAX_TOKENS),
        message: "Range of max_tokens should be [1, 65536]",
    },
    Number {
        name: "repetition_penalty",
        holds: |_, value| real(value, |n| n > 0.0),
        message: "Repetition_penalty should be greater than 0.0",
    },
    Number {
        name: "presence_penalty",
        holds: |_, value| real(value, |n| (-2.0..=2.0).contains(&n)),
        message: "Presence_penalty should be in [-2.0, 2.0]",
    },
    Number {
        name: "top_logprobs",
        holds: |_, value| whole(value, 0, 5),
        message: "Range of top_logprobs should be [0, 5]",
    },
    Number {
        name: "thinking_budget",
        holds: |_, value| whole(value, 1, THINKING_BUDGET),
        message: "The thinking_budget parameter must be a positive integer and not greater than \
                81920",
    },
];

fn json_mode(request: &GenerationRequest) -> Result<(), ApiError> {
    let format = request.parameters.get("response_format");
    let kind = format.and_then(|format| format.get("type")?.as_str());
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    let mut texts = parts.filter_map(Part::text);
    if kind == Some("json_object") && !texts.any(|text| text.to_lowercase().contains("json")) {
        return Err(ApiError::algorithm(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of \
             type 'json_object'.",
        ));
    }
    Ok(())
}

fn conversation(request: &GenerationRequest) -> Result<(), ApiError> {
    if request.messages.is_empty() {
        let message = "Required input parameter missing from request.";
        return Err(ApiError::new(400, "BadRequest.EmptyInput", message));
    }
    Ok(())
}

fn media(request: &GenerationRequest, media_kind: MediaKind) -> usize {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts
        .filter(|part| matches!(part, Part::Medium(found, _) if *found == media_kind))
        .count()
}

fn transcription(request: &GenerationRequest) -> Result<(), ApiError> {
    conversation(request)?;
    match media(request, MediaKind::Audio) {
        0 => Err(ApiError::algorithm("The audio is empty")),
        _ => Ok(()),
    }
}

/// DashScope does not report what is missing: it answers 400 with an empty object.
fn recognition(request: &GenerationRequest) -> Result<(), ApiError> {
    let format = request.parameters.get("format").and_then(Value::as_str);
    if media(request, MediaKind::Audio) == 0 || format.is_none() {
        return Err(ApiError::empty());
    }
    Ok(())
}

fn speech(request: &GenerationRequest) -> Result<(), ApiError> {
    let length = request.speech_input().chars().count();
    if length == 0 {
        let message = "Required input parameter missing from request.";
        return Err(ApiError::new(400, "BadRequest.EmptyInput", message));
    }
    if length > SPOKEN_CHARACTERS {
        return Err(ApiError::parameter(
            "Range of input length should be [1, 600]",
        ));
    }
    let voice = request.input.get("voice").and_then(Value::as_str);
    match voice {
        None | Some("") => Err(ApiError::parameter(
            "Required parameter(s) missing or invalid, please check the request parameters.",
        )),
        Some(_) => Ok(()),
    }
}

fn image(request: &GenerationRequest) -> Result<(), ApiError> {
    let [message] = request.messages.as_slice() else {
        return Err(ApiError::parameter("messages length only support 1"));
    };
    let texts = message.parts.iter().filter(|part| part.text().is_some());
    let (texts, images) = (texts.count(), media(request, MediaKind::Image));
    let (least, most) = request.family.images;
    let images_fit = (least..=most).contains(&images);
    if message.role != "user" || texts != 1 || !images_fit || texts + images != message.parts.len()
    {
        return Err(ApiError::parameter(match (least, most) {
            (0, 0) => "content length only support 1: one text".to_owned(),
            _ => format!(
                "content length only support {} to {}: one text and {least} to {most} images",
                least + 1,
                most + 1
            ),
        }));
    }
    size(request).map(drop)
}

/// The longest side of a generated image, documented for the models that accept any size.
const SIDE: u32 = 2048;
/// The default size of generated images.
const SIZE: (u32, u32) = (1664, 928);

/// The requested size of an image.
///
/// # Errors
///
/// If it is not `width*height`, or too large.
pub(super) fn size(request: &GenerationRequest) -> Result<(u32, u32), ApiError> {
    let Some(size) = request.parameters.get("size") else {
        return Ok(SIZE);
    };
    let sides = size.as_str().and_then(|size| size.split_once('*'));
    let side = |text: &str| {
        let side = text.trim().parse::<u32>().ok();
        side.filter(|side| (1..=SIDE).contains(side))
    };
    let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| ApiError::parameter("size must be in the format width*height"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(model: &str, parameters: Value, stream: bool) -> Result<(), ApiError> {
        let body = json!({"model": model, "parameters": parameters, "input": {"messages": [
            {"role": "user", "content": [{"text": "hello"}]}]}});
        check(&GenerationRequest::read(&body, stream).unwrap())
    }

    #[test]
    fn numbers_have_ranges() {
        for (name, good, bad) in [
            (
                "temperature",
                vec![json!(0), json!(1.99)],
                vec![json!(2), json!(-0.1), json!("1")],
            ),
            (
                "top_p",
                vec![json!(0.01), json!(1)],
                vec![json!(0), json!(1.1)],
            ),
            (
                "top_k",
                vec![json!(0), json!(100)],
                vec![json!(-1), json!(1.5)],
            ),
            (
                "seed",
                vec![json!(0), json!(i64::MAX)],
                vec![json!(-1), json!(u64::MAX)],
            ),
            ("n", vec![json!(1), json!(4)], vec![json!(0), json!(5)]),
            ("max_tokens", vec![json!(1)], vec![json!(0), json!("x")]),
            (
                "repetition_penalty",
                vec![json!(1.1)],
                vec![json!(0), json!(-1)],
            ),
            (
                "presence_penalty",
                vec![json!(-2), json!(2)],
                vec![json!(2.1)],
            ),
        ] {
            for value in good {
                let verdict = judged("qwen-vl-plus", json!({ name: value }), false);
                assert_eq!(verdict, Ok(()), "{name} {value}");
            }
            for value in bad {
                let error = judged("qwen-vl-plus", json!({ name: value }), false).unwrap_err();
                assert_eq!((error.status, &*error.code), (400, "InvalidParameter"));
                assert!(error.message.to_lowercase().contains(name), "{name}");
            }
        }
        assert_eq!(
            judged("qwen-vl-plus", json!({"later": {"a": 1}}), false),
            Ok(())
        );
    }

    #[test]
    fn modes_are_checked() {
        let error = judged("qwen3-omni-flash", json!({}), false).unwrap_err();
        assert!(error.message.contains("only support stream mode"));
        assert_eq!(judged("qwen3-omni-flash", json!({}), true), Ok(()));
        let speech = json!({"modalities": ["text", "audio"]});
        let error = judged("qwen3-omni-flash", speech, false).unwrap_err();
        assert!(
            error
                .message
                .contains("'audio' output only support with stream=true")
        );
        let format = json!({"response_format": {"type": "json_object"}});
        let error = judged("qwen-vl-plus", format, false).unwrap_err();
        assert!(error.message.contains("must contain the word 'json'"));
        let error = judged("qwen3-asr-flash", json!({}), false).unwrap_err();
        assert!(error.message.contains("The audio is empty"));
    }

    #[test]
    fn speech_and_image_requests_are_checked_by_their_own_rules() {
        let synthesize = |input: Value| {
            let body = json!({"model": "qwen3-tts-flash", "input": input});
            check(&GenerationRequest::read(&body, false).unwrap())
        };
        assert_eq!(synthesize(json!({"text": "hi", "voice": "Cherry"})), Ok(()));
        assert!(synthesize(json!({"voice": "Cherry"})).is_err());
        assert!(synthesize(json!({"text": "hi"})).is_err());
        let long = "好".repeat(601);
        let error = synthesize(json!({"text": long, "voice": "Cherry"})).unwrap_err();
        assert_eq!(error.message, "Range of input length should be [1, 600]");

        let draw = |model: &str, messages: Value| {
            let body = json!({"model": model, "input": {"messages": messages}});
            check(&GenerationRequest::read(&body, false).unwrap())
        };
        let one = json!([{"role": "user", "content": [{"image": "https://a/b"}, {"text": "x"}]}]);
        assert_eq!(draw("qwen-image-edit", one.clone()), Ok(()));
        assert!(draw("qwen-image-max", one.clone()).is_err());
        let mut two = one.as_array().unwrap().clone();
        two.extend(two.clone());
        let error = draw("qwen-image-edit", json!(two)).unwrap_err();
        assert_eq!(error.message, "messages length only support 1");
        let bare = json!([{"role": "user", "content": [{"text": "x"}]}]);
        let error = draw("qwen-image-edit", bare).unwrap_err();
        assert!(error.message.starts_with("content length only support"));
    }
}
