//! The nouns of the house: plain data, no I/O, no transport, no clock.
//!
//! A [`call::Call`] goes down through the rooms, [`event::Event`]s come up, and
//! [`answer::Answer`] is what they add up to.

pub mod answer;
pub mod call;
pub mod document;
pub mod dropped_parts;
pub mod estimate;
pub mod event;
pub mod extra;
pub mod glob;
pub mod media;
mod merge;
pub mod message;
pub mod sniffing;
pub mod upload;
pub mod usage;
pub mod warning;
mod weight;
