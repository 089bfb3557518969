//! Metadata keys that are read or set in every call. Constants, because a key given as text is
//! parsed each time.

use http::HeaderName;

/// The request id.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// DashScope's request id.
pub(super) const X_DASHSCOPE_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-dashscope-request-id");

/// Whether the stream can be resumed, before its first event shows it.
pub(super) const DASHGATE_RESUMABLE: HeaderName = HeaderName::from_static("dashgate-resumable");

/// The status code.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The status details.
pub(super) const GRPC_STATUS_DETAILS: HeaderName =
    HeaderName::from_static("grpc-status-details-bin");

/// The encodings that requests may have.
pub(super) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The delay before a retry.
pub(super) const GRPC_RETRY_PUSHBACK: HeaderName =
    HeaderName::from_static("grpc-retry-pushback-ms");

/// An API key, as an alternative to `authorization`.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
