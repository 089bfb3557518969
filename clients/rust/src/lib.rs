//! Talks with DashScope's multimodal models through a [dashgate](https://github.com/dashgate/dashgate).
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
//! - [`Client`] is a handle: cheap to clone, shared between tasks, connected at its first call.
//! - [`Client::converse`] returns the whole [`Answer`], [`Client::stream`] a [stream of
//!   events](Events), [`Client::upload`] takes a large file, and [`Client::run_tools`] lets the model
//!   call functions.
//! - [`text`], [`audio`], [`image`], [`video`] make the parts of a message. A file is read by the client:
//!   its path is never sent.
//! - [`Error`] says what to do next: its code, its reason, whether and when to call again.
//! - Dropping a future or a stream cancels its call, at the gateway and at DashScope.
//! - The messages and clients that the schema generates are in [`v1`], and nothing hides them.

mod answer;
mod call;
mod client;
mod content;
mod conversation;
mod error;
mod events;
mod fold;
mod retry;
mod sniff;
#[cfg(feature = "tls")]
mod tls;
mod tools;
mod upload;
pub mod v1;

pub use answer::Answer;
pub use call::{Call, Streamed, Whole};
pub use client::{Client, ClientBuilder};
pub use content::{Contents, Media, audio, image, text, video, video_frames};
pub use conversation::Conversation;
pub use error::{Error, FieldViolation};
pub use events::{Events, TextDeltas};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use tonic::Code;
pub use tools::{Tool, ToolError, ToolRun};
pub use upload::{Upload, UploadSource};
