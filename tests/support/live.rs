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

use super::emulator::TestEmulator;

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

impl LiveSocket {
    /// Opens a socket, as `/api-ws/v1/realtime?model=M`. The status if it is refused.
    pub async fn open(address: SocketAddr, path: &str, key: &str) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let stream = TcpStream::connect(address).await.unwrap();
        // A delayed frame would arrive after paused time has moved on.
        stream.set_nodelay(true).unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self {
                socket,
                events: Vec::new(),
                binary: Vec::new(),
                next_id: 0,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
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

    /// Sends a text frame, unless the connection ends meanwhile.
    pub async fn try_send_text(&mut self, text: &str) -> Result<(), Error> {
        self.socket.send(Message::text(text)).await
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
                panic!("{end:?} before {kind}, after {:?}", self.events);
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

/// The head of a JPEG image of this size, which is enough to be measured.
pub fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut head = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    head.extend(b"\xff\xc0\0\x11\x08");
    head.extend(height.to_be_bytes());
    head.extend(width.to_be_bytes());
    head.extend(b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9");
    head
}

/// Silence at 16 kHz.
pub fn silence(ms: usize) -> Vec<i16> {
    vec![0; ms * 16]
}

/// Opens a session and updates it; the events so far are dropped.
pub async fn updated_session(served: &TestEmulator, model: &str, session: Value) -> LiveSocket {
    let mut socket = LiveSocket::session(served.address, model).await;
    socket
        .send(json!({"type": "session.update", "session": session}))
        .await;
    socket.until("session.updated").await;
    socket.events.clear();
    socket
}

/// A text of all events of a type.
pub fn texts(events: &[Value], kind: &str, field: &str) -> Vec<String> {
    let found = events.iter().filter(|event| event["type"] == kind);
    found
        .map(|event| event[field].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The types of events, each once, in the order in which they came first.
pub fn order(events: &[Value]) -> Vec<&str> {
    let mut order = Vec::new();
    for event in events {
        let kind = event["type"].as_str().unwrap_or_default();
        if !order.contains(&kind) || kind == "conversation.item.created" {
            order.push(kind);
        }
    }
    order
}
