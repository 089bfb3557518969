//! A gRPC gateway in front of DashScope's multimodal models.
//!
//! [`grpc`] accepts a call and passes it to [`relay`], which decides on admission, attempts and the
//! deadline. [`dashscope`] sends it over HTTP to DashScope or to the [`emulator`], and the answer
//! comes back the same way. `docs/architecture.md` describes the path of a call and the rules.
//!
//! # Layout
//!
//! From the command line down; a module imports only modules below it:
//!
//! - [`cli`]: the command line, one file per command
//! - [`app`]: creates, connects, runs and drains the other modules
//! - [`grpc`]: the gRPC services, and the mapping to and from protobuf
//! - [`server`]: the HTTP/2 server: sockets, TLS, limits of connections, gRPC-Web
//! - [`admin`]: the admin port: metrics, health, effective configuration, calls in flight
//! - [`live`]: live sessions: clocks, journal, resumption, repair of events
//! - [`relay`]: one call: admission, attempts, accounts, circuit breakers, idempotency
//! - [`conversations`]: stored conversations: the life of a turn, its history
//! - [`upstream`]: the upstreams of calls: DashScope and OpenAI-style servers
//! - [`openai`]: the client of OpenAI-style servers, and of DashScope's compatible mode
//! - [`dashscope`]: the DashScope client: requests, responses, event streams, uploads
//! - [`emulator`]: an HTTP server that emulates DashScope and its temporary storage
//! - [`callers`]: authentication and limits of callers
//! - [`quotas`]: limits that replicas share
//! - [`store`]: state that outlives the process: SQLite or PostgreSQL
//! - [`http1`]: the HTTP/1.1 client for calls to DashScope
//! - [`telemetry`]: metrics, traces and the log
//! - [`memory`]: accounting and limit of the memory that calls hold
//! - [`audio`]: the duration of recordings
//! - [`chat`]: the data model: conversations, media, calls, events, answers
//! - [`config`]: the settings and where they come from
//! - [`net`]: DNS, proxies and TLS roots for outgoing connections
//! - [`error`]: errors and their reasons
//! - [`secret`]: text that is never printed
//! - [`quoted`]: text as JSON strings
//! - [`hex`]: bytes as hexadecimal digits
//! - [`descriptors`]: detection of used-up file descriptors
//! - [`token_bucket`]: limits of a rate, for callers and for accounts
//! - [`turns`]: yielding to other tasks and to the sockets
//! - [`untrusted`]: text of an upstream, made safe for statuses, logs and metrics
//! - [`regular_file`]: opening regular files, and nothing else

pub mod admin;
pub mod app;
pub mod audio;
pub mod callers;
pub mod chat;
pub mod cli;
pub mod config;
pub mod conversations;
pub mod dashscope;
pub mod descriptors;
pub mod emulator;
pub mod error;
pub mod grpc;
pub mod hex;
pub mod http1;
pub mod live;
pub mod memory;
pub mod net;
pub mod openai;
pub mod quotas;
pub mod quoted;
pub mod regular_file;
pub mod relay;
pub mod secret;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod token_bucket;
pub mod turns;
pub mod untrusted;
pub mod upstream;
