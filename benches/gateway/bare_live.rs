//! Live sessions of the bare gateway: tonic on one side, tokio-tungstenite on the other, with
//! base64 and JSON between them. It has no journal, no repair, no clocks and no limits.

use std::net::SocketAddr;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::grpc::pb::live_service_server::LiveService;
use dashgate::grpc::pb::{
    self, ConverseLiveRequest, ConverseLiveResponse, SynthesizeLiveRequest, SynthesizeLiveResponse,
    converse_live_request, converse_live_response, response_delta,
};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_stream::Stream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::fake_live::PATH;

type Socket = WebSocketStream<TcpStream>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Passes sessions on to DashScope.
pub(crate) struct Relay {
    upstream: SocketAddr,
}

impl Relay {
    /// A relay to this address.
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        Self { upstream }
    }

    async fn connect(&self, setup: pb::LiveSetup) -> crate::Result<Socket> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{}{PATH}?model={}", self.upstream, setup.model);
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let update = ClientEvent::Update {
            session: SessionUpdate {
                modalities: setup.modalities,
                voice: setup.voice,
                turn_detection: None,
            },
        };
        socket
            .send(Message::text(serde_json::to_string(&update)?))
            .await?;
        Ok(socket)
    }
}

#[tonic::async_trait]
impl LiveService for Relay {
    type ConverseLiveStream = Events<ConverseLiveResponse>;
    type SynthesizeLiveStream = Events<SynthesizeLiveResponse>;

    async fn converse_live(
        &self,
        request: Request<Streaming<ConverseLiveRequest>>,
    ) -> Result<Response<Self::ConverseLiveStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.event);
        let Some(converse_live_request::Event::Setup(setup)) = first else {
            return Err(Status::invalid_argument("the first message has no setup"));
        };
        let socket = self.connect(setup).await;
        let socket = socket.map_err(|error| Status::unavailable(error.to_string()))?;
        let (sink, stream) = socket.split();
        tokio::spawn(async move {
            // The other direction reports that the connection broke.
            let _ = send(messages, sink).await;
        });
        Ok(Response::new(receive(stream)))
    }

    async fn synthesize_live(
        &self,
        _: Request<Streaming<SynthesizeLiveRequest>>,
    ) -> Result<Response<Self::SynthesizeLiveStream>, Status> {
        Err(Status::unimplemented(
            "the bare gateway has no speech synthesis",
        ))
    }
}

/// An event for DashScope.
#[derive(Serialize)]
#[serde(tag = "type")]
enum ClientEvent {
    #[serde(rename = "session.update")]
    Update { session: SessionUpdate },
    #[serde(rename = "input_audio_buffer.append")]
    Append { audio: String },
    #[serde(rename = "response.cancel")]
    Cancel,
}

#[derive(Serialize)]
struct SessionUpdate {
    modalities: Vec<String>,
    voice: String,
    turn_detection: Option<()>,
}

async fn send(
    mut messages: Streaming<ConverseLiveRequest>,
    mut socket: SplitSink<Socket, Message>,
) -> crate::Result<()> {
    while let Some(message) = messages.message().await? {
        let event = match message.event {
            Some(converse_live_request::Event::Audio(audio)) => ClientEvent::Append {
                audio: STANDARD.encode(audio),
            },
            Some(converse_live_request::Event::CancelResponse(_)) => ClientEvent::Cancel,
            Some(_) | None => continue,
        };
        socket
            .send(Message::text(serde_json::to_string(&event)?))
            .await?;
    }
    Ok(socket.close().await?)
}

/// An event of DashScope.
#[derive(Deserialize)]
struct ServerEvent {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    response_id: String,
    #[serde(default)]
    item_id: String,
    #[serde(default)]
    delta: String,
    #[serde(default)]
    response: ResponseObject,
}

#[derive(Default, Deserialize)]
struct ResponseObject {
    id: String,
}

fn receive(socket: SplitStream<Socket>) -> Events<ConverseLiveResponse> {
    let mut sequence = 0;
    Box::pin(socket.filter_map(move |message| {
        let event = message.map_err(|error| Status::unavailable(error.to_string()));
        let event = event.and_then(|message| match message {
            Message::Text(text) => decode(&text),
            Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => Ok(None),
        });
        let event = event.transpose();
        let response = event.map(|event| {
            sequence += 1;
            event.map(|event| ConverseLiveResponse {
                sequence,
                event: Some(event),
            })
        });
        std::future::ready(response)
    }))
}

fn decode(text: &str) -> Result<Option<converse_live_response::Event>, Status> {
    use converse_live_response::Event;
    let event: ServerEvent =
        serde_json::from_str(text).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Some(match event.kind.as_str() {
        "session.created" => Event::SessionStarted(pb::SessionStarted::default()),
        "session.updated" => Event::SessionUpdated(pb::SessionUpdated::default()),
        "response.created" => Event::ResponseStarted(pb::ResponseStarted {
            response_id: event.response.id,
        }),
        "response.audio.delta" => {
            let audio = STANDARD.decode(event.delta);
            let audio = audio.map_err(|error| Status::internal(error.to_string()))?;
            Event::ResponseDelta(pb::ResponseDelta {
                response_id: event.response_id,
                item_id: event.item_id,
                part: Some(response_delta::Part::Audio(audio.into())),
            })
        }
        "response.done" => Event::ResponseCompleted(pb::ResponseCompleted {
            response_id: event.response.id,
            ..Default::default()
        }),
        _ => return Ok(None),
    }))
}
