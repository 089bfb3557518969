//! Reports the parts of an answer that a terminal does not show.

use dashgate_client::v1 as pb;
use dashgate_client::v1::content::Kind;
use prost_types::Struct;
use prost_types::value::Kind as Open;

/// The most parts that are named in the line.
const MAX_NAMED: usize = 8;

/// Keys of choices and bodies with which servers describe their own work, and no part of the
/// answer. `--json` has them.
const OF_THE_SERVER: [&str; 16] = [
    "audio_metadata",
    "hidden_states",
    "kv_transfer_params",
    "matched_stop",
    "metadata",
    "metrics",
    "prompt_logprobs",
    "prompt_text",
    "prompt_token_ids",
    "routed_experts",
    "service_tier",
    "sglext",
    "stop_reason",
    "system_fingerprint",
    "timings",
    "token_ids",
];

/// The parts that are not shown, in one line; `None` if there are none.
pub(crate) fn line(
    choices: &[pb::Choice],
    search_info: Option<&pb::SearchInfo>,
    extras: &[Option<Struct>],
) -> Option<String> {
    let mut found = Vec::new();
    for choice in choices {
        for part in choice.message.iter().flat_map(|message| &message.content) {
            found.extend(of_part(part));
        }
        let message = choice.message.clone().unwrap_or_default();
        found.extend(message.annotations.iter().filter_map(of_annotation));
        let calls = message.tool_calls.iter();
        found.extend(calls.flat_map(|call| keys(call.extra.as_ref())));
        found.extend(keys(message.extra.as_ref()));
        found.extend(choice.logprobs.as_ref().map(|_| "logprobs".to_owned()));
        found.extend(keys(choice.extra.as_ref()).filter(|key| is_of_answer(key)));
    }
    found.extend(keys(search_info.and_then(|info| info.extra.as_ref())));
    let keys_of_body = extras.iter().flat_map(|extra| keys(extra.as_ref()));
    found.extend(keys_of_body.filter(|key| is_of_answer(key)));
    let mut named: Vec<String> = Vec::new();
    for one in found {
        if !named.contains(&one) {
            named.push(one);
        }
    }
    let more = named.len().saturating_sub(MAX_NAMED);
    named.truncate(MAX_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let list = named.join(", ");
    (!list.is_empty()).then(|| format!("the answer also has {list}; see --json"))
}

fn of_part(part: &pb::Content) -> Vec<String> {
    let kind = |name: &str| format!("a part of kind {name}");
    match &part.kind {
        None => keys(part.extra.as_ref()).map(|key| kind(&key)).collect(),
        Some(shown) => {
            let mut all: Vec<_> = match shown {
                Kind::Video(_) => Some(kind("video")),
                Kind::Image(image) => match image.source {
                    Some(pb::image::Source::Uri(_)) => None,
                    Some(pb::image::Source::Data(_)) | None => Some(kind("image")),
                },
                Kind::Text(_) | Kind::Audio(_) => None,
            }
            .into_iter()
            .collect();
            all.extend(keys(part.extra.as_ref()));
            all
        }
    }
}

fn of_annotation(annotation: &pb::Annotation) -> Option<String> {
    let shown = !(annotation.language.is_empty() && annotation.emotion.is_empty());
    let mut more = keys(annotation.extra.as_ref());
    (!shown || more.next().is_some())
        .then(|| format!("an annotation of type {:?}", annotation.r#type))
}

fn is_of_answer(key: &str) -> bool {
    !OF_THE_SERVER.contains(&key)
}

/// The keys with a non-empty value.
fn keys(open: Option<&Struct>) -> impl Iterator<Item = String> {
    let said = |value: &prost_types::Value| match &value.kind {
        None | Some(Open::NullValue(_)) => false,
        Some(Open::StringValue(text)) => !text.is_empty(),
        Some(Open::ListValue(list)) => !list.values.is_empty(),
        Some(Open::StructValue(fields)) => !fields.fields.is_empty(),
        Some(Open::BoolValue(_) | Open::NumberValue(_)) => true,
    };
    let all = open.into_iter().flat_map(|open| &open.fields);
    all.filter(move |(_, value)| said(value))
        .map(|(key, _)| key.clone())
}
