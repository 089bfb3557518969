//! A file on its way to DashScope's temporary storage.

use std::sync::Arc;
use std::time::Duration;

use super::call::Passing;

/// How long DashScope keeps a file.
pub const KEPT: Duration = Duration::from_secs(48 * 60 * 60);

/// What will be uploaded.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The model that will use it.
    pub model: Arc<str>,
    /// The MIME type; empty when the caller did not say.
    pub mime_type: String,
    /// The file's own name, for its extension only.
    pub name: String,
    /// The number of bytes, if known.
    pub size_bytes: Option<u64>,
    /// What goes to DashScope beside it.
    pub passing: Passing,
}

/// Where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Its address, `oss://...`.
    pub uri: String,
    /// The model that can use it.
    pub model: String,
    /// When it will be gone, in seconds since 1970.
    pub expires_at: i64,
    /// How many bytes were stored.
    pub size_bytes: u64,
    /// The MIME type that was stored with it.
    pub mime_type: String,
}
