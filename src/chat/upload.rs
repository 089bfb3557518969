//! Uploads to DashScope's temporary storage.

use std::sync::Arc;
use std::time::Duration;

use super::call::Passing;

/// How long DashScope keeps a file.
pub const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// A file to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The model that will use it.
    pub model: Arc<str>,
    /// The MIME type; empty if not declared.
    pub mime_type: String,
    /// The file name, used for its extension only.
    pub name: String,
    /// The number of bytes, if known.
    pub size_bytes: Option<u64>,
    /// Metadata that is forwarded to DashScope.
    pub passing: Passing,
}

/// An uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// The URL, `oss://...`.
    pub uri: String,
    /// The model that can use it.
    pub model: String,
    /// The expiry, in seconds since 1970.
    pub expires_at: i64,
    /// The number of bytes stored.
    pub size_bytes: u64,
    /// The MIME type that was stored.
    pub mime_type: String,
}
