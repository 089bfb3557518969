//! The front door: the only room that knows tonic and the generated types.
//!
//! A handler takes a message, narrows it to the nouns of [`crate::chat`], hands it to the relay,
//! and wraps what comes back. [`status`] is the one place where a fault becomes a gRPC code.

pub mod arrival;
pub mod body;
pub mod call_clock;
pub mod codec;
pub mod connection;
mod content;
pub mod conversation;
pub mod cors;
pub mod document;
pub mod element_limits;
mod explained;
mod faults;
pub mod frame_budget;
pub mod frames;
pub mod guard;
mod header_fields;
pub mod health;
mod large_messages;
pub mod listener;
pub mod load;
pub mod media;
pub mod meter;
mod names;
pub mod offered;
mod open_calls;
mod options;
pub mod path;
pub mod pb;
pub mod peer;
pub mod refusal;
pub mod reply;
pub mod request;
mod request_body;
mod request_limits;
pub mod response_body;
pub mod router;
pub mod scan;
pub mod services;
pub mod settings;
pub mod socket;
pub mod status;
mod stream_task;
pub mod tls;
mod unpack;
pub mod web;
pub mod workers;
