//! The types and services generated from `proto/`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]

tonic::include_proto!("dashgate.v1");

/// The health checking protocol.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The type of [`CallFailure`] in the details of a status.
pub const CALL_FAILURE: &str = "type.googleapis.com/dashgate.v1.CallFailure";

/// The descriptors of the schema, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("dashgate.v1");
