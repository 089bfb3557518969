//! Usage: estimated tokens, in the format of the model's family.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice};
use super::family::{Family, UsageForm};
use super::image::tokens;
use super::media::Medium;
use super::request::{GenerationRequest, MediaKind};

/// The documented minimum for a recording.
const MIN_AUDIO_TOKENS: u64 = 25;
/// Tokens of each message for its role.
const MESSAGE_TOKENS: u64 = 4;
/// Tokens of a video, whose frames are not decoded: one second at the models' default rate.
const VIDEO_TOKENS: u64 = 256;
/// Tokens of an image that was not fetched: the minimum for an image.
const REMOTE_IMAGE_TOKENS: u64 = 6;

/// Counts of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Input {
    text: u64,
    audio: u64,
    image: u64,
    video: u64,
    seconds: u64,
    characters: usize,
    size: (u32, u32),
}

/// Counts of the output.
#[derive(Clone, Copy, Debug, Default)]
struct Output {
    text: u64,
    reasoning: u64,
    audio: u64,
    images: usize,
}

impl Input {
    /// Counts the input of a request.
    pub(super) fn count(request: &GenerationRequest, media: &[Medium], size: (u32, u32)) -> Self {
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        let texts: u64 = parts.filter_map(|part| part.text()).map(count).sum();
        let messages = u64::try_from(request.messages.len()).unwrap_or(0);
        let mut input = Self {
            text: texts.saturating_add(messages.saturating_mul(MESSAGE_TOKENS)),
            characters: characters(request.speech_input()),
            size,
            ..Self::default()
        };
        for medium in media {
            input.add(medium, request.family);
        }
        input
    }

    fn add(&mut self, medium: &Medium, family: &Family) {
        match medium {
            Medium::Audio(recording, ..) => {
                let seconds = recording.seconds().min(f64::from(family.max_audio_seconds));
                let tokens = whole(seconds * f64::from(family.audio_rate) / 10.0);
                self.audio += tokens.max(MIN_AUDIO_TOKENS);
                self.seconds += whole(seconds);
            }
            Medium::Image(image, _) => self.image += tokens(*image),
            Medium::Video(..) => self.video += VIDEO_TOKENS,
            Medium::Frames(frames) => {
                let mut inner = Self::default();
                for frame in frames {
                    inner.add(frame, family);
                }
                self.video += inner.image;
            }
            // It was not fetched: only its presence is known.
            Medium::Remote(MediaKind::Audio, _) => self.audio += MIN_AUDIO_TOKENS,
            Medium::Remote(MediaKind::Image, _) => self.image += REMOTE_IMAGE_TOKENS,
            Medium::Remote(MediaKind::Video, _) => self.video += VIDEO_TOKENS,
        }
    }

    fn total(&self) -> u64 {
        self.text + self.audio + self.image + self.video
    }
}

/// A number, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds and tokens are positive and small; `as` saturates"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

/// Estimates the tokens of a text: one for each Chinese character, one for each four letters
/// otherwise.
pub(super) fn count(text: &str) -> u64 {
    let (mut tokens, mut letters) = (0_u64, 0_u64);
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            letters += 1;
            continue;
        }
        tokens += letters.div_ceil(4);
        letters = 0;
        tokens += u64::from(!character.is_whitespace());
    }
    tokens + letters.div_ceil(4)
}

/// Billed characters of speech: a Chinese character counts as two, any other as one.
pub(super) fn characters(text: &str) -> usize {
    let chinese = |c: &char| {
        matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}')
    };
    text.chars().count() + text.chars().filter(chinese).count()
}

fn output(answer: &Answer) -> Output {
    let sum = |part: fn(&Choice) -> u64| answer.choices.iter().map(part).sum();
    let calls = |choice: &Choice| -> u64 {
        let calls = choice.tool_calls.iter();
        calls
            .map(|call| count(&call.name) + count(&call.arguments.concat()))
            .sum()
    };
    Output {
        text: sum(|choice| count(&choice.text.concat()))
            + answer.choices.iter().map(calls).sum::<u64>(),
        reasoning: sum(|choice| count(&choice.reasoning.concat())),
        // A chunk has 0.2 s.
        audio: sum(|choice| u64::try_from(choice.audio.len() * 5).unwrap_or(0)),
        images: answer
            .choices
            .iter()
            .map(|choice| choice.images.len())
            .sum(),
    }
}

/// Tokens of a call, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Text of the input.
    pub(super) input_text: u64,
    /// Audio of the input.
    pub(super) input_audio: u64,
    /// Images of the input.
    pub(super) input_image: u64,
    /// Videos of the input.
    pub(super) input_video: u64,
    /// Seconds of audio in the input.
    pub(super) seconds: u64,
    /// Text and tool calls of the answer.
    pub(super) output_text: u64,
    /// Reasoning of the answer.
    pub(super) output_reasoning: u64,
    /// Audio of the answer.
    pub(super) output_audio: u64,
}

impl Tokens {
    /// Counts the tokens of a call.
    pub(super) fn count(answer: &Answer, input: &Input) -> Self {
        let out = output(answer);
        Self {
            input_text: input.text,
            input_audio: input.audio,
            input_image: input.image,
            input_video: input.video,
            seconds: input.seconds,
            output_text: out.text,
            output_reasoning: out.reasoning,
            output_audio: out.audio,
        }
    }

    /// All of the input.
    pub(super) fn input(&self) -> u64 {
        self.input_text + self.input_audio + self.input_image + self.input_video
    }

    /// All of the answer.
    pub(super) fn output(&self) -> u64 {
        self.output_text + self.output_reasoning + self.output_audio
    }
}

/// The usage of a whole answer, unless a script sets it. The order of the keys is as recorded; it
/// differs between unary responses and streams.
pub(super) fn usage(
    answer: &Answer,
    input: &Input,
    form: UsageForm,
    stream: bool,
) -> Map<String, Value> {
    if let Some(usage) = &answer.usage {
        return usage.clone();
    }
    let out = output(answer);
    let written = out.text + out.reasoning + out.audio;
    let total = input.total();
    let value = match form {
        UsageForm::Audio if stream => json!({"audio_tokens": input.audio, "input_tokens": total,
            "output_tokens": written}),
        UsageForm::Audio => json!({"audio_tokens": input.audio, "output_tokens": written,
            "input_tokens": total}),
        UsageForm::Vision => return vision(input, total, written, stream),
        UsageForm::Detailed => return detailed(input, total, out),
        UsageForm::Seconds => json!({"input_tokens_details": {"text_tokens": input.text},
            "output_tokens_details": {"text_tokens": written}, "seconds": input.seconds}),
        UsageForm::Characters => json!({"characters": input.characters}),
        UsageForm::Duration => json!({"duration": input.seconds}),
        UsageForm::Image => json!({"height": input.size.1, "image_count": out.images,
            "width": input.size.0}),
    };
    value.as_object().cloned().unwrap_or_default()
}

fn vision(input: &Input, total: u64, written: u64, stream: bool) -> Map<String, Value> {
    let mut usage = Map::new();
    let mut counts = [("output_tokens", written), ("input_tokens", total)];
    if stream {
        counts.reverse();
    }
    usage.extend(counts.map(|(name, count)| (name.to_owned(), json!(count))));
    let media = [("image_tokens", input.image), ("video_tokens", input.video)];
    let media = media.into_iter().filter(|(_, count)| *count > 0);
    usage.extend(media.map(|(name, count)| (name.to_owned(), json!(count))));
    usage
}

fn detailed(input: &Input, total: u64, out: Output) -> Map<String, Value> {
    let written = out.text + out.reasoning + out.audio;
    let given = [
        ("audio_tokens", input.audio),
        ("image_tokens", input.image),
        ("video_tokens", input.video),
        ("text_tokens", input.text),
    ];
    let made = [
        ("audio_tokens", out.audio),
        ("reasoning_tokens", out.reasoning),
        ("text_tokens", out.text),
    ];
    let details = |counts: &[(&str, u64)]| {
        let counts = counts.iter();
        let there = counts.filter(|(name, count)| *count > 0 || *name == "text_tokens");
        there
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect::<Map<_, _>>()
    };
    let mut usage = Map::new();
    usage.insert("total_tokens".into(), json!(total + written));
    usage.insert("input_tokens_details".into(), details(&given).into());
    usage.insert("output_tokens".into(), json!(written));
    usage.insert("input_tokens".into(), json!(total));
    usage.insert("output_tokens_details".into(), details(&made).into());
    let media = given
        .iter()
        .filter(|(name, count)| *count > 0 && *name != "text_tokens");
    for (name, count) in media {
        usage.insert((*name).to_owned(), json!(count));
    }
    usage
}

/// How much of an answer has been streamed, as pairs of sent and total chunks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Reasoning.
    pub(super) reasoning: (usize, usize),
    /// Text, tool calls and the rest.
    pub(super) text: (usize, usize),
}

/// The usage within a stream: the output counts grow to their final values.
pub(super) fn so_far(usage: &Map<String, Value>, progress: Progress) -> Map<String, Value> {
    let (reasoning, text) = (progress.reasoning, progress.text);
    let all = (reasoning.0 + text.0, reasoning.1 + text.1);
    let share = |count: u64, (done, total): (usize, usize)| {
        let (done, total) = (u128::try_from(done), u128::try_from(total.max(1)));
        let (done, total) = (done.unwrap_or(0), total.unwrap_or(1));
        u64::try_from((u128::from(count) * done).div_ceil(total)).unwrap_or(count)
    };
    let mut usage = usage.clone();
    let whole = usage.get("output_tokens").and_then(Value::as_u64);
    let mut made = whole.map(|count| share(count, all));
    if let Some(details) = usage
        .get_mut("output_tokens_details")
        .and_then(Value::as_object_mut)
    {
        let mut sum = 0;
        for (name, value) in details.iter_mut() {
            let part = if name == "reasoning_tokens" {
                reasoning
            } else {
                text
            };
            if let Some(count) = value.as_u64() {
                let count = share(count, part);
                sum += count;
                *value = json!(count);
            }
        }
        made = made.map(|_| sum);
    }
    if let (Some(whole), Some(made)) = (whole, made) {
        let made = made.min(whole);
        set(&mut usage, "output_tokens", made);
        if let Some(total) = usage.get("total_tokens").and_then(Value::as_u64) {
            set(
                &mut usage,
                "total_tokens",
                total.saturating_sub(whole - made),
            );
        }
    }
    usage
}

/// Replaces a count, so that the order of the keys is kept.
fn set(usage: &mut Map<String, Value>, name: &str, count: u64) {
    if let Some(value) = usage.get_mut(name) {
        *value = json!(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::decode_budget::Budget;
    use crate::emulator::family::family;
    use crate::emulator::media::{Source, analyse_media};
    use crate::emulator::speech_synthesis::wav;

    fn input(model: &str, seconds: f64) -> Input {
        let body = json!({"model": model, "input": {"messages": [
            {"role": "user", "content": "这段音频在说什么?"}]}});
        let request = GenerationRequest::read(&body, true).unwrap();
        let samples = vec![500; (seconds * 1000.0) as usize];
        let source = Source::Bytes(MediaKind::Audio, wav(1000, &samples));
        let family = family(model).unwrap();
        let medium =
            analyse_media(source, family.max_audio_seconds, &mut Budget::default()).unwrap();
        Input::count(&request, &[medium], (0, 0))
    }

    #[test]
    fn audio_costs_25_tokens_a_second_at_least_25_at_most_30_seconds() {
        for (seconds, tokens) in [(0.2, 25), (1.0, 25), (2.0, 50), (30.0, 750), (45.0, 750)] {
            assert_eq!(
                input("qwen-audio-turbo", seconds).audio,
                tokens,
                "{seconds}"
            );
        }
        assert_eq!(input("qwen3-omni-flash", 45.0).audio, 1125);
    }

    #[test]
    fn each_family_has_its_usage_format() {
        let choice = Choice {
            text: vec!["好".into()],
            ..Choice::default()
        };
        let answer = Answer {
            choices: vec![choice],
            ..Answer::default()
        };
        let told = |model: &str, stream| {
            let form = family(model).unwrap().usage;
            Value::from(usage(&answer, &input(model, 1.0), form, stream)).to_string()
        };
        for (model, stream, expected) in [
            (
                "qwen-audio-turbo",
                false,
                r#"{"audio_tokens":25,"output_tokens":1,"input_tokens":38}"#,
            ),
            (
                "qwen-audio-turbo",
                true,
                r#"{"audio_tokens":25,"input_tokens":38,"output_tokens":1}"#,
            ),
            (
                "qwen-vl-plus",
                true,
                r#"{"input_tokens":38,"output_tokens":1}"#,
            ),
            (
                "qwen3-omni-x-captioner",
                true,
                "{\"total_tokens\":39,\"input_tokens_details\":\
             {\"audio_tokens\":25,\"text_tokens\":13},\"output_tokens\":1,\"input_tokens\":38,\
             \"output_tokens_details\":{\"text_tokens\":1},\"audio_tokens\":25}",
            ),
            (
                "qwen3-asr-flash",
                true,
                "{\"input_tokens_details\":{\"text_tokens\":13},\
             \"output_tokens_details\":{\"text_tokens\":1},\"seconds\":1}",
            ),
        ] {
            assert_eq!(told(model, stream), expected, "{model}");
        }
    }

    #[test]
    fn counts_grow_to_the_totals() {
        let usage = json!({"total_tokens": 130, "output_tokens": 30, "input_tokens": 100,
            "output_tokens_details": {"reasoning_tokens": 10, "text_tokens": 20}});
        let usage = usage.as_object().unwrap();
        let at = |reasoning, text| Value::from(so_far(usage, Progress { reasoning, text }));
        assert_eq!(
            at((1, 2), (0, 4)).to_string(),
            "{\"total_tokens\":105,\"output_tokens\":5,\"input_tokens\":100,\
             \"output_tokens_details\":{\"reasoning_tokens\":5,\"text_tokens\":0}}"
        );
        assert_eq!(at((2, 2), (4, 4)), Value::from(usage.clone()));
    }
}
