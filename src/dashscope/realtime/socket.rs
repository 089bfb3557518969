//! A connection of the realtime interface: events go in and come out.

use std::time::Duration;

use crate::chat::live_event::UpstreamEvent;
use crate::chat::live_session::{AudioEncoding, AudioFormat, LiveSetup, LiveTask};
use crate::dashscope::errors;
use crate::dashscope::http;
use crate::error::{Error, Reason, Sent};
use crate::http1::head::Request;
use crate::http1::{Client, Incoming, Upgrade, WebSocket, WebSocketError};

use super::client_event::{ClientEvent, EventId, FinishWay};
use super::codec::Codec;
use super::dialect::{Dialect, DialectTask, ResponseForm};
use super::errors::close_error;

/// The maximum number of bytes read of the response of a refused handshake.
const MAX_REFUSAL: usize = 64 * 1024;

/// The code of a close frame without an error.
const NORMAL_CLOSURE: u16 = 1000;

/// What the life of a session depends on, of the dialect and the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveProfile {
    /// The sample rate of input audio, as the caller sends it.
    pub caller_input_rate: u32,
    /// The sample rate of input audio, as DashScope accepts it.
    pub input_rate: u32,
    /// Whether input audio is PCM.
    pub input_is_pcm: bool,
    /// The sample rate of output audio for the caller; `None` for that of DashScope.
    pub caller_output_rate: Option<u32>,
    /// The sample rate of output audio, as DashScope produces it.
    pub output_rate: u32,
    /// Whether output audio is PCM.
    pub output_is_pcm: bool,
    /// Whether no format of output audio is configured, so that the model's own applies.
    pub output_is_default: bool,
    /// Whether turns are answered with responses, which can be requested and cancelled.
    pub has_responses: bool,
    /// Whether the text of a conversation can be restored.
    pub has_items: bool,
    /// Whether the end of a cancelled response is reported.
    pub completes_cancelled: bool,
    /// Whether text is spoken only when it is committed.
    pub is_committed: bool,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveEnding {
    /// DashScope was asked to end it, and confirms.
    Acknowledged,
    /// The connection is closed.
    Close,
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub struct LiveSocket {
    socket: Box<WebSocket>,
    codec: Codec,
    profile: LiveProfile,
}

impl LiveSocket {
    /// Opens a connection for this session.
    pub(in crate::dashscope) async fn open(
        client: &Client,
        head: Request,
        setup: &LiveSetup,
        dialect: &'static Dialect,
    ) -> Result<Self, Error> {
        // What the model does not support is refused before anything is sent.
        let accepted = accepted(setup, dialect);
        Codec::new(&accepted, dialect).setup()?;
        let socket = match client.upgrade(head).await.map_err(http::send_error)? {
            Upgrade::Open(socket, _) => socket,
            Upgrade::Refused(response) if (200..300).contains(&response.status) => {
                let message = "DashScope answered the WebSocket handshake with another response";
                let error = Error::new(Reason::UpstreamProtocol, message);
                return Err(error.with_sent(Sent::Refused));
            }
            Upgrade::Refused(response) => {
                let body = http::read_body(response.body, MAX_REFUSAL).await;
                return Err(errors::of_answer(response.status, &response.headers, &body));
            }
        };
        Ok(Self {
            socket,
            codec: Codec::new(&accepted, dialect),
            profile: profile(setup, &accepted, dialect),
        })
    }

    /// What the life of the session depends on.
    pub fn profile(&self) -> LiveProfile {
        self.profile
    }

    /// Configures the session. The error is that of a field of the setup.
    pub fn setup(&mut self) -> Result<EventId, Error> {
        let frame = self.codec.setup()?;
        self.socket.send(frame.text);
        Ok(frame.event_id)
    }

    /// Queues an event. The error is that of a field which the model does not support; the
    /// connection is not affected.
    pub fn send(&mut self, event: &ClientEvent<'_>) -> Result<EventId, Error> {
        let frame = self.codec.encode(event)?;
        self.socket.send(frame.text);
        Ok(frame.event_id)
    }

    /// Asks DashScope to end the session, if its model can be asked.
    pub fn finish(&mut self) -> LiveEnding {
        match self.codec.finish() {
            Ok(FinishWay::Acknowledged(frame)) => {
                self.socket.send(frame.text);
                LiveEnding::Acknowledged
            }
            Ok(FinishWay::Unacknowledged(frame)) => {
                self.socket.send(frame.text);
                LiveEnding::Close
            }
            Ok(FinishWay::Close) | Err(_) => LiveEnding::Close,
        }
    }

    /// The next event. Writes queued events meanwhile. An error ends the connection.
    pub async fn next(&mut self) -> Result<UpstreamEvent, Error> {
        match self.socket.next().await.map_err(broken)? {
            Incoming::Text(text) => self.codec.decode(&text),
            // DashScope sends none; its own client reads JSON from them.
            Incoming::Binary(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.codec.decode(text),
                Err(_) => {
                    let message = "DashScope sent a binary frame in a live session";
                    let error = Error::new(Reason::UpstreamProtocol, message);
                    Err(error.with_sent(Sent::Begun))
                }
            },
            Incoming::Close { code, reason } => Err(close_error(code, &reason)),
        }
    }

    /// The next event, if the caller can take one. Writes queued events in any case.
    pub async fn drive(&mut self, reads: bool) -> Result<UpstreamEvent, Error> {
        if reads {
            return self.next().await;
        }
        self.flush().await?;
        // Nothing is left to be written.
        std::future::pending().await
    }

    /// Writes queued events and reads nothing.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.socket.flush().await.map_err(broken)
    }

    /// Queues the close frame.
    pub fn close(&mut self) {
        self.socket.close(NORMAL_CLOSURE);
    }

    /// The bytes of queued events.
    pub fn outgoing_bytes(&self) -> usize {
        self.socket.outgoing_bytes()
    }

    /// How long DashScope has taken nothing of what is to be written.
    pub fn stalled(&self) -> Option<Duration> {
        self.socket.stalled()
    }
}

fn broken(error: WebSocketError) -> Error {
    match error {
        WebSocketError::Broken(cause) => close_error(None, "").with_source(cause),
        WebSocketError::Protocol(_) | WebSocketError::TooLarge => {
            let message = "DashScope's WebSocket cannot be read";
            let failed = Error::new(Reason::UpstreamProtocol, message).with_source(error);
            failed.with_sent(Sent::Begun)
        }
    }
}

/// The setup with formats that the model accepts, where others can be resampled.
fn accepted(setup: &LiveSetup, dialect: &Dialect) -> LiveSetup {
    let mut accepted = setup.clone();
    match &mut accepted.task {
        LiveTask::Converse(task) => {
            task.input_audio = dialect.input.nearest(task.input_audio);
            task.output_audio = dialect.output.nearest(task.output_audio);
        }
        LiveTask::Synthesize(task) => {
            task.output_audio = dialect.output.nearest(task.output_audio);
        }
    }
    accepted
}

fn profile(setup: &LiveSetup, accepted: &LiveSetup, dialect: &Dialect) -> LiveProfile {
    let (input, output) = accepted.task.audio_formats();
    let (caller_input, caller_output) = setup.task.audio_formats();
    let input_rate = input.sample_rate.unwrap_or(dialect.input.default_rate());
    let is_committed = match &setup.task {
        LiveTask::Converse(_) => false,
        LiveTask::Synthesize(setup) => setup.is_committed,
    };
    LiveProfile {
        caller_input_rate: caller_input.sample_rate.unwrap_or(input_rate),
        input_rate,
        input_is_pcm: input.encoding == AudioEncoding::Pcm,
        caller_output_rate: caller_output.sample_rate,
        output_rate: output.sample_rate.unwrap_or(dialect.output.default_rate()),
        output_is_pcm: output.encoding == AudioEncoding::Pcm,
        output_is_default: output == AudioFormat::default()
            && dialect.task == DialectTask::Converse,
        has_responses: dialect.task == DialectTask::Converse
            && dialect.response != ResponseForm::Automatic,
        has_items: dialect.items,
        completes_cancelled: dialect.completes_cancelled,
        is_committed,
    }
}
