//! The gRPC services: the only module that knows the generated types.
//!
//! A handler takes a message, maps it to the types of [`crate::chat`], passes it to the relay, and
//! maps the answer back. [`status`] is the one place where an error becomes a gRPC code.

mod body_limits;
mod call_failure;
mod checked_request;
mod explained;
mod field_violations;
mod large_messages;
mod live_event;
mod live_input;
mod live_setup;
mod media_type;
mod metadata_keys;
mod options;
mod page;
mod receive_error;
mod request_body;
mod unpack;

pub mod body_timeout;
pub mod call_context;
pub mod calls;
pub mod codec;
pub mod config;
mod content;
pub mod conversation;
mod conversation_stream;
pub mod count_limits;
pub mod health;
pub mod live;
mod live_calls;
pub mod media_service;
pub mod method;
pub mod models;
pub mod orca;
pub mod pb;
mod reflection;
pub mod registry;
pub mod request;
pub mod response;
pub mod response_body;
pub mod router;
pub mod scan;
pub mod server_metrics;
pub mod service;
mod small_calls;
mod small_response;
mod span;
pub mod status;
pub mod status_code;
mod stored_conversations;
mod stored_request;
pub mod struct_value;
mod tools;
mod usage;
