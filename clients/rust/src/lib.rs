//! Client for [dashgate](https://github.com/dashgate/dashgate), a gRPC gateway for DashScope's
//! multimodal models.
//!
//! ```no_run
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! use dashgate_client::{Client, Conversation, audio, text};
//!
//! let client = Client::new()?;
//! let mut conversation = Conversation::new("qwen-audio-turbo");
//! conversation.user([audio("sentence.wav").await?, text("What is said in this audio?")]);
//! let answer = client.converse(&conversation).await?;
//! println!("{}", answer.text());
//! conversation.append(&answer);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] is cheap to clone, shared between tasks, and connects with its first call.
//! - [`Client::converse`] returns the complete [`Answer`], [`Client::stream`] a [stream of
//!   events](Events). [`Client::upload`] uploads a large file, and [`Client::run_tools`] runs
//!   functions that the model calls.
//! - [`Client::list_models`] and [`Client::get_model`] return the models that can be used.
//! - [`Client::live`] is a spoken conversation, [`Client::speak`] speaks a text while it is written.
//! - [`text`], [`audio`], [`image`], [`video`] return the parts of a message. Files are read by the
//!   client; paths are never sent.
//! - [`Error`] has the gRPC code, the reason, and whether and when to retry.
//! - Dropping a future or a stream cancels its call, at the gateway and at DashScope. A program that
//!   ends afterwards awaits [`Client::settle`].
//! - A stream whose connection is lost continues on another one: [`Call::resume`].
//! - The generated messages and clients of the schema are in [`v1`].

mod answer;
mod call;
mod call_cancellation;
mod client;
mod connections;
mod content;
mod conversation;
mod error;
mod events;
mod fold;
mod leave;
mod live;
mod live_progress;
mod live_protocol;
mod live_stream;
mod models;
mod resume;
mod resume_backoff;
mod retry;
mod sniff;
#[cfg(feature = "tls")]
mod tls;
mod tools;
mod upload;
pub mod v1;

pub use answer::Answer;
pub use call::{Call, Streamed, Whole};
pub use call_cancellation::CallCancellation;
pub use client::{Client, ClientBuilder};
pub use content::{Contents, Media, audio, image, text, video, video_frames};
pub use conversation::Conversation;
pub use error::{Error, FieldViolation};
pub use events::{Events, TextDeltas};
pub use live::{
    LiveSender, LiveSession, Session, SessionCall, SessionSender, SpeechAudio, SpeechSender,
    SpeechSession,
};
pub use models::{ModelList, ModelQuery};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tonic::Code;
pub use tools::{Tool, ToolError, ToolRun};
pub use upload::{Upload, UploadSource};
