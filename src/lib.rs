//! dashgate: a gRPC gateway in front of DashScope's multimodal models.
//!
//! A call goes down through the rooms and its answer comes up again: [`grpc`] takes it, [`relay`]
//! tells its story (admission, attempts, deadline), [`dashscope`] speaks HTTP to DashScope or to
//! the [`emulator`], which plays DashScope with no key and no network. What they pass to each other
//! are the plain nouns of [`chat`] and the faults of [`error`]. What the operator sees is counted
//! in [`telemetry`] and shown by [`admin`].

pub mod secret;

pub mod quoted;

pub mod descriptors;

pub mod untrusted;

pub mod error;

pub mod net;

pub mod memory;

pub mod chat;

pub mod audio;

pub mod config;

pub mod telemetry;

pub mod callers;

pub mod http1;

pub mod dashscope;

pub mod relay;

pub mod grpc;

pub mod admin;

pub mod emulator;

pub mod app;

pub mod cli;
