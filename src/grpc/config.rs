//! The configuration of the gRPC services.

use std::time::Duration;

/// The configuration of the gRPC services.
#[derive(Clone, Copy, Debug)]
pub struct GrpcConfig {
    /// The maximum length of a message.
    pub max_request_bytes: usize,
    /// The maximum length of an upload's chunk.
    pub max_chunk_bytes: usize,
    /// The maximum metadata of one call, counted as in HTTP/2: names, values, and 32 bytes each.
    pub max_metadata_bytes: usize,
    /// How long a caller may pause while it sends its request.
    pub request_body_timeout: Duration,
    /// The default timeout of a unary call.
    pub unary_timeout: Duration,
    /// The default timeout of a stream.
    pub stream_timeout: Duration,
    /// The timeout of a live session, and its maximum.
    pub live_timeout: Duration,
    /// The maximum timeout of any other call.
    pub max_timeout: Duration,
    /// How long a response may stay unread.
    pub slow_consumer_timeout: Duration,
    /// The idle time after which a stream gets a heartbeat.
    pub heartbeat_after: Duration,
    /// Whether reflection is available without credentials.
    pub open_reflection: bool,
    /// Whether DashScope's error messages are returned to callers. They may contain content.
    pub show_upstream_messages: bool,
}
