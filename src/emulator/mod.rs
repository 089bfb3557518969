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
mod answerer;
mod audio_analysis;
mod audio_decoder;
mod checks;
#[cfg(test)]
mod client;
mod clock;
mod decode_budget;
mod error;
mod family;
mod generation;
mod image;
mod media;
mod media_limits;
mod object_store;
mod policy;
mod reader;
mod render;
mod request;
mod request_journal;
mod response_plan;
mod riff;
mod routes;
mod rule;
mod rule_reader;
mod sample_files;
mod script;
mod script_player;
mod server;
mod settings;
mod socket;
mod speech_synthesis;
mod state;
mod templates;
mod uploads;
mod usage;
mod video;
mod wire_format;

pub use script::{Script, ScriptError};
pub use server::serve;
pub use settings::EmulatorConfig;
