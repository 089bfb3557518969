//! Usage of OpenAI-style answers.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::dialect::Dialect;
use super::usage::Tokens;

/// The native names in the usage of a script, and those of OpenAI.
static NAMES: [(&str, &str); 4] = [
    ("input_tokens", "prompt_tokens"),
    ("output_tokens", "completion_tokens"),
    ("input_tokens_details", "prompt_tokens_details"),
    ("output_tokens_details", "completion_tokens_details"),
];

/// The usage of an answer, unless a script sets it.
pub(super) fn usage(answer: &Answer, tokens: Tokens, dialect: Dialect) -> Map<String, Value> {
    if let Some(usage) = &answer.usage {
        return renamed(usage);
    }
    let (prompt, completion) = (tokens.input(), tokens.output());
    let total = prompt + completion;
    let value = match dialect {
        Dialect::DashScope => return compatible(tokens, answer),
        Dialect::Vllm | Dialect::VllmOmni | Dialect::SglangOmni => {
            json!({"prompt_tokens": prompt, "total_tokens": total,
                "completion_tokens": completion})
        }
        Dialect::Sglang => json!({"prompt_tokens": prompt, "total_tokens": total,
            "completion_tokens": completion, "prompt_tokens_details": null,
            "reasoning_tokens": tokens.output_reasoning}),
        Dialect::OpenAi => json!({"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": tokens.input_audio},
            "completion_tokens_details": {"reasoning_tokens": tokens.output_reasoning,
                "audio_tokens": tokens.output_audio, "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0}}),
    };
    value.as_object().cloned().unwrap_or_default()
}

fn compatible(tokens: Tokens, answer: &Answer) -> Map<String, Value> {
    let details = |counts: &[(&str, u64)]| {
        let there = counts
            .iter()
            .filter(|(name, count)| *count > 0 || *name == "text_tokens");
        there
            .map(|(name, count)| ((*name).to_owned(), json!(count)))
            .collect::<Map<_, _>>()
    };
    let (prompt, completion) = (tokens.input(), tokens.output());
    let mut usage = Map::new();
    usage.insert("prompt_tokens".into(), json!(prompt));
    usage.insert("completion_tokens".into(), json!(completion));
    usage.insert("total_tokens".into(), json!(prompt + completion));
    let made = details(&[
        ("audio_tokens", tokens.output_audio),
        ("reasoning_tokens", tokens.output_reasoning),
        ("text_tokens", tokens.output_text),
    ]);
    usage.insert("completion_tokens_details".into(), made.into());
    let given = details(&[
        ("audio_tokens", tokens.input_audio),
        ("image_tokens", tokens.input_image),
        ("video_tokens", tokens.input_video),
        ("text_tokens", tokens.input_text),
    ]);
    usage.insert("prompt_tokens_details".into(), given.into());
    // Only transcriptions have annotations; they are billed by the second.
    let annotated = |choice: &super::answer::Choice| !choice.annotations.is_empty();
    if answer.choices.iter().any(annotated) {
        usage.insert("seconds".into(), json!(tokens.seconds));
    }
    usage
}

/// The usage of a script, which may have the native names.
fn renamed(usage: &Map<String, Value>) -> Map<String, Value> {
    let mut renamed = Map::new();
    for (name, value) in usage {
        let known = NAMES.iter().find(|(native, _)| native == name);
        let name = known.map_or(name.as_str(), |(_, name)| name);
        renamed.insert(name.to_owned(), value.clone());
    }
    let count = |name: &str| renamed.get(name).and_then(Value::as_u64);
    if let (Some(prompt), Some(completion), None) = (
        count("prompt_tokens"),
        count("completion_tokens"),
        renamed.get("total_tokens"),
    ) {
        let total = prompt.saturating_add(completion);
        renamed.insert("total_tokens".into(), json!(total));
    }
    renamed
}

/// The usage after `sent` of `all` chunks: prompt and total, and the output so far.
pub(super) fn so_far(usage: &Map<String, Value>, sent: usize, all: usize) -> Value {
    let count = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (prompt, completion) = (count("prompt_tokens"), count("completion_tokens"));
    let (sent, all) = (u128::try_from(sent), u128::try_from(all.max(1)));
    let (sent, all) = (sent.unwrap_or(0), all.unwrap_or(1));
    let done = (u128::from(completion) * sent).div_ceil(all);
    let done = u64::try_from(done).unwrap_or(completion);
    json!({"prompt_tokens": prompt, "total_tokens": prompt.saturating_add(done),
        "completion_tokens": done})
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Tokens = Tokens {
        input_text: 7,
        input_audio: 200,
        input_image: 0,
        input_video: 0,
        seconds: 8,
        output_text: 20,
        output_reasoning: 0,
        output_audio: 83,
    };

    #[test]
    fn details_depend_on_the_dialect() {
        let found = |dialect| Value::from(usage(&Answer::default(), TOKENS, dialect));
        assert_eq!(
            found(Dialect::DashScope),
            json!({"prompt_tokens": 207, "completion_tokens": 103, "total_tokens": 310,
                "completion_tokens_details": {"audio_tokens": 83, "text_tokens": 20},
                "prompt_tokens_details": {"audio_tokens": 200, "text_tokens": 7}})
        );
        assert_eq!(
            found(Dialect::Vllm),
            json!({"prompt_tokens": 207, "total_tokens": 310, "completion_tokens": 103})
        );
        assert_eq!(found(Dialect::Sglang)["reasoning_tokens"], 0);
        let openai = found(Dialect::OpenAi);
        assert_eq!(openai["completion_tokens_details"]["audio_tokens"], 83);
    }

    #[test]
    fn the_usage_of_a_script_may_have_native_names() {
        let scripted = |usage: Value| Answer {
            usage: usage.as_object().cloned(),
            ..Answer::default()
        };
        let native = scripted(json!({"input_tokens": 3, "output_tokens": 4, "x": 1}));
        assert_eq!(
            Value::from(usage(&native, TOKENS, Dialect::Vllm)),
            json!({"prompt_tokens": 3, "completion_tokens": 4, "x": 1, "total_tokens": 7})
        );
        let own = json!({"prompt_tokens": 3, "total_tokens": 9});
        let found = usage(&scripted(own.clone()), TOKENS, Dialect::Vllm);
        assert_eq!(Value::from(found), own);
    }

    #[test]
    fn the_usage_so_far_grows_to_the_total() {
        let whole = usage(&Answer::default(), TOKENS, Dialect::Vllm);
        let done = |sent| so_far(&whole, sent, 4)["completion_tokens"].clone();
        assert_eq!(
            [done(0), done(1), done(4)],
            [json!(0), json!(26), json!(103)]
        );
        assert_eq!(so_far(&whole, 4, 4)["total_tokens"], 310);
    }
}
