//! What a call says of media: the hosts, the owners of uploaded files, the length of audio, and
//! the field that an error is about.

pub(super) mod audio_limit;
pub(super) mod error_location;
pub(super) mod hosts;
pub(super) mod storage_owners;
mod texts;
