//! What the fuzz targets share: plain readers to compare ours with, and an emulator to call.

pub mod base64;
pub mod emulator;
pub mod plain_frames;
pub mod plain_sse;
pub mod requests;
pub mod statuses;
