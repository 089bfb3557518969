//! WebSockets: the upgrade of a request, the loop that reads and writes frames, and the errors that
//! a script causes. It knows frames and leaves their meaning to a [`session::SocketSession`].

pub(super) mod connection;
pub(super) mod faults;
pub(super) mod frame_log;
pub(super) mod handshake;
pub(super) mod outbox;
pub(super) mod session;
pub(super) mod socket_rule;
