//! Live sessions of the load: over gRPC, or straight over DashScope's WebSocket.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use h2::{RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Ask, Line};
use crate::counted::{self, Counted};
use crate::error::Result;
use crate::fake_live;
use crate::live_frames::{Event, Input, Length, Messages, event_of, setup};
use crate::subject::{Subject, Variant};

/// Speech in, speech out.
pub(crate) const CONVERSE_LIVE: &str = "/dashgate.v1.LiveService/ConverseLive";

/// The sessions of one HTTP/2 connection.
pub(crate) const ON_A_CONNECTION: usize = 25;

/// How many sessions are opened at the same moment.
const TOGETHER: usize = 25;

/// How long a session may take to open.
const OPENING: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<Counted>;

/// The side of a session that sends.
pub(crate) enum Sender {
    /// A stream of gRPC.
    Grpc(SendStream<Bytes>),
    /// A WebSocket.
    Socket(SplitSink<Socket, Message>),
}

impl Sender {
    /// Sends a message.
    pub(crate) async fn send(&mut self, input: &Input) -> Result<()> {
        match self {
            // Messages are small, and h2 holds what flow control does not take yet.
            Self::Grpc(stream) => Ok(stream.send_data(input.grpc.clone(), false)?),
            Self::Socket(socket) => Ok(socket.send(Message::Text(input.text.clone())).await?),
        }
    }
}

/// The side of a session that receives.
pub(crate) enum Receiver {
    /// A stream of gRPC.
    Grpc(RecvStream, Messages),
    /// A WebSocket.
    Socket(SplitStream<Socket>, Length),
}

impl Receiver {
    /// The next event. The end of the session is an error.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        match self {
            Self::Grpc(body, messages) => loop {
                if let Some(event) = messages.next()? {
                    return Ok(event);
                }
                let Some(data) = body.data().await else {
                    let trailers = body.trailers().await?.unwrap_or_default();
                    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
                    let code = text("grpc-status").unwrap_or_default();
                    let message = text("grpc-message").unwrap_or_default();
                    return Err(format!("the session ended: gRPC code {code}, {message}").into());
                };
                let data = data?;
                let _ = body.flow_control().release_capacity(data.len());
                messages.feed(&data);
            },
            Self::Socket(socket, length) => loop {
                match socket.next().await.ok_or("the session ended")?? {
                    Message::Text(text) => return Ok(event_of(&text, *length)),
                    Message::Close(_) => return Err("the session was closed".into()),
                    Message::Binary(_)
                    | Message::Ping(_)
                    | Message::Pong(_)
                    | Message::Frame(_) => {}
                }
            },
        }
    }

    async fn until(&mut self, wanted: Event) -> Result<()> {
        while self.next().await? != wanted {}
        Ok(())
    }
}

/// An open session.
pub(crate) struct Session {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

/// Where sessions are opened.
#[derive(Clone)]
pub(crate) enum Target {
    /// A gateway, over these connections in turn.
    Gateway(Rc<Vec<Line>>, Rc<Ask>),
    /// The fake.
    Direct(SocketAddr, Length),
}

impl Target {
    /// The target of a process, with connections for so many sessions.
    pub(crate) async fn new(
        subject: &Subject,
        variant: Variant,
        (sessions, length): (usize, Length),
    ) -> Result<Self> {
        if variant == Variant::Direct {
            return Ok(Self::Direct(subject.address, length));
        }
        let mut lines = Vec::new();
        for _ in 0..sessions.div_ceil(ON_A_CONNECTION) {
            lines.push(Line::connect(subject.address).await?);
        }
        Ok(Self::Gateway(Rc::new(lines), Rc::new(ask(subject)?)))
    }

    async fn open(&self, number: usize) -> Result<Session> {
        match self {
            Self::Gateway(lines, ask) => {
                let line = lines.get(number % lines.len()).ok_or("no connection")?;
                open(line, ask).await
            }
            Self::Direct(address, length) => {
                direct(*address, *length, &counted::Bytes::default()).await
            }
        }
    }
}

/// The call that opens a session of a gateway.
pub(crate) fn ask(subject: &Subject) -> Result<Ask> {
    let key = subject.key.as_deref();
    Ask::new(subject.address, CONVERSE_LIVE, key, "900S", &setup())
}

/// Opens so many sessions, the first of which has this number.
pub(crate) async fn open_all(target: &Target, first: usize, count: usize) -> Result<Vec<Session>> {
    let mut sessions = Vec::with_capacity(count);
    while sessions.len() < count {
        let mut opening = JoinSet::new();
        let from = first + sessions.len();
        for number in from..(first + count).min(from + TOGETHER) {
            let target = target.clone();
            opening.spawn_local(async move { timeout(OPENING, target.open(number)).await? });
        }
        for session in opening.join_all().await {
            sessions.push(session?);
        }
    }
    Ok(sessions)
}

/// Opens a session of a gateway.
pub(crate) async fn open(line: &Line, ask: &Ask) -> Result<Session> {
    let (response, mut sender) = line.begin(ask).await?;
    sender.send_data(ask.body.clone(), false)?;
    let (head, body) = response.await?.into_parts();
    if let Some(code) = head.headers.get("grpc-status") {
        let message = head.headers.get("grpc-message");
        return Err(format!("the session was refused: gRPC code {code:?}, {message:?}").into());
    }
    let mut receiver = Receiver::Grpc(body, Messages::default());
    receiver.until(Event::Started).await?;
    Ok(Session {
        sender: Sender::Grpc(sender),
        receiver,
    })
}

/// Opens a session of the fake, as a client of DashScope does.
pub(crate) async fn direct(
    address: SocketAddr,
    length: Length,
    bytes: &counted::Bytes,
) -> Result<Session> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = Counted {
        stream,
        bytes: bytes.clone(),
    };
    let url = format!("ws://{address}{}?model=bench", fake_live::PATH);
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    let (mut sender, receiver) = socket.split();
    let update = "{\"type\":\"session.update\",\"session\":{\"turn_detection\":null}}";
    sender.send(Message::text(update)).await?;
    let mut receiver = Receiver::Socket(receiver, length);
    receiver.until(Event::Started).await?;
    Ok(Session {
        sender: Sender::Socket(sender),
        receiver,
    })
}
