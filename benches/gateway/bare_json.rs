//! What the bare gateway says to DashScope, and what it understands of the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use dashgate::grpc::pb::{self, audio, content, converse_stream_response, delta};
use prost::Message as _;
use serde::Deserialize;

use crate::error::Result;

/// The body of a request.
pub(crate) fn question(asked: &pb::ConverseRequest, streams: bool) -> Result<Vec<u8>> {
    let conversation = asked.conversation.as_ref().ok_or("no conversation")?;
    let mut out = Vec::with_capacity(512 + asked.encoded_len() * 4 / 3);
    out.extend_from_slice(b"{\"model\":");
    serde_json::to_writer(&mut out, &conversation.model)?;
    out.extend_from_slice(b",\"input\":{\"messages\":[");
    for (at, message) in conversation.messages.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let role: &[u8] = match message.role() {
            pb::Role::System => b"system",
            pb::Role::Assistant => b"assistant",
            pb::Role::Tool => b"tool",
            pb::Role::User | pb::Role::Unspecified => b"user",
        };
        out.extend_from_slice(b"{\"role\":\"");
        out.extend_from_slice(role);
        out.extend_from_slice(b"\",\"content\":[");
        for (at, content) in message.content.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            part(content, &mut out)?;
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]},\"parameters\":{");
    if let Some(temperature) = asked.options.as_ref().and_then(|all| all.temperature) {
        out.extend_from_slice(b"\"temperature\":");
        serde_json::to_writer(&mut out, &temperature)?;
        out.push(b',');
    }
    out.extend_from_slice(b"\"incremental_output\":");
    serde_json::to_writer(&mut out, &streams)?;
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn part(content: &pb::Content, out: &mut Vec<u8>) -> Result<()> {
    match &content.kind {
        Some(content::Kind::Text(text)) => {
            out.extend_from_slice(b"{\"text\":");
            serde_json::to_writer(&mut *out, text)?;
        }
        Some(content::Kind::Audio(audio)) => {
            out.extend_from_slice(b"{\"audio\":");
            match &audio.source {
                Some(audio::Source::Uri(uri)) => serde_json::to_writer(&mut *out, uri)?,
                Some(audio::Source::Data(data)) => {
                    out.extend_from_slice(b"\"data:");
                    out.extend_from_slice(audio.mime_type.as_bytes());
                    out.extend_from_slice(b";base64,");
                    let from = out.len();
                    out.resize(from + data.len().div_ceil(3) * 4, 0);
                    STANDARD.encode_slice(data, out.get_mut(from..).unwrap_or_default())?;
                    out.push(b'"');
                }
                None => return Err("a sound without a source".into()),
            }
        }
        Some(content::Kind::Image(_) | content::Kind::Video(_)) | None => {
            return Err("only text and sound".into());
        }
    }
    out.push(b'}');
    Ok(())
}

#[derive(Deserialize)]
struct Said {
    output: Output,
    #[serde(default)]
    usage: Used,
    #[serde(default)]
    request_id: String,
}

#[derive(Deserialize)]
struct Output {
    choices: Vec<Chosen>,
}

#[derive(Deserialize)]
struct Chosen {
    message: Words,
    finish_reason: String,
}

#[derive(Deserialize)]
struct Words {
    content: Vec<Text>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Default, Deserialize)]
struct Used {
    input_tokens: Option<i32>,
    output_tokens: Option<i32>,
    audio_tokens: Option<i32>,
}

impl Used {
    fn message(self) -> pb::Usage {
        pb::Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            audio_tokens: self.audio_tokens,
            ..Default::default()
        }
    }
}

fn finish_reason(word: &str) -> i32 {
    let reason = match word {
        "stop" => pb::FinishReason::Stop,
        "length" => pb::FinishReason::Length,
        "tool_calls" => pb::FinishReason::ToolCalls,
        _ => pb::FinishReason::Unspecified,
    };
    reason.into()
}

/// An answer that came whole.
pub(crate) fn whole(bytes: &[u8], model: String) -> Result<pb::ConverseResponse> {
    let said: Said = serde_json::from_slice(bytes)?;
    let choices = said.output.choices.into_iter().map(|choice| {
        let texts = choice.message.content.into_iter();
        pb::Choice {
            message: Some(pb::Message {
                role: pb::Role::Assistant.into(),
                content: texts
                    .map(|part| pb::Content {
                        kind: Some(content::Kind::Text(part.text)),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }),
            finish_reason: finish_reason(&choice.finish_reason),
            raw_finish_reason: choice.finish_reason,
            ..Default::default()
        }
    });
    Ok(pb::ConverseResponse {
        choices: choices.collect(),
        usage: Some(Box::new(said.usage.message())),
        upstream_request_id: said.request_id,
        model,
        ..Default::default()
    })
}

/// Reads an event stream.
pub(crate) struct Reader {
    model: String,
    line: Vec<u8>,
    sequence: i32,
    finished: bool,
}

impl Reader {
    /// At the start of a stream.
    pub(crate) fn new(model: String) -> Self {
        Self {
            model,
            line: Vec::new(),
            sequence: 0,
            finished: false,
        }
    }

    /// Takes bytes in, and gives the messages of the events that they complete, framed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Bytes> {
        let mut out = BytesMut::new();
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        if !self.line.is_empty() {
            self.line
                .extend_from_slice(lines.next().unwrap_or_default());
            if !self.line.ends_with(b"\n") {
                return Ok(Bytes::new());
            }
            let line = std::mem::take(&mut self.line);
            self.take(&line, &mut out)?;
        }
        for line in lines {
            if line.ends_with(b"\n") {
                self.take(line, &mut out)?;
            } else {
                self.line.extend_from_slice(line);
            }
        }
        Ok(out.freeze())
    }

    /// Whether the stream may end here.
    pub(crate) fn end(&self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        Err("the stream was cut".into())
    }

    fn take(&mut self, line: &[u8], out: &mut BytesMut) -> Result<()> {
        let Some(data) = line.strip_prefix(b"data:") else {
            return Ok(());
        };
        let said: Said = serde_json::from_slice(data)?;
        if self.sequence == 0 {
            let started = pb::Started {
                model: std::mem::take(&mut self.model),
                upstream_request_id: said.request_id,
                ..Default::default()
            };
            self.say(converse_stream_response::Event::Started(started), out)?;
        }
        let mut usage = Some(said.usage);
        for choice in said.output.choices {
            for part in choice.message.content {
                let delta = pb::Delta {
                    part: Some(delta::Part::Text(part.text)),
                    ..Default::default()
                };
                self.say(converse_stream_response::Event::Delta(delta), out)?;
            }
            if choice.finish_reason == "null" {
                continue;
            }
            self.finished = true;
            let end = pb::ChoiceEnd {
                index: 0,
                finish_reason: finish_reason(&choice.finish_reason),
                raw_finish_reason: choice.finish_reason,
                extra: None,
            };
            let completed = pb::Completed {
                choices: vec![end],
                usage: usage.take().map(Used::message),
                ..Default::default()
            };
            let completed = Box::new(completed);
            self.say(converse_stream_response::Event::Completed(completed), out)?;
        }
        Ok(())
    }

    fn say(&mut self, event: converse_stream_response::Event, out: &mut BytesMut) -> Result<()> {
        self.sequence += 1;
        let message = pb::ConverseStreamResponse {
            sequence: self.sequence,
            event: Some(event),
        };
        let length = message.encoded_len();
        out.reserve(length + 5);
        out.put_u8(0);
        out.put_u32(u32::try_from(length)?);
        message.encode(out)?;
        Ok(())
    }
}
