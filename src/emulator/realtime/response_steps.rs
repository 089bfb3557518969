//! The steps of a response, from what it says and calls.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::response::{Step, TextForm};
use crate::emulator::answer::ToolCall;
use crate::emulator::websocket::outbox::new_id;

/// Pieces of audio in a second: each has 100 ms.
const PIECES_PER_SECOND: u32 = 10;

/// What the steps of a response depend on.
pub(super) struct StepInputs<'a> {
    /// The id of the response.
    pub(super) response_id: &'a str,
    /// The text, in pieces.
    pub(super) text: &'a [String],
    /// Tool calls.
    pub(super) calls: &'a [ToolCall],
    /// The form of the text.
    pub(super) form: TextForm,
    /// The number of samples of the audio, if there is audio.
    pub(super) samples: Option<usize>,
    /// Samples per second.
    pub(super) rate: u32,
    /// Whether items are part of a conversation, of which the client is informed.
    pub(super) has_conversation: bool,
}

/// The steps, and the items as the conversation keeps them.
pub(super) fn steps(inputs: &StepInputs<'_>) -> (VecDeque<Step>, Vec<Value>) {
    let mut steps = VecDeque::new();
    let mut items = Vec::new();
    if !inputs.text.is_empty() || inputs.calls.is_empty() {
        items.push(message(inputs, &mut steps));
    }
    for call in inputs.calls {
        items.push(function_call(inputs, call, items.len(), &mut steps));
    }
    steps.push_back(Step::Done);
    (steps, items)
}

fn added(inputs: &StepInputs<'_>, item: &Value, steps: &mut VecDeque<Step>) {
    steps.push_back(Step::ItemAdded(item.clone()));
    if inputs.has_conversation {
        steps.push_back(Step::Event(
            "conversation.item.created",
            json!({"item": item}),
        ));
    }
}

fn message(inputs: &StepInputs<'_>, steps: &mut VecDeque<Step>) -> Value {
    let id = new_id("item");
    let item = |status: &str, content: Value| {
        json!({"id": id, "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": content})
    };
    let (part, field) = inputs.form.part();
    let in_part = |part: Option<Value>| {
        let mut fields = json!({"response_id": inputs.response_id, "item_id": id,
            "output_index": 0, "content_index": 0});
        if let (Some(part), Some(fields)) = (part, fields.as_object_mut()) {
            fields.insert("part".into(), part);
        }
        fields
    };
    added(inputs, &item("in_progress", json!([])), steps);
    let empty = json!({"type": part, "text": ""});
    let begun = Step::Event("response.content_part.added", in_part(Some(empty)));
    steps.push_back(begun);
    pieces(inputs, steps);
    if inputs.samples.is_some() {
        steps.push_back(Step::Event("response.audio.done", in_part(None)));
    }
    steps.push_back(Step::TextDone);
    let text = match inputs.form {
        TextForm::Unsent => String::new(),
        TextForm::Text
        | TextForm::Transcript
        | TextForm::TextSnapshots
        | TextForm::TranscriptSnapshots => inputs.text.concat(),
    };
    let whole = json!({"type": part, "text": text});
    let ended = Step::Event("response.content_part.done", in_part(Some(whole.clone())));
    steps.push_back(ended);
    let listed = item("completed", json!([{"type": part, field: text}]));
    // Here the name of the text differs from the one in the response, except for speech alone.
    let sent = match inputs.form {
        TextForm::Unsent => listed.clone(),
        TextForm::Text
        | TextForm::Transcript
        | TextForm::TextSnapshots
        | TextForm::TranscriptSnapshots => item("completed", json!([whole])),
    };
    steps.push_back(Step::ItemDone(sent, listed.clone()));
    listed
}

/// The pieces of the text, spread evenly over the pieces of the audio.
fn pieces(inputs: &StepInputs<'_>, steps: &mut VecDeque<Step>) {
    let text = inputs.text.iter().cloned().map(Step::Text);
    let Some(samples) = inputs.samples else {
        return steps.extend(text);
    };
    let size = usize::try_from(inputs.rate / PIECES_PER_SECOND).unwrap_or(1);
    let size = size.max(1);
    let pieces = samples.div_ceil(size);
    let mut sent = 0;
    let mut text = text;
    for piece in 0..pieces {
        while sent * pieces <= piece * inputs.text.len() {
            let Some(next) = text.next() else {
                break;
            };
            steps.push_back(next);
            sent += 1;
        }
        let range = piece * size..samples.min((piece + 1) * size);
        steps.push_back(Step::Audio(range));
    }
    steps.extend(text);
}

fn function_call(
    inputs: &StepInputs<'_>,
    call: &ToolCall,
    index: usize,
    steps: &mut VecDeque<Step>,
) -> Value {
    let id = new_id("item");
    let call_id = call.id.clone().unwrap_or_else(|| "call_0".to_owned());
    let arguments = call.arguments.concat();
    let item = |status: &str, arguments: &str| {
        json!({"id": id, "object": "realtime.item", "type": "function_call", "status": status,
            "name": call.name, "call_id": call_id, "arguments": arguments})
    };
    added(inputs, &item("in_progress", ""), steps);
    for delta in &call.arguments {
        let fields = json!({"response_id": inputs.response_id, "item_id": id,
            "output_index": index, "call_id": call_id, "delta": delta});
        steps.push_back(Step::Event(
            "response.function_call_arguments.delta",
            fields,
        ));
    }
    let fields = json!({"response_id": inputs.response_id, "item_id": id, "output_index": index,
        "call_id": call_id, "name": call.name, "arguments": arguments});
    steps.push_back(Step::Event("response.function_call_arguments.done", fields));
    let done = item("completed", &arguments);
    steps.push_back(Step::ItemDone(done.clone(), done.clone()));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(text: &[String], samples: Option<usize>) -> StepInputs<'_> {
        StepInputs {
            response_id: "resp_1",
            text,
            calls: &[],
            form: TextForm::Transcript,
            samples,
            rate: 24_000,
            has_conversation: true,
        }
    }

    #[test]
    fn text_is_spread_over_the_audio_and_none_of_either_is_lost() {
        let text: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        for (samples, expected) in [(2400 * 6, "aAAbAAcAA"), (2401, "aAbAc"), (0, "abc")] {
            let (steps, _) = steps(&inputs(&text, Some(samples)));
            let mut next = 0;
            let mut order = String::new();
            for step in steps {
                if let Step::Text(text) = &step {
                    order += text;
                }
                if let Step::Audio(range) = &step {
                    assert_eq!(range.start, next);
                    next = range.end;
                    order.push('A');
                }
            }
            assert_eq!((next, order.as_str()), (samples, expected));
        }
    }

    #[test]
    fn a_message_and_calls_have_consecutive_indices() {
        let call = ToolCall {
            id: Some("call_1".to_owned()),
            name: "f".to_owned(),
            arguments: vec!["{".to_owned(), "}".to_owned()],
        };
        let (text, calls) = (vec!["a".to_owned()], vec![call.clone(), call]);
        let (steps, items) = steps(&StepInputs {
            calls: &calls,
            ..inputs(&text, None)
        });
        assert_eq!(items.len(), 3);
        let indices: Vec<u64> = steps
            .iter()
            .filter_map(|step| {
                let Step::Event("response.function_call_arguments.done", fields) = step else {
                    return None;
                };
                fields["output_index"].as_u64()
            })
            .collect();
        assert_eq!(indices, [1, 2]);
    }
}
