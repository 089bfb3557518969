//! WebSockets (RFC 6455) on connections of this client. The library handles frames, masking,
//! fragments and pings; the handshake is an exchange like any other.
//!
//! One future reads and writes ([`WebSocket::next`]), so that a host which stops reading cannot
//! stop the caller from noticing what it sends, and dropping the socket closes its connection.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Sink as _;
use futures_util::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::headers::Headers;
use super::socket::Socket;

/// The maximum message: minutes of audio as base64. DashScope's have a tenth of a second.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// The buffer for reading. It is allocated for each socket, also for one that is silent.
const READ_BUFFER: usize = 8 * 1024;

/// The data that the library may hold for writing, beyond the message that it is given.
const WRITE_BUFFER: usize = 64 * 1024;

/// A message from the host.
#[derive(Debug)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The host closes the connection.
    Close {
        /// The code, if there is one.
        code: Option<u16>,
        /// The reason.
        reason: String,
    },
}

/// Why a WebSocket is over.
#[derive(Debug)]
pub enum WebSocketError {
    /// The connection broke, or ended without a close frame.
    Broken(io::Error),
    /// The host violated the protocol.
    Protocol(String),
    /// A message of the host is longer than [`MAX_MESSAGE`].
    TooLarge,
}

impl fmt::Display for WebSocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Protocol(what) => write!(f, "invalid websocket frame: {what}"),
            Self::TooLarge => write!(f, "a message is larger than {MAX_MESSAGE} bytes"),
        }
    }
}

impl std::error::Error for WebSocketError {}

/// An open WebSocket. Dropping it closes the connection.
pub struct WebSocket {
    stream: WebSocketStream<Upgraded>,
    /// Messages that the library has not taken.
    outgoing: VecDeque<Message>,
    outgoing_bytes: usize,
    /// Whether the library holds data that is not flushed.
    unflushed: bool,
    /// Since when nothing could be written.
    stalled: Option<Instant>,
    closed: bool,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}

impl WebSocket {
    /// A WebSocket on this socket. `rest` came with the head of the response.
    pub(super) async fn new(socket: Socket, rest: &[u8]) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER + MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let stream = WebSocketStream::from_partially_read(
            Upgraded(socket),
            rest.to_vec(),
            Role::Client,
            Some(config),
        );
        Self {
            stream: stream.await,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            unflushed: false,
            stalled: None,
            closed: false,
        }
    }

    /// Queues a text message, which [`WebSocket::next`] writes. The caller limits the queue by
    /// [`WebSocket::outgoing_bytes`].
    pub fn send(&mut self, text: String) {
        self.outgoing_bytes += text.len();
        self.outgoing.push_back(Message::Text(text.into()));
    }

    /// Queues a close frame with this code.
    pub fn close(&mut self, code: u16) {
        if !std::mem::replace(&mut self.closed, true) {
            let frame = CloseFrame {
                code: code.into(),
                reason: Utf8Bytes::default(),
            };
            self.outgoing.push_back(Message::Close(Some(frame)));
        }
    }

    /// The bytes of queued messages.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing_bytes
    }

    /// How long the host has taken nothing of what is to be written.
    pub fn stalled(&self) -> Option<Duration> {
        self.stalled.map(|since| since.elapsed())
    }

    /// The next message. Writes queued messages meanwhile. Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> Result<Incoming, WebSocketError> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                return Poll::Ready(Err(error));
            }
            self.poll_read(cx)
        })
        .await
    }

    /// Writes queued messages and reads nothing. Completes when all are written, or with an error.
    pub async fn flush(&mut self) -> Result<(), WebSocketError> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WebSocketError>> {
        let written = self.poll_outgoing(cx);
        match &written {
            Poll::Pending if self.stalled.is_none() => self.stalled = Some(Instant::now()),
            Poll::Pending => {}
            Poll::Ready(_) => self.stalled = None,
        }
        written.map_err(error)
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outgoing.is_empty() {
            std::task::ready!(Pin::new(&mut self.stream).poll_ready(cx))?;
            let Some(message) = self.outgoing.pop_front() else {
                break;
            };
            self.outgoing_bytes = self.outgoing_bytes.saturating_sub(message.len());
            self.stalled = None;
            self.unflushed = true;
            Pin::new(&mut self.stream).start_send(message)?;
        }
        if self.unflushed {
            std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, WebSocketError>> {
        loop {
            let message = std::task::ready!(Pin::new(&mut self.stream).poll_next(cx));
            let incoming = match message {
                None => Err(WebSocketError::Broken(io::ErrorKind::UnexpectedEof.into())),
                Some(Err(failed)) => Err(error(failed)),
                Some(Ok(Message::Text(text))) => Ok(Incoming::Text(text)),
                Some(Ok(Message::Binary(bytes))) => Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Close(frame))) => Ok(Incoming::Close {
                    code: frame.as_ref().map(|frame| frame.code.into()),
                    reason: frame.map_or_else(String::new, |frame| frame.reason.to_string()),
                }),
                // The library answers pings by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            };
            return Poll::Ready(incoming);
        }
    }
}

fn error(error: Error) -> WebSocketError {
    match error {
        Error::Io(error) => WebSocketError::Broken(error),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            WebSocketError::Broken(io::ErrorKind::ConnectionAborted.into())
        }
        // The end of the connection, between frames or in the middle of one.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            WebSocketError::Broken(io::ErrorKind::UnexpectedEof.into())
        }
        Error::Capacity(_) => WebSocketError::TooLarge,
        Error::Tls(_)
        | Error::Protocol(_)
        | Error::WriteBufferFull(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => WebSocketError::Protocol(error.to_string()),
    }
}

/// A new key of a handshake.
pub(super) fn key() -> String {
    generate_key()
}

/// Checks the headers of a response that switches protocols.
pub(super) fn check(headers: &Headers, key: &str) -> Result<(), &'static str> {
    let is = |name, expected: &str| {
        let text = headers.text(name);
        text.is_some_and(|text| text.trim().eq_ignore_ascii_case(expected))
    };
    if !is("upgrade", "websocket") {
        return Err("the answer switches to another protocol than WebSocket");
    }
    if headers.text("sec-websocket-accept").map(str::trim)
        != Some(&derive_accept_key(key.as_bytes()))
    {
        return Err("sec-websocket-accept does not belong to the request");
    }
    if headers.text("sec-websocket-extensions").is_some() {
        return Err("the answer has WebSocket extensions that were not offered");
    }
    Ok(())
}

/// A socket whose protocol was switched.
struct Upgraded(Socket);

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection ends when the socket is dropped.
        Poll::Ready(Ok(()))
    }
}
