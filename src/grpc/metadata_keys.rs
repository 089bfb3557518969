//! The names of metadata that are looked for or set in every call. Made before the first one: a
//! name that is given as text is read anew each time.

use http::HeaderName;

/// The name of a call.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// DashScope's name of it.
pub(super) const X_DASHSCOPE_REQUEST_ID: HeaderName =
    HeaderName::from_static("x-dashscope-request-id");

/// How it ended.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// More of how it ended.
pub(super) const GRPC_STATUS_DETAILS: HeaderName =
    HeaderName::from_static("grpc-status-details-bin");

/// How long to wait before it is made again.
pub(super) const GRPC_RETRY_PUSHBACK: HeaderName =
    HeaderName::from_static("grpc-retry-pushback-ms");

/// A key, beside `authorization`.
pub(super) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
