//! The generated messages and service clients of the schema.
//!
//! [`conversation_service_client::ConversationServiceClient`],
//! [`live_service_client::LiveServiceClient`], [`media_service_client::MediaServiceClient`] and
//! [`model_service_client::ModelServiceClient`] take the transport of [`crate::Client::transport`].

#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    missing_docs,
    rustdoc::all,
    reason = "generated code; the schema is linted instead"
)]

include!("v1/dashgate.v1.rs");
