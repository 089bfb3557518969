//! What several test binaries share: a scripted DashScope, the gateway in this process, and peers
//! that speak HTTP/2 frame by frame.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of this module"
)]

pub mod admin;
pub mod emulator;
pub mod gateway;
pub mod http2_peer;
pub mod keys;
pub mod live;
pub mod live_call;
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "another program: found by PATH, and waited for in real time, outside of a runtime"
)]
pub mod postgres;
pub mod process;
pub mod realtime;
pub mod realtime_events;
pub mod store;
pub mod upstream;

pub use gateway::*;
pub use process::*;
pub use upstream::*;
