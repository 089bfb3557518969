//! The types and services generated from `proto/`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]

include!("generated/dashgate.v1.rs");

/// The health checking protocol.
pub mod health {
    include!("generated/grpc.health.v1.rs");
}

/// The type of [`CallFailure`] in the details of a status.
pub const CALL_FAILURE: &str = "type.googleapis.com/dashgate.v1.CallFailure";

/// The descriptors of the schema, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/dashgate.v1.binpb");
