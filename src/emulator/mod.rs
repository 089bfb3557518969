//! The embedded DashScope: an HTTP server that plays DashScope and its object store, on a real
//! socket, with no key and no network. It is a neighbour of the gateway and shares no code with it,
//! so that both cannot be wrong together.
//!
//! A request goes this way: [`server`] takes the connection, [`routes`] finds the part for its
//! path, [`generation`] (or [`uploads`]) asks the tester's [`script`] first, then [`ask`] and
//! [`checks`] judge the request as DashScope does, [`media`] hears and sees what was given,
//! [`compose`] makes an answer, [`render`] gives it DashScope's JSON, [`staging`] the form of the
//! wire, and [`playback`] sends it step by step. The [`journal`] tells testers what came.

mod answer;
mod answer_reader;
mod ask;
mod budget;
mod checks;
#[cfg(test)]
mod client;
mod clock;
mod compose;
mod desk;
mod family;
mod fault;
mod film;
mod generation;
mod hearing;
mod journal;
mod media;
mod media_limits;
mod picture;
mod plan;
mod playback;
mod policy;
mod reader;
mod render;
mod riff;
mod routes;
mod rule;
mod rule_reader;
mod samples;
mod script;
mod server;
mod settings;
mod socket;
mod sound;
mod staging;
mod store;
mod uploads;
mod usage;
mod wave;
mod words;

pub use script::{Script, ScriptError};
pub use server::serve;
pub use settings::Settings;
