//! The embedded DashScope.
mod answer;
mod answer_reader;
mod ask;
mod checks;
mod family;
mod fault;
mod hearing;
mod media;
mod picture;
mod reader;
mod rule;
mod rule_reader;
mod script;
mod sound;
mod store;
mod wave;
mod words;
pub use script::{Script, ScriptError};
