//! The realtime WebSocket of the fake DashScope. It answers each frame of audio with a frame of the
//! same playing time, as parts of one long response, and reports when a response is cancelled.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::error::Result;
use crate::live_frames::{INPUT_RATE, Length, OUTPUT_RATE, SAMPLE};
use crate::messages::noise;

/// The path of the realtime interface.
pub(crate) const PATH: &str = "/api-ws/v1/realtime";

/// The read buffer of a session, so that a thousand of them fit into the memory of one process.
const READ_BUFFER: usize = 8 * 1024;

const SESSION: &str = concat!(
    r#"{"object":"realtime.session","id":"sess_nzHrOAqGEWkAs2vW0RcvW","#,
    r#""model":"qwen3-omni-flash-realtime","#,
    r#""modalities":["text","audio"],"voice":"Cherry","#,
    r#""input_audio_format":"pcm16","output_audio_format":"pcm24","#,
    r#""turn_detection":null,"tools":[],"tool_choice":"auto","temperature":0.8}"#,
);

/// The frames of audio, which are the same in all sessions.
pub(crate) struct Answers {
    long: Utf8Bytes,
    short: Utf8Bytes,
}

impl Answers {
    /// Frames of both lengths.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            long: delta(Length::Long),
            short: delta(Length::Short),
        })
    }
}

/// The first response of a session, and the item of all audio.
const RESPONSE: &str = "resp_UqqPU9LxUd39jWcIc8qMA";
const ITEM: &str = "item_8saFwO5vYFiU1gBVnYjge";

fn delta(length: Length) -> Utf8Bytes {
    let audio = STANDARD.encode(noise(length.bytes(OUTPUT_RATE)));
    format!(
        "{{\"event_id\":\"event_PNqj4oo3Nd0vC4nBvDxMn\",\"type\":\"response.audio.delta\",\
         \"response_id\":\"{RESPONSE}\",\"item_id\":\"{ITEM}\",\"output_index\":0,\
         \"content_index\":0,\"delta\":\"{audio}\"}}"
    )
    .into()
}

/// A frame of the client.
#[derive(Deserialize)]
struct ClientEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    audio: &'a str,
}

/// The headers of the answer to a handshake, and the connection that follows it.
pub(crate) fn handshake(request: &mut Request<Incoming>) -> Option<(http::HeaderMap, OnUpgrade)> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?;
    let mut headers = http::HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Some((headers, hyper::upgrade::on(request)))
}

/// Serves a session until its connection ends. `cancelled` gets the time of each `response.cancel`.
pub(crate) async fn serve(
    upgrade: OnUpgrade,
    answers: Arc<Answers>,
    cancelled: mpsc::Sender<Instant>,
) -> Result<()> {
    let parts = upgrade.await?.downcast::<TokioIo<TcpStream>>();
    let parts = parts.map_err(|_| "the connection is not one of TCP")?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0);
    let (stream, rest) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config));
    let mut socket = socket.await;
    let created = format!("{{\"type\":\"session.created\",\"session\":{SESSION}}}");
    socket.send(Message::text(created)).await?;
    let (mut is_running, mut cancels) = (false, 0);
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        let at = Instant::now();
        let event: ClientEvent<'_> = serde_json::from_str(&text)?;
        match event.kind {
            "session.update" => {
                let updated = format!("{{\"type\":\"session.updated\",\"session\":{SESSION}}}");
                socket.feed(Message::text(updated)).await?;
            }
            "input_audio_buffer.append" => {
                if !std::mem::replace(&mut is_running, true) {
                    socket
                        .feed(Message::text(response("created", "in_progress", cancels)))
                        .await?;
                }
                socket
                    .feed(Message::Text(answer(event.audio, &answers, cancels)?))
                    .await?;
            }
            "response.cancel" => {
                // The reader takes what it waits for, and leaves the rest.
                let _ = cancelled.try_send(at);
                if std::mem::take(&mut is_running) {
                    socket
                        .feed(Message::text(response("done", "cancelled", cancels)))
                        .await?;
                    cancels += 1;
                }
            }
            _ => {}
        }
        socket.flush().await?;
    }
    Ok(())
}

/// The audio of the same playing time. Input of an unexpected length is an error of the gateway.
fn answer(audio: &str, answers: &Answers, cancels: usize) -> Result<Utf8Bytes> {
    let padding = audio.len() - audio.trim_end_matches('=').len();
    let bytes = (audio.len() / 4 * 3).saturating_sub(padding);
    for (length, answer) in [
        (Length::Long, &answers.long),
        (Length::Short, &answers.short),
    ] {
        if bytes == length.bytes(INPUT_RATE) {
            return Ok(match cancels {
                0 => answer.clone(),
                _ => answer.replacen(RESPONSE, &response_id(cancels), 1).into(),
            });
        }
    }
    Err(format!("{} samples of audio arrived", bytes / SAMPLE).into())
}

/// The id of the response after so many cancelled ones: no two have the same.
fn response_id(cancels: usize) -> String {
    match cancels {
        0 => RESPONSE.to_owned(),
        _ => format!("resp_{cancels:021}"),
    }
}

fn response(event: &str, status: &str, cancels: usize) -> String {
    let id = response_id(cancels);
    format!(
        "{{\"event_id\":\"event_XAdxBRzxpnhgT0j9Ln0CS\",\"type\":\"response.{event}\",\
         \"response\":{{\"id\":\"{id}\",\"object\":\"realtime.response\",\"status\":\
         \"{status}\",\"modalities\":[\"text\",\"audio\"],\"voice\":\"Cherry\",\
         \"output_audio_format\":\"pcm24\",\"output\":[]}}}}"
    )
}
