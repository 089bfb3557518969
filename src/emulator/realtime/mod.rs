//! The realtime WebSocket, `/api-ws/v1/realtime`: spoken conversations, transcription, translation
//! and speech synthesis, each as the model of the URL does it.
//!
//! [`dialects`] has what distinguishes the models. [`conversation_session`] handles the events of a
//! client: [`session_config`] validates the session, [`input_buffer`] and [`voice_activity`] find
//! turns in the audio, [`hearing`] analyses them, [`reply`] decides what is answered, and
//! [`response`] sends it step by step. [`speech_session`] is the session of the models that speak
//! text.

pub(super) mod audio_format;
mod client_events;
pub(super) mod conversation_session;
pub(super) mod dialects;
pub(super) mod hearing;
mod input_buffer;
mod items;
mod reply;
pub(super) mod response;
mod response_steps;
pub(super) mod sentences;
mod session_config;
pub(super) mod speech_session;
mod transcription;
mod turns;
pub(super) mod voice_activity;
