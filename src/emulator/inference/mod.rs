//! The WebSocket of tasks, `/api-ws/v1/inference`: recognition and translation of speech, and
//! speech synthesis.
//!
//! [`task_session`] reads the commands of a client and has its tasks; [`recognition`] and
//! [`synthesis`] are the two kinds, and [`task_event`] writes what they report.

mod recognition;
mod synthesis;
mod task_event;
pub(super) mod task_session;
mod translation;
