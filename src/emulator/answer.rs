//! An answer as a value, before it is put on the wire: made by a script or by the emulator itself.

use serde_json::{Map, Value};

/// All that a model says in reply to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// One, unless the request asks for more. Empty for speech.
    pub(super) choices: Vec<Choice>,
    /// Speech of the text-to-speech models, which stands in `output.audio`.
    pub(super) speech: Option<Speech>,
    /// The transcript of the Fun-ASR models, in pieces, which stands in `output.text`.
    pub(super) transcript: Option<Vec<String>>,
    /// The usage, if it is given. The keys keep their order.
    pub(super) usage: Option<Map<String, Value>>,
    /// More fields of `output`, such as `task_metric` or `search_info`.
    pub(super) output: Map<String, Value>,
}

/// One of the answers of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// The text, in the pieces in which it is streamed.
    pub(super) text: Vec<String>,
    /// The thoughts that come before it, in pieces.
    pub(super) reasoning: Vec<String>,
    /// Calls of the tools that were offered.
    pub(super) tool_calls: Vec<ToolCall>,
    /// What is known of the audio that was heard.
    pub(super) annotations: Vec<Value>,
    /// Spoken output, base64 of 24 kHz PCM, in pieces.
    pub(super) audio: Vec<String>,
    /// Addresses of pictures.
    pub(super) images: Vec<String>,
    /// Fields that stand beside the text in its content part, such as `ocr_result`.
    pub(super) beside_text: Map<String, Value>,
    /// Probabilities of the tokens.
    pub(super) logprobs: Option<Value>,
    /// Why it ended. `stop`, or `tool_calls`, unless it is given.
    pub(super) finish_reason: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ToolCall {
    /// For example `call_aa99ad078f29`.
    pub(super) id: String,
    /// The name of the function.
    pub(super) name: String,
    /// Its arguments, JSON as text, in the pieces in which it is streamed.
    pub(super) arguments: Vec<String>,
}

/// What a text-to-speech model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Speech {
    /// Base64 of 24 kHz PCM, in pieces.
    pub(super) pieces: Vec<String>,
    /// Where the whole can be fetched.
    pub(super) url: String,
    /// Its name.
    pub(super) id: String,
    /// Until when it can be fetched, in seconds since 1970.
    pub(super) expires_at: u64,
}

impl Choice {
    /// The reason of its end as DashScope writes it.
    pub(super) fn ends_with(&self) -> &str {
        match &self.finish_reason {
            Some(reason) => reason,
            None if self.tool_calls.is_empty() => "stop",
            None => "tool_calls",
        }
    }
}

/// Cuts a text into pieces as models stream it: small at first, then a few words each.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut count = 0;
    // The first pieces of recorded streams hold two to four characters, later ones eight or more.
    let limit = |pieces: usize| if pieces < 2 { 4 } else { 8 };
    for character in text.chars() {
        let boundary = !character.is_ascii_alphanumeric();
        if count >= limit(pieces.len()) && boundary {
            pieces.push(std::mem::take(&mut piece));
            count = 0;
        }
        piece.push(character);
        count += 1;
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_text_and_do_not_cut_words() {
        for text in [
            "",
            "a",
            "这段音频在说中文:\"未来没有互联网\"。",
            "one two threeeeeeeeee four",
        ] {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
        }
        assert!(pieces("这段音频在说中文未来没有互联网").len() > 2);
        assert_eq!(pieces("alpha beta gamma"), ["alpha", " beta", " gamma"]);
    }
}
