//! The messages of live sessions that the load sends, built once, and how its answers are read.

use bytes::{Buf as _, Bytes, BytesMut};
use dashgate::grpc::pb::{self, converse_live_request, converse_live_response, response_delta};
use prost::Message as _;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::client::framed;
use crate::error::Result;
use crate::messages::noise;

/// The sample rate of audio to the model.
pub(crate) const INPUT_RATE: usize = 16_000;

/// The sample rate of audio from the model.
pub(crate) const OUTPUT_RATE: usize = 24_000;

/// The bytes of a sample.
pub(crate) const SAMPLE: usize = 2;

/// The bytes before a message of gRPC.
const PREFIX: usize = 5;

/// The largest message that is read.
const MAX_MESSAGE: usize = 1 << 20;

/// The playing time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// 100 ms, the usual frame of DashScope's SDKs.
    Long,
    /// 20 ms, the usual frame of telephony and WebRTC.
    Short,
}

impl Length {
    /// In milliseconds.
    pub(crate) fn millis(self) -> usize {
        match self {
            Self::Long => 100,
            Self::Short => 20,
        }
    }

    /// The bytes of PCM at a sample rate.
    pub(crate) fn bytes(self, rate: usize) -> usize {
        rate * SAMPLE * self.millis() / 1000
    }
}

/// A message to either side: with gRPC's prefix, and as the text of DashScope's WebSocket.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) grpc: Bytes,
    pub(crate) text: Utf8Bytes,
}

impl Input {
    /// A frame of audio.
    pub(crate) fn audio(length: Length) -> Self {
        let audio = noise(length.bytes(INPUT_RATE));
        let text = format!(
            "{{\"event_id\":\"event_1234\",\"type\":\"input_audio_buffer.append\",\
             \"audio\":\"{}\"}}",
            STANDARD.encode(&audio)
        );
        Self {
            grpc: message(converse_live_request::Event::Audio(audio.into())),
            text: text.into(),
        }
    }

    /// Cancels the response that is running.
    pub(crate) fn cancel() -> Self {
        let cancel = converse_live_request::Event::CancelResponse(pb::CancelResponse {});
        Self {
            grpc: message(cancel),
            text: "{\"event_id\":\"event_1234\",\"type\":\"response.cancel\"}".into(),
        }
    }
}

/// The setup of a session, without gRPC's prefix. Turns are manual, so that the fake needs no
/// detection of speech.
pub(crate) fn setup() -> Vec<u8> {
    let manual = pb::turn_detection::Kind::Manual(pb::ManualTurns {});
    let setup = pb::LiveSetup {
        model: "qwen3-omni-flash-realtime".to_owned(),
        modalities: vec!["text".to_owned(), "audio".to_owned()],
        voice: "Cherry".to_owned(),
        turn_detection: Some(pb::TurnDetection { kind: Some(manual) }),
        ..Default::default()
    };
    let request = pb::ConverseLiveRequest {
        event: Some(converse_live_request::Event::Setup(setup)),
    };
    request.encode_to_vec()
}

fn message(event: converse_live_request::Event) -> Bytes {
    let request = pb::ConverseLiveRequest { event: Some(event) };
    framed(&request.encode_to_vec())
}

/// What the load notes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The session has started.
    Started,
    /// So many bytes of audio.
    Audio(usize),
    /// A response has ended.
    Completed,
    /// Anything else.
    Other,
}

/// The messages in the bytes of a gRPC stream.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: BytesMut,
}

impl Messages {
    /// Adds bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if it is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        let Some((prefix, _)) = self.bytes.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let [_, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if length > MAX_MESSAGE {
            return Err(format!("a message of {length} bytes").into());
        }
        if self.bytes.len() < PREFIX + length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        let message = self.bytes.split_to(length).freeze();
        Ok(Some(event(pb::ConverseLiveResponse::decode(message)?)))
    }
}

fn event(message: pb::ConverseLiveResponse) -> Event {
    match message.event {
        Some(converse_live_response::Event::SessionStarted(_)) => Event::Started,
        Some(converse_live_response::Event::ResponseCompleted(_)) => Event::Completed,
        Some(converse_live_response::Event::ResponseDelta(delta)) => match delta.part {
            Some(response_delta::Part::Audio(audio)) => Event::Audio(audio.len()),
            Some(_) | None => Event::Other,
        },
        Some(_) | None => Event::Other,
    }
}

/// The event in the text of DashScope's WebSocket. What follows the type is not read, so that the
/// figures without a gateway have no decoding in them.
pub(crate) fn event_of(text: &str, length: Length) -> Event {
    let head = text.get(..120).unwrap_or(text);
    if head.contains("\"response.audio.delta\"") {
        Event::Audio(length.bytes(OUTPUT_RATE))
    } else if head.contains("\"session.updated\"") {
        Event::Started
    } else if head.contains("\"response.done\"") {
        Event::Completed
    } else {
        Event::Other
    }
}
