//! What the operator sees: the log, and in it one record of each finished call.

pub mod log;
pub mod report;
