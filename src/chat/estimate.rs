//! Estimates the tokens of a call before DashScope has counted them.
//!
//! The estimate uses what is known without reading media. Limits reserve it and are corrected by
//! DashScope's count, so it has to be approximate only, and rather too high.

use super::call::Prompt;
use super::event::Piece;
use super::media::VideoSource;
use super::message::{Body, Part, Tool, Turn};

/// A token is about three bytes of UTF-8: a Chinese character, or half of an English word.
const BYTES_OF_A_TOKEN: usize = 3;

/// Half a minute of audio, at 25 tokens per second.
const AUDIO: u64 = 750;

/// An image of about a million pixels.
const IMAGE: u64 = 1_300;

/// Half a minute of video, sampled twice per second, with small frames.
const FILM: u64 = 10_000;

/// An answer of a page, if the caller sets no maximum.
const ANSWER: u64 = 1_000;

/// Bytes of audio that count as one byte of text: an answer has 48,000 bytes and about 50 tokens
/// per second.
const AUDIO_BYTES_OF_A_BYTE: u64 = 320;

/// The tokens of a message beside its parts.
const TURN: u64 = 5;

impl Prompt {
    /// The estimated input and output tokens.
    pub fn estimated_tokens(&self) -> u64 {
        let options = &self.options;
        let bound = options.max_completion_tokens.or(options.max_tokens);
        let answer = bound.and_then(|bound| u64::try_from(bound).ok());
        let answers = options.n.and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        let thought = options.thinking_budget.unwrap_or_default();
        let answer = answer.unwrap_or(ANSWER) + u64::try_from(thought).unwrap_or_default();
        self.estimated_input_tokens() + answer.saturating_mul(answers.max(1))
    }

    /// The estimated input tokens.
    pub fn estimated_input_tokens(&self) -> u64 {
        let asked = input_tokens(&self.turns);
        let tools: u64 = self.tools.iter().map(tool).sum();
        asked + tools
    }
}

impl Piece {
    /// The weight of the piece, in bytes of text; see [`tokens`].
    pub fn estimated_weight(&self) -> u64 {
        match self {
            Self::Text(text) | Self::Reasoning(text) => text.len() as u64,
            Self::ToolCall(call) => call.arguments.len() as u64,
            Self::Audio(bytes) => bytes.len() as u64 / AUDIO_BYTES_OF_A_BYTE,
            Self::Annotation(_)
            | Self::Image(_)
            | Self::AudioFile(_)
            | Self::Extra(_)
            | Self::MessageExtra(_)
            | Self::Logprobs(_)
            | Self::Search(_) => 0,
        }
    }
}

/// The estimated input tokens of these messages.
pub fn input_tokens(turns: &[Turn]) -> u64 {
    turns.iter().map(turn).sum()
}

/// The estimated tokens of an answer of this weight.
pub fn tokens(weight: u64) -> u64 {
    weight.div_ceil(BYTES_OF_A_TOKEN as u64)
}

fn turn(turn: &Turn) -> u64 {
    let parts: u64 = turn.parts.iter().map(part).sum();
    let calls = turn.tool_calls.iter().map(|call| text(&call.arguments));
    TURN + parts + text(&turn.reasoning) + calls.sum::<u64>()
}

fn part(part: &Part) -> u64 {
    match &part.body {
        Body::Text(words) => text(words),
        Body::Audio(_) => AUDIO,
        Body::Image(_) => IMAGE,
        Body::Video(video) => match &video.source {
            VideoSource::File(_) => FILM,
            // DashScope merges every two frames.
            VideoSource::Frames(frames) => IMAGE * (frames.len() as u64).div_ceil(2),
        },
        Body::Other => 0,
    }
}

fn tool(tool: &Tool) -> u64 {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
        } => text(name) + text(description) + text(parameters),
        Tool::Raw(json) => text(json),
    }
}

fn text(text: &str) -> u64 {
    text.len().div_ceil(BYTES_OF_A_TOKEN) as u64
}

#[cfg(test)]
mod tests {
    use super::super::media::{Image, Medium, Source};
    use super::super::message::{Options, Role};
    use super::*;

    fn prompt(parts: Vec<Body>, options: Options) -> Prompt {
        let mut turn = Turn::new(Role::User);
        turn.parts = parts.into_iter().map(Part::from).collect();
        Prompt {
            model: "m".into(),
            turns: vec![turn],
            tools: Vec::new(),
            tool_choice: None,
            options: Box::new(options),
        }
    }

    #[test]
    fn text_images_and_the_maximum_of_the_answer_count() {
        let image = Body::Image(Image {
            medium: Medium {
                mime_type: String::new(),
                source: Source::Uri("https://h/x.png".to_owned()),
            },
            min_pixels: None,
            max_pixels: None,
            enable_rotate: None,
        });
        let words = Body::Text("这段音频在说什么".to_owned());
        let asked = prompt(vec![words.clone(), image], Options::default());
        assert_eq!(asked.estimated_tokens(), 5 + 8 + 1300 + 1000);
        let bounded = Options {
            max_tokens: Some(50),
            n: Some(2),
            ..Options::default()
        };
        assert_eq!(prompt(vec![words], bounded).estimated_tokens(), 5 + 8 + 100);
        let absurd = Options {
            max_tokens: Some(i32::MAX),
            n: Some(-1),
            thinking_budget: Some(-1),
            ..Options::default()
        };
        assert!(prompt(Vec::new(), absurd).estimated_tokens() > 1 << 30);
    }
}
