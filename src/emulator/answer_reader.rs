//! Reads the answers in a script.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{Answer, Choice, Speech, ToolCall, pieces};
use super::reader::{Errors, Fields, Node};

/// The most elements of `choices`: above the maximum of DashScope's `n`, to allow experiments.
const CHOICES: usize = 16;

/// Reads an answer: a text, or an object.
pub(super) fn answer(node: Node<'_>, errors: &mut Errors) -> Answer {
    if let Some(text) = node.value.as_str() {
        let choice = Choice {
            text: pieces(text),
            ..Choice::default()
        };
        return Answer {
            choices: vec![choice],
            ..Answer::default()
        };
    }
    let mut known = CHOICE.to_vec();
    known.extend(["choices", "speech", "usage", "output"]);
    let fields = node.fields(&known, errors);
    let mut answer = Answer {
        speech: fields.take("speech").map(|node| speech(node, errors)),
        usage: fields.object("usage", errors),
        output: fields.object("output", errors).unwrap_or_default(),
        choices: Vec::new(),
        transcript: None,
    };
    match fields.take("choices") {
        Some(list) => {
            let items = list.items(errors);
            if items.is_empty() || items.len() > CHOICES {
                errors.add(&list.path, format!("must have 1 to {CHOICES} choices"));
            }
            for item in items.into_iter().take(CHOICES) {
                let fields = item.fields(&CHOICE, errors);
                answer.choices.push(choice(&fields, errors));
            }
        }
        None if answer.speech.is_none() => answer.choices.push(choice(&fields, errors)),
        None => {}
    }
    answer
}

const CHOICE: [&str; 10] = [
    "text",
    "chunks",
    "reasoning",
    "tool_calls",
    "annotations",
    "audio",
    "images",
    "beside_text",
    "logprobs",
    "finish_reason",
];

fn choice(fields: &Fields<'_>, errors: &mut Errors) -> Choice {
    let text = fields.text("text", errors).map(|text| pieces(&text));
    let chunks = fields.texts("chunks", errors);
    if text.is_some() && !chunks.is_empty() {
        let path = format!("{}.chunks", fields.path);
        errors.add(&path, "conflicts with text; keep one of them");
    }
    let annotations = fields.take("annotations").map(|node| node.items(errors));
    let tool_calls = fields.take("tool_calls").map(|node| node.items(errors));
    let audio = fields.texts("audio", errors);
    if audio.iter().any(|piece| STANDARD.decode(piece).is_err()) {
        let path = format!("{}.audio", fields.path);
        errors.add(
            &path,
            "must be base64 of 24 kHz PCM, or a list of such pieces",
        );
    }
    Choice {
        text: text.unwrap_or(chunks),
        reasoning: fields.texts("reasoning", errors),
        tool_calls: tool_calls
            .unwrap_or_default()
            .into_iter()
            .map(|node| tool_call(node, errors))
            .collect(),
        annotations: annotations
            .unwrap_or_default()
            .iter()
            .map(|node| node.value.clone())
            .collect(),
        audio,
        images: fields.texts("images", errors),
        beside_text: fields.object("beside_text", errors).unwrap_or_default(),
        logprobs: fields.take("logprobs").map(|node| node.value.clone()),
        finish_reason: fields.text("finish_reason", errors),
    }
}

fn tool_call(node: Node<'_>, errors: &mut Errors) -> ToolCall {
    let fields = node.fields(&["id", "name", "arguments"], errors);
    let name = fields.text("name", errors);
    if name.is_none() {
        let path = format!("{}.name", fields.path);
        errors.add(&path, "is missing; give the name of the function");
    }
    ToolCall {
        id: fields
            .text("id", errors)
            .unwrap_or_else(|| "call_0".to_owned()),
        name: name.unwrap_or_default(),
        arguments: fields.texts("arguments", errors),
    }
}

fn speech(node: Node<'_>, errors: &mut Errors) -> Speech {
    let fields = node.fields(&["pieces", "url", "id", "expires_at"], errors);
    Speech {
        pieces: fields.texts("pieces", errors),
        url: fields.text("url", errors).unwrap_or_default(),
        id: fields
            .text("id", errors)
            .unwrap_or_else(|| "audio_1".to_owned()),
        expires_at: fields
            .number("expires_at", 0..=u64::MAX, errors)
            .unwrap_or_default(),
    }
}
