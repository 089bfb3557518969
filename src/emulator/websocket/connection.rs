//! The loop of one WebSocket: reads and writes frames, keeps its limits, and causes the errors of
//! a script.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::actions::PendingActions;
use super::frame_kind::frame_kind;
use super::frame_log::FrameLog;
use super::outbox::{NORMAL, Outbox, Outgoing};
use super::session::{SocketError, SocketSession};
use super::socket_rule::{Action, SocketAction};
use crate::emulator::request_journal::Entry;
use crate::emulator::socket::ResetSwitch;

/// The largest message: an image of 500 KB, or a minute and a half of audio, as base64.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// The capacity of the read buffer: a frame of 100 ms of audio.
const READ_BUFFER: usize = 8 * 1024;
/// The most bytes that are written but not yet taken by the socket: two messages.
const WRITE_BUFFER: usize = 2 * MESSAGE_BYTES;
/// How long a client may take to answer the close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// How long a client may read nothing.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// The close code for a server that shuts down.
const GOING_AWAY: u16 = 1001;
/// The close code for a message that is too large.
const TOO_BIG: u16 = 1009;
/// The close code for an error of the server.
const INTERNAL: u16 = 1011;

/// What a connection has besides its session.
pub(in crate::emulator) struct SocketContext {
    /// The entry in the journal.
    pub(in crate::emulator) entry: Entry,
    /// Makes the connection end with RST.
    pub(in crate::emulator) reset_switch: ResetSwitch,
    /// The errors of a script.
    pub(in crate::emulator) actions: Vec<SocketAction>,
    /// The time without activity after which the session ends.
    pub(in crate::emulator) idle: Duration,
    /// The longest session.
    pub(in crate::emulator) lifetime: Duration,
}

/// Runs a session on an upgraded connection until either side ends it.
pub(in crate::emulator) async fn run<S: SocketSession>(
    upgrade: OnUpgrade,
    context: SocketContext,
    session: S,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let now = Instant::now();
    let mut connection = Connection {
        socket,
        session,
        out: Outbox::default(),
        actions: PendingActions::new(context.actions),
        log: FrameLog::new(),
        entry: context.entry,
        reset_switch: context.reset_switch,
        idle: context.idle,
        ends_at: now + context.lifetime,
        active_at: now,
        held_until: None,
        unflushed_since: None,
        closing_since: None,
        is_silent: false,
        is_over: false,
    };
    connection.open();
    while !connection.is_over {
        let is_closing = connection.out.is_closing();
        let wake = tokio::select! {
            wake = connection.wait() => wake,
            _ = stopped.wait_for(|stopped| *stopped), if !is_closing => Wake::Stopped,
        };
        connection.handle(wake).await;
        connection.log.note_new_rows(&connection.entry);
    }
    connection.log.note(&connection.entry);
}

/// What a connection waits for.
enum Wake {
    /// A message arrived.
    Frame(Message),
    /// The peer is gone, or broke the protocol.
    Ended(Option<Error>),
    /// Everything that was queued is written.
    Written,
    /// A deadline has passed.
    Time,
    /// The emulator shuts down.
    Stopped,
}

struct Connection<S> {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    session: S,
    out: Outbox,
    actions: PendingActions,
    log: FrameLog,
    entry: Entry,
    reset_switch: ResetSwitch,
    idle: Duration,
    ends_at: Instant,
    active_at: Instant,
    held_until: Option<Instant>,
    unflushed_since: Option<Instant>,
    closing_since: Option<Instant>,
    is_silent: bool,
    is_over: bool,
}

impl<S: SocketSession> Connection<S> {
    fn open(&mut self) {
        for action in self.actions.opened() {
            self.act(action);
        }
        self.session.open(&mut self.out);
    }

    async fn wait(&mut self) -> Wake {
        let mut timer = pin!(sleep_until(self.deadline()));
        poll_fn(|cx| {
            if let Poll::Ready(wake) = self.poll_write(cx) {
                return Poll::Ready(wake);
            }
            if let Poll::Ready(read) = self.socket.poll_next_unpin(cx) {
                return Poll::Ready(match read {
                    Some(Ok(message)) => Wake::Frame(message),
                    Some(Err(error)) => Wake::Ended(Some(error)),
                    None => Wake::Ended(None),
                });
            }
            timer.as_mut().poll(cx).map(|()| Wake::Time)
        })
        .await
    }

    /// Writes what waits. Ready once all of it is flushed, or if the connection is over.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let failed = |error| Poll::Ready(Wake::Ended(Some(error)));
        while self.held_until.is_none() && !self.out.is_empty() {
            match self.socket.poll_ready_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return failed(error),
                Poll::Ready(Ok(())) => {}
            }
            let Some(frame) = self.out.next() else {
                break;
            };
            if let Err(error) = self.write(frame) {
                return failed(error);
            }
            if self.is_over {
                return Poll::Ready(Wake::Ended(None));
            }
        }
        if self.unflushed_since.is_none() {
            return Poll::Pending;
        }
        match self.socket.poll_flush_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => failed(error),
            Poll::Ready(Ok(())) => {
                self.unflushed_since = None;
                Poll::Ready(Wake::Written)
            }
        }
    }

    fn write(&mut self, frame: Outgoing) -> Result<(), Error> {
        if self.is_silent {
            // A closed session ends without a frame.
            self.is_over = matches!(frame, Outgoing::Close(..));
            return Ok(());
        }
        let now = Instant::now();
        self.unflushed_since.get_or_insert(now);
        self.active_at = now;
        let (message, kind) = match frame {
            Outgoing::Text { kind, text } => {
                self.log.text("server", &kind, &text, &self.entry);
                (Message::text(text), kind)
            }
            Outgoing::Binary(bytes) => {
                self.log.binary("server", &bytes, &self.entry);
                (Message::binary(bytes), "binary".to_owned())
            }
            Outgoing::Close(code, reason) => {
                self.log.close("server", code, &reason, &self.entry);
                self.entry.end("completed");
                self.closing_since = Some(now);
                let frame = CloseFrame {
                    code: CloseCode::from(code),
                    reason: reason.into(),
                };
                return self.socket.start_send_unpin(Message::Close(Some(frame)));
            }
        };
        self.socket.start_send_unpin(message)?;
        for action in self.actions.sent(&kind) {
            self.act(action);
        }
        Ok(())
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Close(code, reason) => {
                self.out.drop_waiting();
                self.out.close(code, &reason);
                self.entry.end("closed by script");
            }
            Action::Reset => {
                self.reset_switch.reset_on_close();
                self.entry.end("reset by script");
                self.is_over = true;
            }
            Action::Error(error) => self.fail(&error),
            Action::Silence => self.is_silent = true,
            Action::Delay(delay) => self.held_until = Some(Instant::now() + delay),
            Action::Text(text) => self.out.first(Outgoing::Text {
                kind: "raw".to_owned(),
                text,
            }),
            Action::Binary(bytes) => self.out.first(Outgoing::Binary(bytes)),
        }
    }

    /// Sends an error in place of what waits; all but invalid requests end the session.
    fn fail(&mut self, error: &SocketError) {
        let is_fatal = error.kind != "invalid_request_error";
        if is_fatal {
            self.out.drop_waiting();
        }
        self.session.fail(error, &mut self.out);
        if is_fatal {
            self.out.close(INTERNAL, "internal error");
        }
    }

    async fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Frame(message) => self.receive(message).await,
            Wake::Ended(Some(Error::Capacity(_))) if !self.out.is_closing() => {
                self.out.close(TOO_BIG, "message too big");
            }
            Wake::Ended(_) => self.is_over = true,
            Wake::Written => {}
            Wake::Stopped => self.out.close(GOING_AWAY, "the emulator is shutting down"),
            Wake::Time => self.time(Instant::now()),
        }
        self.is_over |= self.out.overflowed();
    }

    async fn receive(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            // Neither counts as activity.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Close(frame) => {
                let (code, reason) = frame.map_or((NORMAL, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                });
                self.log.close("client", code, &reason, &self.entry);
                self.out.drop_waiting();
                self.closing_since.get_or_insert(now);
                // The answer is written by the library, when the socket is flushed.
                self.unflushed_since.get_or_insert(now);
            }
            Message::Text(text) => {
                self.active_at = now;
                let (kind, id) = frame_kind(&text);
                self.log.text("client", &kind, &text, &self.entry);
                if !self.interrupts(&kind, id) {
                    self.session.text(&text, &mut self.out).await;
                }
            }
            Message::Binary(bytes) => {
                self.active_at = now;
                self.log.binary("client", &bytes, &self.entry);
                if !self.interrupts("binary", None) {
                    self.session.binary(bytes, &mut self.out).await;
                }
            }
        }
    }

    /// Causes what a frame causes; true if an error takes the place of its handling.
    fn interrupts(&mut self, kind: &str, id: Option<String>) -> bool {
        let mut is_error = false;
        for mut action in self.actions.received(kind) {
            if let Action::Error(error) = &mut action {
                is_error = true;
                error.event_id.clone_from(&id);
            }
            self.act(action);
        }
        is_error || self.is_over || self.closing_since.is_some()
    }

    /// The time of the next deadline.
    fn deadline(&self) -> Instant {
        if let Some(since) = self.closing_since {
            return since + CLOSE_WAIT;
        }
        let mut deadline = self.ends_at.min(self.active_at + self.idle);
        if self.out.is_closing() {
            // The limits no longer matter. It is written as soon as the socket takes it.
            deadline = self.unflushed_since.unwrap_or_else(Instant::now) + WRITE_WAIT;
        } else if let Some(since) = self.unflushed_since {
            deadline = deadline.min(since + WRITE_WAIT);
        } else if self.out.is_empty() {
            deadline = self.session.due().map_or(deadline, |due| deadline.min(due));
        }
        self.held_until.map_or(deadline, |held| deadline.min(held))
    }

    fn time(&mut self, now: Instant) {
        let is_past =
            |since: Option<Instant>, wait: Duration| since.is_some_and(|at| at + wait <= now);
        if is_past(self.closing_since, CLOSE_WAIT) || is_past(self.unflushed_since, WRITE_WAIT) {
            self.is_over = true;
        } else if self.held_until.is_some_and(|held| held <= now) {
            self.held_until = None;
        } else if self.out.is_closing() {
            // The close frame waits for the end of a delay.
        } else if self.ends_at <= now {
            let text = "Your session was closed because it reached its maximum duration.";
            self.expire(text.to_owned());
        } else if self.active_at + self.idle <= now {
            let seconds = self.idle.as_secs_f64().ceil();
            self.expire(format!(
                "Your session was closed because no response was generated for {seconds} seconds."
            ));
        } else {
            self.session.advance(&mut self.out);
        }
    }

    fn expire(&mut self, message: String) {
        let error = SocketError {
            kind: "server_error".to_owned(),
            code: "session_expired".to_owned(),
            message,
            ..SocketError::default()
        };
        self.session.fail(&error, &mut self.out);
        self.out.close(NORMAL, "");
    }
}
