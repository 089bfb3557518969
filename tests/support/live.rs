//! A WebSocket client of the emulator, which records every event.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Nothing in a test takes this long, not even with paused time.
const LIMIT: Duration = Duration::from_secs(36_000);

/// A socket, and what arrived on it.
pub struct LiveSocket {
    socket: WebSocketStream<TcpStream>,
    /// The events that arrived, in order.
    pub events: Vec<Value>,
    /// The binary frames that arrived.
    pub binary: Vec<Vec<u8>>,
    next_id: usize,
}

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// With a close frame.
    Closed(u16, String),
    /// Without one.
    Lost,
}

/// The status and the body of a refused upgrade.
pub type Refused = (u16, Value);

impl LiveSocket {
    /// Opens a socket, as `/api-ws/v1/realtime?model=M`.
    pub async fn open(address: SocketAddr, path: &str, key: &str) -> Result<Self, Refused> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self {
                socket,
                events: Vec::new(),
                binary: Vec::new(),
                next_id: 0,
            }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                Err((response.status().as_u16(), body))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a realtime session.
    pub async fn session(address: SocketAddr, model: &str) -> Self {
        let path = format!("/api-ws/v1/realtime?model={model}");
        Self::open(address, &path, "sk-test").await.unwrap()
    }

    /// Sends an event, with a new event id, which is returned.
    pub async fn send(&mut self, mut event: Value) -> String {
        self.next_id += 1;
        let id = format!("event_{}", self.next_id);
        event["event_id"] = json!(id);
        self.send_text(&event.to_string()).await;
        id
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends a binary frame.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.socket.send(Message::binary(bytes)).await.unwrap();
    }

    /// Appends audio in frames of 100 ms at 16 kHz.
    pub async fn speak(&mut self, samples: &[i16]) {
        for frame in samples.chunks(1600) {
            let bytes: Vec<u8> = frame.iter().flat_map(|s| s.to_le_bytes()).collect();
            let audio = STANDARD.encode(bytes);
            self.send(json!({"type": "input_audio_buffer.append", "audio": audio}))
                .await;
        }
    }

    /// The next event, or how the socket ended.
    pub async fn next(&mut self) -> Result<Value, SocketEnd> {
        loop {
            let next = timeout(LIMIT, self.socket.next()).await.unwrap();
            match next {
                Some(Ok(Message::Text(text))) => {
                    let event = serde_json::from_str(&text);
                    let event: Value = event.unwrap_or_else(|_| json!({"raw": text.as_str()}));
                    self.events.push(event.clone());
                    return Ok(event);
                }
                Some(Ok(Message::Binary(bytes))) => {
                    self.binary.push(bytes.to_vec());
                    return Ok(json!({"binary": bytes.len()}));
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    let (code, reason) = frame.unwrap_or_default();
                    let _ = timeout(LIMIT, self.socket.next()).await;
                    return Err(SocketEnd::Closed(code, reason));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(SocketEnd::Lost),
            }
        }
    }

    /// The first event of a type from now on.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            let event = event.unwrap_or_else(|end| {
                panic!("{end:?} before {kind}, after {:?}", self.kinds());
            });
            if name(&event) == kind {
                return event;
            }
        }
    }

    /// How the socket ends.
    pub async fn end(&mut self) -> SocketEnd {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Closes the socket.
    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while self.next().await.is_ok() {}
    }

    /// The types of the events so far; consecutive equal ones are one.
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.events.iter().map(name).collect();
        kinds.dedup();
        kinds
    }
}

/// The type of an event, or the name of an event of a task.
pub fn name(event: &Value) -> String {
    let name = event["type"].as_str().or(event["header"]["event"].as_str());
    name.unwrap_or_default().to_owned()
}

/// A tone of 440 Hz at 16 kHz.
pub fn tone(ms: usize) -> Vec<i16> {
    let sample = |n: usize| (8000.0 * (n as f64 * 0.172_787_596).sin()) as i16;
    (0..ms * 16).map(sample).collect()
}

/// Silence at 16 kHz.
pub fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 16]
}
