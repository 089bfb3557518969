//! The rules for parameters and for what each family of models takes, with DashScope's words.

use serde_json::Value;

use super::error::Fault;
use super::family::Kind;
use super::request::{Ask, Part, Sense};

/// The longest text that the text-to-speech models say, in characters.
const SPOKEN_CHARACTERS: usize = 600;
/// More than any model's output; each model has its own limit, which changes.
const MAX_TOKENS: u64 = 65_536;
/// The longest chain of thought of the documented models.
const THINKING_BUDGET: u64 = 81_920;

/// Checks a request.
///
/// # Errors
///
/// The first fault, as DashScope tells it.
pub(super) fn check(ask: &Ask) -> Result<(), Fault> {
    if ask.family.kind == Kind::OtherPath {
        return Err(Fault::parameter(OTHER_PATH));
    }
    modes(ask)?;
    for rule in NUMBERS {
        rule.check(ask)?;
    }
    json_mode(ask)?;
    match ask.family.kind {
        Kind::Chat => conversation(ask),
        Kind::Transcribe => transcription(ask),
        Kind::Recognise => recognition(ask),
        Kind::Speak => speech(ask),
        Kind::Draw => picture(ask),
        Kind::OtherPath => Ok(()),
    }
}

/// What is said of a model that is served at another path.
const OTHER_PATH: &str = "url error, please check url!";

fn modes(ask: &Ask) -> Result<(), Fault> {
    if ask.stream {
        return Ok(());
    }
    if ask.wants_audio() {
        let words = "'audio' output only support with stream=true";
        return Err(Fault::algorithm(words));
    }
    if ask.family.stream_only {
        return Err(Fault::parameter(
            "This model only support stream mode, please enable the stream parameter to access \
             the model.",
        ));
    }
    Ok(())
}

/// A number and the words for one that is out of its range.
struct Number {
    name: &'static str,
    holds: fn(&Ask, &Value) -> bool,
    words: &'static str,
}

impl Number {
    fn check(&self, ask: &Ask) -> Result<(), Fault> {
        let value = ask.parameters.get(self.name);
        if value.is_none_or(|value| (self.holds)(ask, value)) {
            Ok(())
        } else {
            Err(Fault::parameter(self.words))
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
        words: "Temperature should be in [0.0, 2.0)",
    },
    Number {
        name: "top_p",
        holds: |_, value| real(value, |n| n > 0.0 && n <= 1.0),
        words: "Range of top_p should be (0.0, 1.0]",
    },
    Number {
        name: "top_k",
        holds: |_, value| whole(value, 0, u64::MAX),
        words: "Parameter top_k be greater than or equal to 0",
    },
    Number {
        name: "seed",
        holds: |_, value| whole(value, 0, i64::MAX.unsigned_abs()),
        words: "Range of seed should be [0, 9223372036854775807]",
    },
    Number {
        name: "n",
        holds: |ask, value| ask.family.kind == Kind::Draw || whole(value, 1, 4),
        words: "Range of n should be [1, 4]",
    },
    Number {
        name: "n",
        holds: |ask, value| ask.family.kind != Kind::Draw || whole(value, 1, 6),
        words: "Range of n should be [1, 6]",
    },
    Number {
        name: "max_tokens",
        holds: |_, value| whole(value, 1, MAX_TOKENS),
        words: "Range of max_tokens should be [1, 65536]",
    },
    Number {
        name: "repetition_penalty",
        holds: |_, value| real(value, |n| n > 0.0),
        words: "Repetition_penalty should be greater than 0.0",
    },
    Number {
        name: "presence_penalty",
        holds: |_, value| real(value, |n| (-2.0..=2.0).contains(&n)),
        words: "Presence_penalty should be in [-2.0, 2.0]",
    },
    Number {
        name: "top_logprobs",
        holds: |_, value| whole(value, 0, 5),
        words: "Range of top_logprobs should be [0, 5]",
    },
    Number {
        name: "thinking_budget",
        holds: |_, value| whole(value, 1, THINKING_BUDGET),
        words: "The thinking_budget parameter must be a positive integer and not greater than \
                81920",
    },
];

fn json_mode(ask: &Ask) -> Result<(), Fault> {
    let format = ask.parameters.get("response_format");
    let kind = format.and_then(|format| format.get("type")?.as_str());
    let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    let mut texts = parts.filter_map(Part::text);
    if kind == Some("json_object") && !texts.any(|text| text.to_lowercase().contains("json")) {
        return Err(Fault::algorithm(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of \
             type 'json_object'.",
        ));
    }
    Ok(())
}

fn conversation(ask: &Ask) -> Result<(), Fault> {
    if ask.turns.is_empty() {
        let words = "Required input parameter missing from request.";
        return Err(Fault::new(400, "BadRequest.EmptyInput", words));
    }
    Ok(())
}

fn media(ask: &Ask, sense: Sense) -> usize {
    let parts = ask.turns.iter().flat_map(|turn| &turn.parts);
    parts
        .filter(|part| matches!(part, Part::Medium(found, _) if *found == sense))
        .count()
}

fn transcription(ask: &Ask) -> Result<(), Fault> {
    conversation(ask)?;
    match media(ask, Sense::Audio) {
        0 => Err(Fault::algorithm("The audio is empty")),
        _ => Ok(()),
    }
}

/// What is missing is not said: the answer is 400 with an empty object.
fn recognition(ask: &Ask) -> Result<(), Fault> {
    let format = ask.parameters.get("format").and_then(Value::as_str);
    if media(ask, Sense::Audio) == 0 || format.is_none() {
        return Err(Fault::nameless());
    }
    Ok(())
}

fn speech(ask: &Ask) -> Result<(), Fault> {
    let length = ask.spoken().chars().count();
    if length == 0 {
        let words = "Required input parameter missing from request.";
        return Err(Fault::new(400, "BadRequest.EmptyInput", words));
    }
    if length > SPOKEN_CHARACTERS {
        return Err(Fault::parameter("Range of input length should be [1, 600]"));
    }
    let voice = ask.input.get("voice").and_then(Value::as_str);
    match voice {
        None | Some("") => Err(Fault::parameter(
            "Required parameter(s) missing or invalid, please check the request parameters.",
        )),
        Some(_) => Ok(()),
    }
}

fn picture(ask: &Ask) -> Result<(), Fault> {
    let [turn] = ask.turns.as_slice() else {
        return Err(Fault::parameter("messages length only support 1"));
    };
    let texts = turn.parts.iter().filter(|part| part.text().is_some());
    let (texts, images) = (texts.count(), media(ask, Sense::Image));
    let (least, most) = ask.family.images;
    let images_fit = (least..=most).contains(&images);
    if turn.role != "user" || texts != 1 || !images_fit || texts + images != turn.parts.len() {
        return Err(Fault::parameter(match (least, most) {
            (0, 0) => "content length only support 1: one text".to_owned(),
            _ => format!(
                "content length only support {} to {}: one text and {least} to {most} images",
                least + 1,
                most + 1
            ),
        }));
    }
    size(ask).map(drop)
}

/// The largest side of a picture that is made, as documented for the models that take any size.
const SIDE: u32 = 2048;
/// What the models make unless a size is asked for.
const SIZE: (u32, u32) = (1664, 928);

/// The size of a picture that is asked for.
///
/// # Errors
///
/// When it is not `width*height`, or too large.
pub(super) fn size(ask: &Ask) -> Result<(u32, u32), Fault> {
    let Some(size) = ask.parameters.get("size") else {
        return Ok(SIZE);
    };
    let sides = size.as_str().and_then(|size| size.split_once('*'));
    let side = |text: &str| {
        let side = text.trim().parse::<u32>().ok();
        side.filter(|side| (1..=SIDE).contains(side))
    };
    let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| Fault::parameter("size must be in the format width*height"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(model: &str, parameters: Value, stream: bool) -> Result<(), Fault> {
        let body = json!({"model": model, "parameters": parameters, "input": {"messages": [
            {"role": "user", "content": [{"text": "hello"}]}]}});
        check(&Ask::read(&body, stream).unwrap())
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
                let fault = judged("qwen-vl-plus", json!({ name: value }), false).unwrap_err();
                assert_eq!((fault.status, &*fault.code), (400, "InvalidParameter"));
                assert!(fault.message.to_lowercase().contains(name), "{name}");
            }
        }
        assert_eq!(
            judged("qwen-vl-plus", json!({"later": {"a": 1}}), false),
            Ok(())
        );
    }

    #[test]
    fn modes_are_checked() {
        let fault = judged("qwen3-omni-flash", json!({}), false).unwrap_err();
        assert!(fault.message.contains("only support stream mode"));
        assert_eq!(judged("qwen3-omni-flash", json!({}), true), Ok(()));
        let speech = json!({"modalities": ["text", "audio"]});
        let fault = judged("qwen3-omni-flash", speech, false).unwrap_err();
        assert!(
            fault
                .message
                .contains("'audio' output only support with stream=true")
        );
        let format = json!({"response_format": {"type": "json_object"}});
        let fault = judged("qwen-vl-plus", format, false).unwrap_err();
        assert!(fault.message.contains("must contain the word 'json'"));
        let fault = judged("qwen3-asr-flash", json!({}), false).unwrap_err();
        assert!(fault.message.contains("The audio is empty"));
    }

    #[test]
    fn speech_and_pictures_have_their_own_rules() {
        let speak = |input: Value| {
            let body = json!({"model": "qwen3-tts-flash", "input": input});
            check(&Ask::read(&body, false).unwrap())
        };
        assert_eq!(speak(json!({"text": "hi", "voice": "Cherry"})), Ok(()));
        assert!(speak(json!({"voice": "Cherry"})).is_err());
        assert!(speak(json!({"text": "hi"})).is_err());
        let long = "好".repeat(601);
        let fault = speak(json!({"text": long, "voice": "Cherry"})).unwrap_err();
        assert_eq!(fault.message, "Range of input length should be [1, 600]");

        let draw = |model: &str, messages: Value| {
            let body = json!({"model": model, "input": {"messages": messages}});
            check(&Ask::read(&body, false).unwrap())
        };
        let one = json!([{"role": "user", "content": [{"image": "https://a/b"}, {"text": "x"}]}]);
        assert_eq!(draw("qwen-image-edit", one.clone()), Ok(()));
        assert!(draw("qwen-image-max", one.clone()).is_err());
        let mut two = one.as_array().unwrap().clone();
        two.extend(two.clone());
        let fault = draw("qwen-image-edit", json!(two)).unwrap_err();
        assert_eq!(fault.message, "messages length only support 1");
        let bare = json!([{"role": "user", "content": [{"text": "x"}]}]);
        let fault = draw("qwen-image-edit", bare).unwrap_err();
        assert!(fault.message.starts_with("content length only support"));
    }
}
