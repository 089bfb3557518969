//! The data model: plain data, without I/O, transport and clock.
//!
//! A [`call::Call`] is passed down through the layers, [`event::Event`]s are returned, and
//! [`answer::Answer`] is their total.

pub mod answer;
pub mod call;
pub mod data_uri;
pub mod document;
pub mod dropped_parts;
pub mod estimate;
pub mod event;
pub mod extra;
pub mod glob;
pub mod live_event;
pub mod live_session;
pub mod live_turn;
pub mod media;
mod merge;
pub mod message;
pub mod model;
pub mod plain_url;
pub mod sniffing;
pub mod stored;
pub mod upload;
pub mod usage;
pub mod warning;
mod weight;
