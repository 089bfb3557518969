//! What all the peers are asked and must hear.

use serde_json::Value;

/// The question of DashScope's own quick start, as a message of `dashgate.v1` in JSON.
pub(crate) const QUESTION: &str = concat!(
    r#"{"conversation":{"model":"qwen-audio-turbo","messages":[{"role":"ROLE_USER","content":["#,
    r#"{"audio":{"uri":"https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav"}},"#,
    r#"{"text":"这段音频在说什么?"}]}]}}"#
);

/// What DashScope's documentation answers to it.
pub(crate) const ANSWER: &str = "这段音频在说中文:\"未来没有互联网\"。";

/// A question that must be refused: a path is no URI.
pub(crate) const PATH_AS_URI: &str = concat!(
    r#"{"conversation":{"model":"qwen-audio-turbo","messages":[{"role":"ROLE_USER","content":["#,
    r#"{"audio":{"uri":"/etc/passwd"}}]}]}}"#
);

/// Where [`PATH_AS_URI`] is wrong.
pub(crate) const PATH_FIELD: &str = "conversation.messages[0].content[0].audio.uri";

/// One value of JSON.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))
}

/// The values of JSON that follow each other in a text.
pub(crate) fn json_values(text: &str) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error} in {text}"))
}

/// The text at a place, empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The whole number at a place; protobuf writes those of 64 bits as text.
pub(crate) fn number(value: &Value, pointer: &str) -> Option<i64> {
    let value = value.pointer(pointer)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Whether two things are equal, and if not, what they are.
pub(crate) fn equal<T>(what: &str, is: T, must: T) -> Result<(), String>
where
    T: PartialEq + std::fmt::Debug,
{
    if is == must {
        return Ok(());
    }
    Err(format!("{what} is {is:?} and must be {must:?}"))
}

/// Whether something holds, and if not, what was there instead.
pub(crate) fn holds(what: &str, is_so: bool, there: impl std::fmt::Debug) -> Result<(), String> {
    if is_so {
        return Ok(());
    }
    Err(format!("not so: {what}; there is {there:?}"))
}

/// Judges a `ConverseResponse` to [`QUESTION`], in protobuf's JSON.
pub(crate) fn converse(reply: &Value) -> Result<(), String> {
    equal(
        "the text",
        text(reply, "/choices/0/message/content/0/text"),
        ANSWER,
    )?;
    equal(
        "the role",
        text(reply, "/choices/0/message/role"),
        "ROLE_ASSISTANT",
    )?;
    equal(
        "the end",
        text(reply, "/choices/0/finishReason"),
        "FINISH_REASON_STOP",
    )?;
    equal("the model", text(reply, "/model"), "qwen-audio-turbo")?;
    usage(reply.pointer("/usage"))?;
    holds("it has both ids", has_ids(reply), reply)
}

/// Judges the messages of a `ConverseStream` on [`QUESTION`].
pub(crate) fn stream(messages: &[Value]) -> Result<(), String> {
    for (at, message) in (1..).zip(messages) {
        equal("the sequence", number(message, "/sequence"), Some(at))?;
    }
    let started = messages.first().and_then(|first| first.get("started"));
    let started = started.ok_or_else(|| format!("no Started first: {messages:?}"))?;
    holds("it has both ids", has_ids(started), started)?;
    let deltas: Vec<&str> = messages
        .iter()
        .map(|message| text(message, "/delta/text"))
        .filter(|text| !text.is_empty())
        .collect();
    holds("the text comes in parts", deltas.len() > 1, &deltas)?;
    equal("the text", deltas.concat().as_str(), ANSWER)?;
    let ends = messages
        .iter()
        .filter(|message| message.get("completed").is_some());
    equal("the number of ends", ends.count(), 1)?;
    let last = messages.last().and_then(|last| last.get("completed"));
    let last = last.ok_or_else(|| format!("no Completed last: {messages:?}"))?;
    equal(
        "the end",
        text(last, "/choices/0/finishReason"),
        "FINISH_REASON_STOP",
    )?;
    usage(last.pointer("/usage"))
}

fn usage(usage: Option<&Value>) -> Result<(), String> {
    let usage = usage.ok_or("there is no usage")?;
    let counts = ["/inputTokens", "/audioTokens", "/outputTokens"];
    let counts = counts.map(|name| number(usage, name));
    equal("the usage", counts, [Some(1276), Some(768), Some(19)])
}

fn has_ids(value: &Value) -> bool {
    let ids = [text(value, "/requestId"), text(value, "/upstreamRequestId")];
    ids.iter().all(|id| id.len() > 8)
}

/// Judges what was heard in `examples/tone.wav`: two seconds of 440 Hz, 25 tokens a second.
pub(crate) fn hears_the_tone(answer: &str, audio_tokens: Option<i64>) -> Result<(), String> {
    holds("the pitch is heard", answer.contains("440"), answer)?;
    equal("the audio tokens", audio_tokens, Some(50))
}
