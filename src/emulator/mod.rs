//! The built-in emulator: an HTTP server with DashScope's API and its object store, and with the
//! OpenAI-style API of DashScope's compatible mode and of self-hosted servers, on a real socket,
//! without API key or network access. It shares no code with the DashScope client, so that
//! a mistake in one is not hidden by the same mistake in the other.
//!
//! A request passes these modules: [`server`] accepts the connection and [`routes`] selects the
//! endpoint; [`generation`] (or [`uploads`]) looks for a rule of the [`script`]; [`request`] and
//! [`checks`] validate as DashScope does; [`media`] resolves and analyses the media; [`answerer`]
//! generates an answer, [`render`] converts it to DashScope's JSON and [`response_steps`] to bytes,
//! which [`script_player`] sends step by step. [`request_journal`] records the requests for
//! testers.
//!
//! Requests for a WebSocket pass [`socket_routes`], which starts a session of [`realtime`] or
//! [`inference`] on the connection that [`websocket`] reads and writes.
//!
//! OpenAI-style requests pass [`openai_routes`] and [`openai_chat`]: [`openai_request`] converts
//! them to the same [`request`], and [`openai_response`], [`openai_stream`] and [`openai_wire`]
//! render the same answer in the form of the [`dialect`].

mod answer;
mod answerer;
mod audio_analysis;
mod audio_decoder;
mod checks;
mod clock;
mod decode_budget;
mod dialect;
mod error;
mod family;
mod generation;
mod image;
mod inference;
mod json_sample;
mod media;
mod media_limits;
mod object_store;
mod openai_chat;
mod openai_error;
mod openai_fields;
mod openai_parts;
mod openai_request;
mod openai_response;
mod openai_routes;
mod openai_stream;
mod openai_usage;
mod openai_wire;
mod policy;
mod realtime;
mod render;
mod request;
mod request_journal;
mod response_plan;
mod response_steps;
mod riff;
mod routes;
mod sample_files;
mod script;
mod script_duplicates;
mod script_player;
mod script_reader;
mod script_rule;
mod script_values;
mod server;
mod settings;
mod socket;
mod socket_routes;
mod speech_synthesis;
mod state;
mod templates;
mod uploads;
mod usage;
mod video;
mod websocket;

pub use dialect::{Dialect, UnknownDialect};
pub use script::{Script, ScriptError};
pub use server::serve;
pub use settings::EmulatorConfig;
