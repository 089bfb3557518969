//! Converts answers to OpenAI-style JSON: whole answers, and what chunks share with them.

use serde_json::{Map, Value, json};

use super::answer::{Answer, Choice, ToolCall};
use super::dialect::Dialect;
use super::openai_request::ChatOptions;
use super::render::joined;
use super::speech_synthesis::{RATE, WAV_HEADER, wav_of_base64};

/// How long audio can be referred to, in seconds.
const AUDIO_LIFETIME: u64 = 24 * 3600;

/// What all parts of a response have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseHead<'a> {
    /// The dialect.
    pub(super) dialect: Dialect,
    /// The request id.
    pub(super) id: &'a str,
    /// When the answer was created, in seconds since 1970.
    pub(super) created: u64,
    /// What was requested.
    pub(super) options: &'a ChatOptions,
    /// Whether there is no finish reason.
    pub(super) unfinished: bool,
    /// Whether chunks repeat the text so far.
    pub(super) cumulative: bool,
}

impl ResponseHead<'_> {
    /// The id of the answer.
    pub(super) fn chat_id(&self) -> String {
        format!("chatcmpl-{}", self.id)
    }

    /// The finish reason of a choice.
    pub(super) fn reason(&self, choice: &Choice) -> Value {
        if self.unfinished {
            return Value::Null;
        }
        // For vLLM, the call of a named function is no reason to finish.
        let named = self.dialect.is_vllm() && self.options.named_tool;
        match &choice.finish_reason {
            None if named && !choice.tool_calls.is_empty() => json!("stop"),
            _ => json!(choice.ends_with()),
        }
    }

    /// A chunk of PCM, encoded as requested.
    pub(super) fn audio(&self, pcm: &str) -> String {
        if self.options.pcm {
            pcm.to_owned()
        } else {
            wav_of_base64(RATE, pcm)
        }
    }

    /// What vLLM-Omni reports about a piece of encoded audio.
    pub(super) fn audio_metadata(&self, data: &str) -> Value {
        let padding = data.bytes().rev().take_while(|byte| *byte == b'=').count();
        let bytes = (data.len() / 4 * 3).saturating_sub(padding);
        let (format, header) = match self.options.pcm {
            true => ("pcm", 0),
            false => ("wav", WAV_HEADER),
        };
        let frames = bytes.saturating_sub(header) / 2;
        json!({"format": format, "sample_rate_hz": RATE, "frame_count": frames, "channels": 1})
    }

    /// The id of the audio.
    pub(super) fn audio_id(&self) -> String {
        let sign = if self.dialect.is_self_hosted() {
            '-'
        } else {
            '_'
        };
        format!("audio{sign}{}", self.id)
    }

    /// When the audio expires.
    pub(super) fn expires_at(&self) -> u64 {
        self.created + AUDIO_LIFETIME
    }
}

/// The choices of an answer in which speech and transcripts are choices, too.
pub(super) fn choices(answer: &Answer) -> Vec<Choice> {
    let mut choices = answer.choices.clone();
    if let Some(speech) = &answer.speech {
        choices.push(Choice {
            audio: speech.pieces.clone(),
            ..Choice::default()
        });
    }
    if let Some(text) = &answer.transcript {
        choices.push(Choice {
            text: text.clone(),
            ..Choice::default()
        });
    }
    choices
}

/// The body of an answer that is not streamed.
pub(super) fn whole(answer: &Answer, usage: &Map<String, Value>, head: &ResponseHead<'_>) -> Value {
    let choices = choices(answer);
    let choices = choices.iter().enumerate();
    let choices: Vec<Value> = choices
        .map(|(index, choice)| whole_choice(index, choice, head))
        .collect();
    let options = head.options;
    if head.dialect == Dialect::DashScope {
        return json!({"choices": choices, "object": "chat.completion", "usage": usage,
            "created": head.created, "system_fingerprint": null, "model": options.model,
            "id": head.chat_id()});
    }
    let mut body = json!({"id": head.chat_id(), "object": "chat.completion",
        "created": head.created, "model": options.model, "choices": choices});
    let mut usage = usage.clone();
    let more = match head.dialect {
        Dialect::Vllm | Dialect::VllmOmni => {
            usage.entry("prompt_tokens_details").or_insert(Value::Null);
            json!({"service_tier": null, "system_fingerprint": null, "usage": usage,
                "prompt_logprobs": null, "prompt_token_ids": null, "kv_transfer_params": null})
        }
        Dialect::OpenAi => json!({"usage": usage, "service_tier": "default",
            "system_fingerprint": null}),
        Dialect::Sglang => json!({"usage": usage, "metadata": {"weight_version": "default"}}),
        Dialect::SglangOmni | Dialect::DashScope => json!({ "usage": usage }),
    };
    extend(&mut body, more);
    if head.dialect == Dialect::VllmOmni {
        extend(&mut body, json!({ "metrics": null }));
    }
    body
}

/// Adds the fields of one object to another.
pub(super) fn extend(body: &mut Value, more: Value) {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
}

fn whole_choice(index: usize, choice: &Choice, head: &ResponseHead<'_>) -> Value {
    let logprobs = choice.logprobs.clone().unwrap_or_default();
    let (message, reason) = (whole_message(choice, head), head.reason(choice));
    match head.dialect {
        Dialect::DashScope => json!({"message": message, "finish_reason": reason, "index": index,
            "logprobs": logprobs}),
        Dialect::OpenAi => json!({"index": index, "message": message, "logprobs": logprobs,
            "finish_reason": reason}),
        Dialect::Vllm | Dialect::VllmOmni => {
            let data = message.pointer("/audio/data").and_then(Value::as_str);
            let metadata = data.map(|data| head.audio_metadata(data));
            let mut value = json!({"index": index, "message": message, "logprobs": logprobs,
                "finish_reason": reason, "stop_reason": null, "token_ids": null});
            if head.dialect == Dialect::VllmOmni {
                extend(&mut value, json!({ "audio_metadata": metadata }));
            }
            value
        }
        Dialect::Sglang => json!({"index": index, "message": message, "logprobs": logprobs,
            "finish_reason": reason, "matched_stop": null}),
        Dialect::SglangOmni => {
            json!({"index": index, "message": message, "finish_reason": reason})
        }
    }
}

/// The fields of a message that is not streamed.
struct WholeMessage {
    content: Value,
    reasoning: Option<String>,
    calls: Vec<Value>,
    audio: Option<Value>,
    annotations: Vec<Value>,
}

fn whole_message(choice: &Choice, head: &ResponseHead<'_>) -> Value {
    let dialect = head.dialect;
    let text = choice.text.concat();
    let calls = choice.tool_calls.iter();
    let calls: Vec<Value> = calls
        .map(|call| tool(call, &call.arguments.concat()))
        .collect();
    let speaks = dialect.speaks() && !choice.audio.is_empty();
    // OpenAI has the text of speech as its transcript.
    let (text, transcript) = if speaks && dialect == Dialect::OpenAi {
        (String::new(), text)
    } else {
        (text, String::new())
    };
    // DashScope has an empty text beside tool calls, the others have none.
    let empty = text.is_empty() && (speaks || !calls.is_empty());
    let content = if empty && dialect != Dialect::DashScope {
        Value::Null
    } else {
        json!(text)
    };
    let audio = speaks.then(|| {
        json!({"id": head.audio_id(), "data": head.audio(&joined(&choice.audio)),
            "expires_at": head.expires_at(), "transcript": transcript})
    });
    let message = WholeMessage {
        content,
        reasoning: (!choice.reasoning.is_empty()).then(|| choice.reasoning.concat()),
        calls,
        audio,
        annotations: choice.annotations.clone(),
    };
    message.into_value(dialect)
}

impl WholeMessage {
    fn into_value(self, dialect: Dialect) -> Value {
        let Self {
            content,
            reasoning,
            calls,
            audio,
            annotations,
        } = self;
        let calls = (!calls.is_empty()).then_some(calls);
        let mut fields = Map::new();
        fields.insert("role".into(), json!("assistant"));
        // A field that every message of the dialect has, be it null, or only if there is a value.
        let mut add = |name: &str, value: Value, always: bool| {
            if always || !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        };
        match dialect {
            Dialect::Vllm | Dialect::VllmOmni => {
                add("content", content, true);
                add("refusal", Value::Null, true);
                add("annotations", Value::Null, true);
                add("audio", json!(audio), true);
                add("function_call", Value::Null, true);
                add("tool_calls", json!(calls), false);
                add("reasoning", json!(reasoning), true);
            }
            Dialect::Sglang => {
                add("content", content, true);
                add("reasoning_content", json!(reasoning), true);
                add("tool_calls", json!(calls), true);
            }
            Dialect::SglangOmni => {
                add("content", content, audio.is_none());
                let audio = audio.map(|mut audio| {
                    if let Some(fields) = audio.as_object_mut() {
                        fields.remove("expires_at");
                        fields.insert("transcript".into(), Value::Null);
                    }
                    audio
                });
                add("audio", json!(audio), false);
            }
            Dialect::OpenAi => {
                add("content", content, true);
                add("refusal", Value::Null, true);
                add("annotations", json!([]), true);
                add("tool_calls", json!(calls), false);
                add("audio", json!(audio), false);
            }
            Dialect::DashScope => {
                add("content", content, true);
                add("reasoning_content", json!(reasoning), false);
                add("tool_calls", json!(calls), false);
                let annotations = (!annotations.is_empty()).then_some(annotations);
                add("annotations", json!(annotations), false);
                add("audio", json!(audio), false);
            }
        }
        fields.into()
    }
}

fn tool(call: &ToolCall, arguments: &str) -> Value {
    json!({"id": call.id.as_deref().unwrap_or("call_0"), "type": "function",
        "function": {"name": call.name, "arguments": arguments}})
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn choice(text: &[&str], audio: &[&str]) -> Answer {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let choice = Choice {
            text: list(text),
            audio: list(audio),
            ..Choice::default()
        };
        Answer {
            choices: vec![choice],
            ..Answer::default()
        }
    }

    pub(crate) fn head(dialect: Dialect, options: &ChatOptions) -> ResponseHead<'_> {
        ResponseHead {
            dialect,
            id: "r-1",
            created: 1_757_647_879,
            options,
            unfinished: false,
            cumulative: false,
        }
    }

    fn body(answer: &Answer, dialect: Dialect) -> Value {
        let options = ChatOptions::default();
        whole(answer, &Map::new(), &head(dialect, &options))
    }

    #[test]
    fn audio_is_in_the_message_where_the_dialect_has_it() {
        let answer = choice(&["a", "b"], &["AAAA", "AQA="]);
        for dialect in [Dialect::VllmOmni, Dialect::SglangOmni, Dialect::OpenAi] {
            let body = body(&answer, dialect);
            let audio = &body["choices"][0]["message"]["audio"];
            // A WAV header, and the bytes of both chunks.
            assert!(
                audio["data"].as_str().unwrap().starts_with("UklGR"),
                "{body}"
            );
            let (content, transcript) = match dialect {
                Dialect::OpenAi => (Value::Null, json!("ab")),
                Dialect::VllmOmni => (json!("ab"), json!("")),
                Dialect::DashScope | Dialect::Vllm | Dialect::Sglang | Dialect::SglangOmni => {
                    (json!("ab"), Value::Null)
                }
            };
            assert_eq!(body["choices"][0]["message"]["content"], content);
            assert_eq!(audio["transcript"], transcript);
        }
        for dialect in [Dialect::Vllm, Dialect::Sglang] {
            let body = body(&answer, dialect);
            assert_eq!(body["choices"][0]["message"]["audio"], Value::Null);
        }
    }

    #[test]
    fn tool_calls_replace_the_content() {
        let call = ToolCall {
            id: Some("call_1".into()),
            name: "weather".into(),
            arguments: vec!["{\"city\":".into(), "1}".into()],
        };
        let mut answer = choice(&[], &[]);
        answer.choices[0].tool_calls = vec![call];
        for dialect in [
            Dialect::DashScope,
            Dialect::Vllm,
            Dialect::Sglang,
            Dialect::OpenAi,
        ] {
            let body = body(&answer, dialect);
            let choice = &body["choices"][0];
            let content = match dialect == Dialect::DashScope {
                true => json!(""),
                false => Value::Null,
            };
            assert_eq!(choice["message"]["content"], content, "{dialect}");
            assert_eq!(
                choice["message"]["tool_calls"],
                json!([{"id": "call_1", "type": "function",
                    "function": {"name": "weather", "arguments": "{\"city\":1}"}}])
            );
            assert_eq!(choice["finish_reason"], "tool_calls");
        }
        let options = ChatOptions {
            named_tool: true,
            ..ChatOptions::default()
        };
        let body = whole(&answer, &Map::new(), &head(Dialect::Vllm, &options));
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
    }

    #[test]
    fn the_keys_of_the_compatible_mode_are_in_the_documented_order() {
        let body = body(&choice(&["a"], &[]), Dialect::DashScope).to_string();
        assert_eq!(
            body,
            "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\
             \"finish_reason\":\"stop\",\"index\":0,\"logprobs\":null}],\
             \"object\":\"chat.completion\",\"usage\":{},\"created\":1757647879,\
             \"system_fingerprint\":null,\"model\":\"\",\"id\":\"chatcmpl-r-1\"}"
        );
    }
}
