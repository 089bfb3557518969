//! The questions that are asked, and their answer.

use bytes::Bytes;
use dashgate::grpc::pb::{self, audio, content};
use prost::Message as _;

/// What each whole answer says.
pub(crate) const ANSWER: &str = "The future of the internet has begun, and it speaks.";

const URI: &str = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3";
const ASKED: &str = "What does this audio say? Answer in one short sentence.";

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Question {
    /// A sound by its address, and a sentence.
    Small,
    /// A sound of so many bytes inside the message, and a sentence.
    Sound(usize),
    /// A conversation of so many turns.
    Turns(usize),
}

impl Question {
    /// The message, without a frame. `Converse` and `ConverseStream` ask alike.
    pub(crate) fn message(self) -> Vec<u8> {
        let messages = match self {
            Self::Small => vec![
                said(pb::Role::System, vec![text("You are a helpful assistant.")]),
                said(
                    pb::Role::User,
                    vec![sound(audio::Source::Uri(URI.to_owned())), text(ASKED)],
                ),
            ],
            Self::Sound(bytes) => {
                let data = audio::Source::Data(noise(bytes).into());
                vec![said(pb::Role::User, vec![sound(data), text(ASKED)])]
            }
            Self::Turns(turns) => (0..turns.max(1)).map(|at| turn(turns, at)).collect(),
        };
        let request = pb::ConverseRequest {
            conversation: Some(pb::Conversation {
                model: "qwen-audio-turbo".to_owned(),
                messages,
                ..Default::default()
            }),
            options: Some(Box::new(pb::GenerationOptions {
                temperature: Some(0.7),
                ..Default::default()
            })),
            ..Default::default()
        };
        request.encode_to_vec()
    }
}

/// The next turn of a stored conversation with so much of its history, or without a name the same
/// call, which is not stored.
pub(crate) fn stored_turn(name: Option<&str>, history: i32) -> Vec<u8> {
    let words = format!("What does it say? {ASKED}");
    let request = pb::ConverseRequest {
        conversation: Some(pb::Conversation {
            name: name.unwrap_or_default().to_owned(),
            model: "qwen-audio-turbo".to_owned(),
            messages: vec![said(pb::Role::User, vec![text(&words)])],
            ..Default::default()
        }),
        history: name.map(|_| pb::HistoryPolicy {
            max_turns: Some(history),
            ..Default::default()
        }),
        ..Default::default()
    };
    request.encode_to_vec()
}

/// The last turn is always the user's, and so is every second one before it.
fn turn(turns: usize, at: usize) -> pb::Message {
    if (turns - at) % 2 == 1 {
        let words = format!("This is question {at}. {ASKED} Say it in the words of the speaker.");
        said(pb::Role::User, vec![text(&words)])
    } else {
        let words = format!("This is answer {at}. {}", ANSWER.repeat(3));
        said(pb::Role::Assistant, vec![text(&words)])
    }
}

fn said(role: pb::Role, content: Vec<pb::Content>) -> pb::Message {
    pb::Message {
        role: role.into(),
        content,
        ..Default::default()
    }
}

fn text(words: &str) -> pb::Content {
    pb::Content {
        kind: Some(content::Kind::Text(words.to_owned())),
        ..Default::default()
    }
}

fn sound(source: audio::Source) -> pb::Content {
    pb::Content {
        kind: Some(content::Kind::Audio(pb::Audio {
            mime_type: "audio/wav".to_owned(),
            source: Some(source),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// Bytes that look like sound and are the same in every run: an xorshift generator.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The first message of an upload.
pub(crate) fn description(size: u64) -> Vec<u8> {
    upload(pb::upload_media_request::Payload::Description(
        pb::MediaDescription {
            model: "qwen-audio-turbo".to_owned(),
            mime_type: "audio/wav".to_owned(),
            name: "bench.wav".to_owned(),
            size_bytes: i64::try_from(size).ok(),
        },
    ))
}

/// A message with a piece of the file.
pub(crate) fn chunk(bytes: Bytes) -> Vec<u8> {
    upload(pb::upload_media_request::Payload::Chunk(bytes))
}

fn upload(payload: pb::upload_media_request::Payload) -> Vec<u8> {
    let request = pb::UploadMediaRequest {
        payload: Some(payload),
    };
    request.encode_to_vec()
}
