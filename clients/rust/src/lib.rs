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
//!   events](Events). [`Client::run_tools`] and [`Client::stream_tools`] run functions that the model
//!   calls, and [`Client::converse_in`] returns the answer as a value of a type.
//! - [`Conversation::stored`] is a conversation that the gateway keeps;
//!   [`Client::create_conversation`] and the methods beside it manage them.
//! - [`Client::list_models`] and [`Client::get_model`] return the models that can be used.
//! - [`Client::live`] is a spoken conversation, [`Client::speak`] speaks a text while it is written.
//! - [`text`], [`audio`], [`image`], [`video`] return the parts of a message. Files are read by the
//!   client, and large ones uploaded; paths are never sent. [`Client::upload`] uploads a file itself.
//! - [`Error`] has the gRPC code, the reason, and whether and when to retry.
//! - [`ClientBuilder::layer`] adds Tower layers, [`ClientBuilder::configure_endpoint`] changes options
//!   of the connections.
//! - The environment variable `DASHGATE_LOG` is `info` (a line on standard error for each call),
//!   `debug` (retries, resumes and connections too) or `off`.
//! - Dropping a future or a stream cancels its call, at the gateway and at DashScope. A program that
//!   ends afterwards awaits [`Client::settle`].
//! - A stream whose connection is lost continues on another one: [`Call::resume`].
//! - The generated messages and clients of the schema are in [`v1`].

// The gateway of the tests is written for users of the crate.
#[cfg(test)]
extern crate self as dashgate_client;

mod answer;
mod builder;
mod call;
mod call_metadata;
mod client;
mod connections;
mod content;
mod conversation;
mod error;
mod events;
mod exclusive;
mod files;
mod fold;
mod headers;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod json_error;
mod large_files;
mod leave;
mod leaving;
mod live;
mod live_input;
mod live_progress;
mod live_protocol;
mod live_speech;
mod live_stream;
mod log;
mod media;
#[cfg(feature = "json")]
mod message_content;
#[cfg(feature = "json")]
mod message_fields;
#[cfg(feature = "json")]
mod messages;
mod models;
mod opening;
#[cfg(feature = "json")]
mod parse_error;
mod query;
mod reach;
mod resume;
mod resume_backoff;
mod retry;
#[cfg(feature = "schema")]
mod schema;
mod sniff;
mod status;
mod stored;
mod stored_methods;
mod structured;
mod target;
mod terms;
mod text_deltas;
#[cfg(feature = "tls")]
mod tls;
mod tool_functions;
mod tool_rounds;
mod tool_run;
mod tool_stream;
mod tools;
mod transport;
mod upload;
mod uploaded;
mod uploads;
pub mod v1;
#[cfg(test)]
mod waiting_tests;

pub use answer::Answer;
pub use builder::ClientBuilder;
pub use call::{Call, Streamed, Whole};
pub use client::Client;
pub use content::{Contents, audio, image, text, video, video_frames};
pub use conversation::Conversation;
pub use error::{Error, FieldViolation};
pub use events::Events;
pub use headers::Headers;
pub use live::{
    LiveSender, LiveSession, Session, SessionCall, SessionSender, SpeechSender, SpeechSession,
};
pub use live_speech::SpeechAudio;
pub use media::Media;
pub use models::{CallCancellation, ModelList, ModelQuery};
pub use query::{List, Query};
pub use structured::{OutputFormat, Structured, StructuredCall};
pub use text_deltas::TextDeltas;
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tonic::Code;
pub use tool_run::ToolRun;
pub use tool_stream::{ToolStream, ToolTextDeltas};
pub use tools::{Tool, ToolError};
pub use transport::Transport;
pub use upload::{Upload, UploadSource};
