//! The error of a measurement.

/// Anything that can go wrong. It is reported, and the rest is measured.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// What can fail in any way.
pub(crate) type Result<T> = std::result::Result<T, Error>;
