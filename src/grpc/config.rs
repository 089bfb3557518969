//! What the operator decides about the front door.

use std::time::Duration;

/// What the operator decides about the front door.
#[derive(Clone, Copy, Debug)]
pub struct GrpcConfig {
    /// The largest message.
    pub max_request_bytes: usize,
    /// The largest chunk of an upload.
    pub max_chunk_bytes: usize,
    /// The most metadata of one call, counted as HTTP/2 does: names, values, and 32 bytes each.
    pub max_metadata_bytes: usize,
    /// How long a caller may pause while it sends its request.
    pub request_body_timeout: Duration,
    /// How long a call may take whose caller set no deadline, when the answer comes whole.
    pub unary_timeout: Duration,
    /// The same for a stream.
    pub stream_timeout: Duration,
    /// The longest that any call may take.
    pub max_timeout: Duration,
    /// How long a response may stay unread.
    pub slow_consumer_timeout: Duration,
    /// After how much silence a stream gets a heartbeat.
    pub heartbeat_after: Duration,
    /// Whether reflection is answered to those who show no credentials.
    pub open_reflection: bool,
    /// Whether DashScope's own words are shown to callers when it refuses. They may hold content.
    pub show_upstream_messages: bool,
}
