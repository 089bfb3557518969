//! The life of a live session: its clocks, its journal, and the repair of DashScope's events.
//!
//! A session is a task that reads the caller's input, drives the WebSocket to DashScope, and writes
//! the events for the caller to a journal, from which the caller's stream reads. A stream that
//! breaks can be replaced by another one, which continues to read where the first one ended.

pub mod event;
