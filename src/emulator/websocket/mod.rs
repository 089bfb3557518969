//! WebSockets: the upgrade of a request, the loop that reads and writes frames, and the actions of
//! a script on the connection. It knows frames and leaves their meaning to a
//! [`session::SocketSession`].

mod actions;
pub(super) mod connection;
pub(super) mod frame_kind;
mod frame_log;
pub(super) mod handshake;
pub(super) mod outbox;
pub(super) mod session;
pub(super) mod socket_rule;
