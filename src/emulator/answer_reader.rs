//! From the JSON of a script to the answers in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{Answer, Choice, Speech, ToolCall, pieces};
use super::reader::{Faults, Fields, Node};

/// `choices` is at most what DashScope's `n` allows, with room for experiments.
const CHOICES: usize = 16;

/// Reads an answer: a text, or an object.
pub(super) fn answer(node: Node<'_>, faults: &mut Faults) -> Answer {
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
    let fields = node.fields(&known, faults);
    let mut answer = Answer {
        speech: fields.take("speech").map(|node| speech(node, faults)),
        usage: fields.object("usage", faults),
        output: fields.object("output", faults).unwrap_or_default(),
        choices: Vec::new(),
        transcript: None,
    };
    match fields.take("choices") {
        Some(list) => {
            let items = list.items(faults);
            if items.is_empty() || items.len() > CHOICES {
                faults.add(&list.place, format!("must have 1 to {CHOICES} choices"));
            }
            for item in items.into_iter().take(CHOICES) {
                let fields = item.fields(&CHOICE, faults);
                answer.choices.push(choice(&fields, faults));
            }
        }
        None if answer.speech.is_none() => answer.choices.push(choice(&fields, faults)),
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

fn choice(fields: &Fields<'_>, faults: &mut Faults) -> Choice {
    let text = fields.text("text", faults).map(|text| pieces(&text));
    let chunks = fields.texts("chunks", faults);
    if text.is_some() && !chunks.is_empty() {
        let place = format!("{}.chunks", fields.place);
        faults.add(&place, "conflicts with text; keep one of them");
    }
    let annotations = fields.take("annotations").map(|node| node.items(faults));
    let tool_calls = fields.take("tool_calls").map(|node| node.items(faults));
    let audio = fields.texts("audio", faults);
    if audio.iter().any(|piece| STANDARD.decode(piece).is_err()) {
        let place = format!("{}.audio", fields.place);
        faults.add(
            &place,
            "must be base64 of 24 kHz PCM, or a list of such pieces",
        );
    }
    Choice {
        text: text.unwrap_or(chunks),
        reasoning: fields.texts("reasoning", faults),
        tool_calls: tool_calls
            .unwrap_or_default()
            .into_iter()
            .map(|node| tool_call(node, faults))
            .collect(),
        annotations: annotations
            .unwrap_or_default()
            .iter()
            .map(|node| node.value.clone())
            .collect(),
        audio,
        images: fields.texts("images", faults),
        beside_text: fields.object("beside_text", faults).unwrap_or_default(),
        logprobs: fields.take("logprobs").map(|node| node.value.clone()),
        finish_reason: fields.text("finish_reason", faults),
    }
}

fn tool_call(node: Node<'_>, faults: &mut Faults) -> ToolCall {
    let fields = node.fields(&["id", "name", "arguments"], faults);
    let name = fields.text("name", faults);
    if name.is_none() {
        let place = format!("{}.name", fields.place);
        faults.add(&place, "is missing; give the name of the function");
    }
    ToolCall {
        id: fields
            .text("id", faults)
            .unwrap_or_else(|| "call_0".to_owned()),
        name: name.unwrap_or_default(),
        arguments: fields.texts("arguments", faults),
    }
}

fn speech(node: Node<'_>, faults: &mut Faults) -> Speech {
    let fields = node.fields(&["pieces", "url", "id", "expires_at"], faults);
    Speech {
        pieces: fields.texts("pieces", faults),
        url: fields.text("url", faults).unwrap_or_default(),
        id: fields
            .text("id", faults)
            .unwrap_or_else(|| "audio_1".to_owned()),
        expires_at: fields
            .number("expires_at", 0..=u64::MAX, faults)
            .unwrap_or_default(),
    }
}
