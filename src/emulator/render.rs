//! Converts answers to DashScope's JSON, as one body or as stream frames, with the keys in the
//! recorded order.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice, Speech, ToolCall};
use super::usage::{Progress, so_far};

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RenderStyle {
    /// Frames are incremental; otherwise each has all text so far.
    pub(super) deltas: bool,
    /// Incremental streams end with a frame of empty content.
    pub(super) empty_last: bool,
    /// No frame has a finish reason.
    pub(super) unfinished: bool,
    /// Unary answers have no `finish_reason`.
    pub(super) no_reason: bool,
}

/// The body of a unary answer.
pub(super) fn whole(
    answer: &Answer,
    usage: &Map<String, Value>,
    style: RenderStyle,
    id: &str,
) -> Value {
    let mut output = Map::new();
    if let Some(speech) = &answer.speech {
        output.insert("audio".into(), audio(speech, "", true));
        output.insert("finish_reason".into(), json!(reason("stop", style)));
    } else if let Some(text) = &answer.transcript {
        output.insert("text".into(), json!(text.concat()));
    } else {
        let many = answer.choices.len() > 1;
        let choices = answer.choices.iter().enumerate();
        let choices = choices.map(|(index, choice)| {
            let mut value = Map::new();
            if !style.no_reason {
                let reason = reason(choice.ends_with(), style);
                value.insert("finish_reason".into(), json!(reason));
            }
            if many {
                value.insert("index".into(), json!(index));
            }
            value.insert("message".into(), whole_message(choice));
            if let Some(logprobs) = &choice.logprobs {
                value.insert("logprobs".into(), logprobs.clone());
            }
            Value::from(value)
        });
        output.insert("choices".into(), choices.collect());
    }
    output.extend(answer.output.clone());
    envelope(output, usage.clone(), id)
}

fn reason(reason: &str, style: RenderStyle) -> &str {
    if style.unfinished { "null" } else { reason }
}

fn envelope(output: Map<String, Value>, usage: Map<String, Value>, id: &str) -> Value {
    json!({"output": output, "usage": usage, "request_id": id})
}

fn whole_message(choice: &Choice) -> Value {
    let mut content = Vec::new();
    let text = choice.text.concat();
    if !text.is_empty() {
        content.push(text_part(choice, &text));
    }
    if !choice.audio.is_empty() {
        content.push(json!({"audio": {"data": joined(&choice.audio)}}));
    }
    content.extend(choice.images.iter().map(|image| json!({ "image": image })));
    let mut message = Map::new();
    if !choice.annotations.is_empty() {
        message.insert("annotations".into(), json!(choice.annotations));
    }
    // In recordings, the message of an image begins with its content, that of a text with its role.
    if choice.images.is_empty() && choice.annotations.is_empty() {
        message.insert("role".into(), json!("assistant"));
    }
    message.insert("content".into(), content.into());
    if !choice.reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(choice.reasoning.concat()));
    }
    message.entry("role").or_insert(json!("assistant"));
    if !choice.tool_calls.is_empty() {
        let calls = choice.tool_calls.iter().enumerate();
        let calls = calls.map(|(index, call)| tool(index, call, true, &call.arguments.concat()));
        message.insert("tool_calls".into(), calls.collect());
    }
    message.into()
}

/// A content part with the text and its other fields.
fn text_part(choice: &Choice, text: &str) -> Value {
    let mut part = Map::new();
    part.insert("text".into(), json!(text));
    part.extend(choice.beside_text.clone());
    part.into()
}

/// Joins chunks of base64, each with its own padding, into one.
pub(super) fn joined(pieces: &[String]) -> String {
    let bytes = pieces
        .iter()
        .filter_map(|piece| STANDARD.decode(piece).ok());
    STANDARD.encode(bytes.flatten().collect::<Vec<u8>>())
}

fn tool(index: usize, call: &ToolCall, first: bool, arguments: &str) -> Value {
    let (id, function) = if first {
        (
            call.id.as_deref().unwrap_or("call_0"),
            json!({"name": call.name, "arguments": arguments}),
        )
    } else {
        ("", json!({ "arguments": arguments }))
    };
    json!({"index": index, "id": id, "type": "function", "function": function})
}

fn audio(speech: &Speech, data: &str, url: bool) -> Value {
    let mut audio = Map::new();
    audio.insert("data".into(), json!(data));
    audio.insert("expires_at".into(), json!(speech.expires_at));
    audio.insert(
        "id".into(),
        json!(speech.id.as_deref().unwrap_or("audio_1")),
    );
    if url {
        audio.insert("url".into(), json!(speech.url));
    }
    audio.into()
}

/// The frames of a stream.
pub(super) fn frames(
    answer: &Answer,
    usage: &Map<String, Value>,
    style: RenderStyle,
    id: &str,
) -> Vec<Value> {
    if let Some(speech) = &answer.speech {
        return speech_frames(speech, usage, style, id);
    }
    if let Some(text) = &answer.transcript {
        return transcript_frames(text, usage, id);
    }
    let many = answer.choices.len() > 1;
    let choices = answer.choices.iter().enumerate();
    let tracks: Vec<Vec<Step>> = choices
        .map(|(index, choice)| steps(choice, many.then_some(index), style))
        .collect();
    let (mut progress, mut longest) = (Progress::default(), 0);
    for track in &tracks {
        longest = longest.max(track.len());
        progress.reasoning.1 += track.iter().filter(|step| step.thinks).count();
        progress.text.1 += track.iter().filter(|step| step.says).count();
    }
    let mut frames = Vec::new();
    // Several choices are interleaved, one in each frame.
    for round in 0..longest {
        for step in tracks.iter().filter_map(|track| track.get(round)) {
            progress.reasoning.0 += usize::from(step.thinks);
            progress.text.0 += usize::from(step.says);
            let mut output = Map::new();
            output.insert("choices".into(), json!([step.choice]));
            output.extend(answer.output.clone());
            frames.push(envelope(output, so_far(usage, progress), id));
        }
    }
    let count = frames.len();
    for (n, frame) in (1..).zip(&mut frames) {
        if let Some(finished) = frame.pointer_mut("/output/finished") {
            *finished = json!(n == count);
        }
    }
    frames
}

/// Each frame has the whole transcript so far.
fn transcript_frames(text: &[String], usage: &Map<String, Value>, id: &str) -> Vec<Value> {
    let frame = |count: usize| {
        let so_far = text.get(..count).unwrap_or_default().concat();
        let output = Map::from_iter([("text".to_owned(), json!(so_far))]);
        envelope(output, usage.clone(), id)
    };
    (1..=text.len()).map(frame).collect()
}

fn speech_frames(
    speech: &Speech,
    usage: &Map<String, Value>,
    style: RenderStyle,
    id: &str,
) -> Vec<Value> {
    let frame = |data: &str, last: bool| {
        let mut output = Map::new();
        output.insert("audio".into(), audio(speech, data, last));
        let end = if last { reason("stop", style) } else { "null" };
        output.insert("finish_reason".into(), json!(end));
        envelope(output, usage.clone(), id)
    };
    let pieces = speech.pieces.iter().map(|piece| frame(piece, false));
    pieces.chain([frame("", true)]).collect()
}

/// The part of a choice in one frame.
struct Step {
    choice: Value,
    thinks: bool,
    says: bool,
}

/// The content of a frame.
enum Piece<'a> {
    Thought(&'a str),
    Text(usize, &'a str),
    Audio(&'a str),
    Image(&'a str),
    Tool(usize, &'a ToolCall, usize),
    Nothing,
}

fn steps(choice: &Choice, index: Option<usize>, style: RenderStyle) -> Vec<Step> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    pieces.extend(choice.reasoning.iter().map(|piece| Piece::Thought(piece)));
    let texts = choice.text.iter().enumerate();
    pieces.extend(texts.map(|(n, piece)| Piece::Text(n, piece)));
    pieces.extend(choice.audio.iter().map(|piece| Piece::Audio(piece)));
    pieces.extend(choice.images.iter().map(|image| Piece::Image(image)));
    for (index, call) in choice.tool_calls.iter().enumerate() {
        // The first delta names the function and has no arguments.
        let deltas = 0..call.arguments.len() + 1;
        pieces.extend(deltas.map(|delta| Piece::Tool(index, call, delta)));
    }
    let tools = !choice.tool_calls.is_empty();
    if pieces.is_empty() || (style.deltas && style.empty_last && !tools) {
        pieces.push(Piece::Nothing);
    }
    let count = pieces.len();
    let mut so_far = SoFar::default();
    let step = |(n, piece): (usize, Piece<'_>)| {
        let last = n + 1 == count;
        let end = if last {
            reason(choice.ends_with(), style)
        } else {
            "null"
        };
        so_far.add(&piece, style);
        let mut value = Map::new();
        value.insert("message".into(), message(choice, &piece, &so_far, style));
        value.insert("finish_reason".into(), json!(end));
        if let Some(index) = index {
            value.insert("index".into(), json!(index));
        }
        if let (Some(logprobs), Piece::Text(n, _)) = (&choice.logprobs, &piece) {
            value.insert(
                "logprobs".into(),
                token(logprobs, *n, choice.text.len(), style),
            );
        }
        Step {
            choice: value.into(),
            thinks: matches!(piece, Piece::Thought(_)),
            says: !matches!(piece, Piece::Thought(_) | Piece::Nothing),
        }
    };
    pieces.into_iter().enumerate().map(step).collect()
}

#[derive(Default)]
struct SoFar {
    text: String,
    reasoning: String,
}

impl SoFar {
    fn add(&mut self, piece: &Piece<'_>, style: RenderStyle) {
        if style.deltas {
            self.text.clear();
            self.reasoning.clear();
        }
        match piece {
            Piece::Thought(thought) => self.reasoning.push_str(thought),
            Piece::Text(_, text) => self.text.push_str(text),
            Piece::Audio(_) | Piece::Image(_) | Piece::Tool(..) | Piece::Nothing => {}
        }
    }
}

fn message(choice: &Choice, piece: &Piece<'_>, so_far: &SoFar, style: RenderStyle) -> Value {
    let mut content = Vec::new();
    if !so_far.text.is_empty() {
        content.push(text_part(choice, &so_far.text));
    }
    match piece {
        Piece::Audio(data) => content.push(json!({"audio": {"data": data}})),
        Piece::Image(image) => content.push(json!({ "image": image })),
        Piece::Text(_, "") if content.is_empty() => content.push(text_part(choice, "")),
        Piece::Thought(_) | Piece::Text(..) | Piece::Tool(..) | Piece::Nothing => {}
    }
    let mut message = Map::new();
    if !choice.annotations.is_empty() {
        message.insert("annotations".into(), json!(choice.annotations));
    }
    message.insert("content".into(), content.into());
    if !so_far.reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(so_far.reasoning));
    }
    message.insert("role".into(), json!("assistant"));
    if let Piece::Tool(index, call, delta) = piece {
        let (first, arguments) = if style.deltas {
            let piece = delta.checked_sub(1).and_then(|n| call.arguments.get(n));
            (*delta == 0, piece.cloned().unwrap_or_default())
        } else {
            let pieces = call.arguments.get(..*delta).unwrap_or_default();
            (true, pieces.concat())
        };
        message.insert(
            "tool_calls".into(),
            json!([tool(*index, call, first, &arguments)]),
        );
    }
    message.into()
}

/// The log probabilities of the text in one frame.
fn token(logprobs: &Value, n: usize, pieces: usize, style: RenderStyle) -> Value {
    let tokens = logprobs.get("content").and_then(Value::as_array);
    let Some(tokens) = tokens.filter(|tokens| tokens.len() == pieces) else {
        return logprobs.clone();
    };
    let from = if style.deltas { n } else { 0 };
    json!({"content": tokens.get(from..=n).unwrap_or_default()})
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5c2e9d10-4b7a-93f8-a1d6-0e8b3c7f2a95";

    fn said(pieces: &[&str]) -> Answer {
        let choice = Choice {
            text: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
            ..Choice::default()
        };
        Answer {
            choices: vec![choice],
            ..Answer::default()
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn texts(frames: &[Value], pointer: &str) -> Vec<String> {
        let texts = frames.iter().map(|frame| frame.pointer(pointer).cloned());
        texts
            .map(|text| text.unwrap_or_default().to_string())
            .collect()
    }

    const TEXT: &str = "/output/choices/0/message/content/0/text";
    const REASON: &str = "/output/choices/0/finish_reason";

    #[test]
    fn a_stream_has_the_recorded_format() {
        let usage = json!({"audio_tokens": 310, "input_tokens": 341, "output_tokens": 7});
        let style = RenderStyle {
            deltas: true,
            ..RenderStyle::default()
        };
        let answer = said(&["先说了一句话", "后面还有半句。"]);
        let frames = frames(&answer, &object(usage), style, ID);
        let frames: Vec<_> = frames.iter().map(Value::to_string).collect();
        assert_eq!(
            frames,
            [
                "{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"先说了一句话\"}],\
                 \"role\":\"assistant\"},\"finish_reason\":\"null\"}]},\"usage\":{\"audio_tokens\":\
                 310,\"input_tokens\":341,\"output_tokens\":4},\"request_id\":\"5c2e9d10-4b7a-\
                 93f8-a1d6-0e8b3c7f2a95\"}",
                "{\"output\":{\"choices\":[{\"message\":{\"content\":[{\"text\":\"后面还有半句。\"}],\
                 \"role\":\"assistant\"},\"finish_reason\":\"stop\"}]},\"usage\":{\"audio_tokens\":\
                 310,\"input_tokens\":341,\"output_tokens\":7},\"request_id\":\"5c2e9d10-4b7a-\
                 93f8-a1d6-0e8b3c7f2a95\"}",
            ]
        );
    }

    #[test]
    fn a_unary_answer_has_the_recorded_format() {
        let usage = json!({"audio_tokens": 310, "output_tokens": 38, "input_tokens": 349});
        let body = whole(
            &said(&["a", "b"]),
            &object(usage),
            RenderStyle::default(),
            "x",
        );
        assert_eq!(
            body.to_string(),
            "{\"output\":{\"choices\":[{\"finish_reason\":\"stop\",\"message\":{\"role\":\
             \"assistant\",\"content\":[{\"text\":\"ab\"}]}}]},\"usage\":{\"audio_tokens\":310,\
             \"output_tokens\":38,\"input_tokens\":349},\"request_id\":\"x\"}"
        );
    }

    #[test]
    fn text_is_cumulative_unless_incremental_output_is_requested() {
        let answer = said(&["a", "b", "c"]);
        let cumulative = frames(&answer, &Map::new(), RenderStyle::default(), "x");
        assert_eq!(texts(&cumulative, TEXT), [r#""a""#, r#""ab""#, r#""abc""#]);
        let style = RenderStyle {
            deltas: true,
            empty_last: true,
            ..RenderStyle::default()
        };
        let deltas = frames(&answer, &Map::new(), style, "x");
        assert_eq!(texts(&deltas, TEXT), [r#""a""#, r#""b""#, r#""c""#, "null"]);
        assert_eq!(
            texts(&deltas, REASON),
            [r#""null""#, r#""null""#, r#""null""#, r#""stop""#]
        );
        let style = RenderStyle {
            unfinished: true,
            ..style
        };
        let endless = frames(&answer, &Map::new(), style, "x");
        assert!(
            texts(&endless, REASON)
                .iter()
                .all(|reason| reason == r#""null""#)
        );
    }

    #[test]
    fn reasoning_comes_first_with_empty_content() {
        let mut answer = said(&["yes"]);
        answer.choices[0].reasoning = vec!["hm".into(), "so".into()];
        let style = RenderStyle {
            deltas: true,
            ..RenderStyle::default()
        };
        let frames = frames(&answer, &Map::new(), style, "x");
        let message = frames[1].pointer("/output/choices/0/message").unwrap();
        assert_eq!(
            message.to_string(),
            r#"{"content":[],"reasoning_content":"so","role":"assistant"}"#
        );
        let message = frames[2].pointer("/output/choices/0/message").unwrap();
        assert_eq!(
            message.to_string(),
            r#"{"content":[{"text":"yes"}],"role":"assistant"}"#
        );
    }

    #[test]
    fn tools_are_named_in_the_first_delta_only() {
        let call = ToolCall {
            id: Some("call_1".into()),
            name: "weather".into(),
            arguments: vec!["{\"a\"".into(), ":1}".into()],
        };
        let mut answer = said(&[]);
        answer.choices[0].tool_calls = vec![call];
        let style = RenderStyle {
            deltas: true,
            empty_last: true,
            ..RenderStyle::default()
        };
        let deltas = frames(&answer, &Map::new(), style, "x");
        let calls = texts(&deltas, "/output/choices/0/message/tool_calls/0");
        assert_eq!(
            calls,
            [
                "{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\
                 \"name\":\"weather\",\"arguments\":\"\"}}",
                r#"{"index":0,"id":"","type":"function","function":{"arguments":"{\"a\""}}"#,
                r#"{"index":0,"id":"","type":"function","function":{"arguments":":1}"}}"#,
            ]
        );
        assert_eq!(texts(&deltas, REASON)[2], r#""tool_calls""#);
        let body = whole(&answer, &Map::new(), style, "x");
        let message = body.pointer("/output/choices/0/message").unwrap();
        assert_eq!(
            message.to_string(),
            "{\"role\":\"assistant\",\"content\":[],\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\
             \"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\
             \"{\\\"a\\\":1}\"}}]}"
        );
    }

    #[test]
    fn choices_are_interleaved_in_a_stream() {
        let mut answer = said(&["a", "b"]);
        answer.choices.push(said(&["c"]).choices[0].clone());
        let frames = frames(&answer, &Map::new(), RenderStyle::default(), "x");
        let order = texts(&frames, "/output/choices/0/index");
        assert_eq!(order, ["0", "1", "0"]);
        assert_eq!(
            texts(&frames, REASON),
            [r#""null""#, r#""stop""#, r#""stop""#]
        );
    }

    #[test]
    fn speech_has_no_choices() {
        let speech = Speech {
            pieces: vec!["AAAA".into()],
            url: "http://x/y.wav".into(),
            id: Some("audio_1".into()),
            expires_at: 1_758_187_426,
        };
        let answer = Answer {
            speech: Some(speech),
            ..Answer::default()
        };
        let usage = object(json!({"characters": 25}));
        let frames = frames(&answer, &usage, RenderStyle::default(), "x");
        assert_eq!(
            texts(&frames, ""),
            [
                "{\"output\":{\"audio\":{\"data\":\"AAAA\",\"expires_at\":1758187426,\"id\":\
                 \"audio_1\"},\"finish_reason\":\"null\"},\"usage\":{\"characters\":25},\
                 \"request_id\":\"x\"}",
                "{\"output\":{\"audio\":{\"data\":\"\",\"expires_at\":1758187426,\"id\":\
                 \"audio_1\",\"url\":\"http://x/y.wav\"},\"finish_reason\":\"stop\"},\"usage\":\
                 {\"characters\":25},\"request_id\":\"x\"}",
            ]
        );
    }
}
