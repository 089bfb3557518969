//! A scripted realtime interface of DashScope. Each connection is played by the test, event by
//! event; what the gateway sends is recorded.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::grpc::pb;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::gateway::Running;
use super::live_call::LiveCall;

/// The frames, orders and connections that may wait: more than any test has.
const QUEUE: usize = 1 << 20;

/// How long a frame or a connection may take. Time is paused in most tests.
const PATIENCE: Duration = Duration::from_secs(36_000);

/// A listener whose connections are played by the test.
pub struct RealtimeUpstream {
    /// Its address.
    pub address: SocketAddr,
    sockets: mpsc::Receiver<UpstreamSocket>,
    refusals: Arc<Mutex<VecDeque<Refusal>>>,
    requests: Arc<Mutex<Vec<Upgrade>>>,
    task: JoinHandle<()>,
}

/// A refused upgrade: the status, a header, and the body.
type Refusal = (u16, Option<(&'static str, String)>, String);

/// The request of an upgrade.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The path with its query.
    pub path: String,
    /// The headers, with lower-case names.
    pub headers: Vec<(String, String)>,
}

/// A connection of the gateway.
pub struct UpstreamSocket {
    /// The request that opened it.
    pub request: Upgrade,
    /// The frames that were taken so far, in order.
    pub seen: Vec<Value>,
    orders: mpsc::Sender<Order>,
    frames: mpsc::Receiver<Value>,
    end: JoinHandle<SocketEnd>,
}

/// How the gateway ended a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// With a close frame of this code.
    Closed(u16),
    /// Without one.
    Lost,
    /// It did not: the test did.
    Ours,
}

/// What a connection does next.
enum Order {
    Send(Message),
    Read(bool),
    Reset,
    Cut,
}

impl Drop for RealtimeUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RealtimeUpstream {
    /// Starts the listener.
    pub async fn start() -> Self {
        // Hundreds of sessions may connect before any is accepted, and paused time does not wait
        // for the second attempt of the kernel.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(4096).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, sockets) = mpsc::channel(QUEUE);
        let refusals: Arc<Mutex<VecDeque<Refusal>>> = Arc::default();
        let requests: Arc<Mutex<Vec<Upgrade>>> = Arc::default();
        let (refused, seen) = (Arc::clone(&refusals), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let refusal = refused.lock().unwrap().pop_front();
                tokio::spawn(serve(stream, refusal, Arc::clone(&seen), accepted.clone()));
            }
        });
        Self {
            address,
            sockets,
            refusals,
            requests,
            task,
        }
    }

    /// The base URL of its HTTP interface, for settings.
    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Refuses one upgrade, after those that are to be refused already.
    pub fn refuse(&self, status: u16, header: Option<(&'static str, &str)>, body: &Value) {
        let header = header.map(|(name, value)| (name, value.to_owned()));
        let refusal = (status, header, body.to_string());
        self.refusals.lock().unwrap().push_back(refusal);
    }

    /// The upgrades that were requested so far, refused ones included.
    pub fn requests(&self) -> Vec<Upgrade> {
        self.requests.lock().unwrap().clone()
    }

    /// The next connection. Nothing was sent on it.
    pub async fn accept(&mut self) -> UpstreamSocket {
        let socket = timeout(PATIENCE, self.sockets.recv()).await;
        socket.expect("a connection in time").unwrap()
    }

    /// Whether a connection has come that was not accepted.
    pub fn has_connection(&self) -> bool {
        !self.sockets.is_empty()
    }

    /// The next connection, on which a session has started.
    pub async fn session(&mut self) -> UpstreamSocket {
        let socket = self.accept().await;
        socket.session_created();
        socket
    }

    /// A session of a caller, and its connection. The first update was read and confirmed.
    pub async fn open(
        &mut self,
        gateway: &Running,
        setup: pb::LiveSetup,
    ) -> (LiveCall, UpstreamSocket) {
        let opening = LiveCall::open(gateway, setup);
        let (call, mut socket) = tokio::join!(opening, self.session());
        socket.configured().await;
        (call.unwrap(), socket)
    }
}

async fn serve(
    stream: TcpStream,
    refusal: Option<Refusal>,
    requests: Arc<Mutex<Vec<Upgrade>>>,
    accepted: mpsc::Sender<UpstreamSocket>,
) {
    let mut upgrade = None;
    #[expect(
        clippy::result_large_err,
        reason = "the signature is that of the WebSocket library"
    )]
    let decide = |request: &Request, response: Response| {
        let headers = request.headers().iter();
        let seen = Upgrade {
            path: request.uri().to_string(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
        };
        requests.lock().unwrap().push(seen.clone());
        upgrade = Some(seen);
        match refusal {
            None => Ok(response),
            Some(refusal) => Err(refused(refusal)),
        }
    };
    let accepting = tokio_tungstenite::accept_hdr_async(stream, decide);
    let Ok(socket) = accepting.await else {
        return;
    };
    let (orders, received) = mpsc::channel(QUEUE);
    let (recorded, frames) = mpsc::channel(QUEUE);
    let end = tokio::spawn(play(socket, received, recorded));
    let _ = accepted.try_send(UpstreamSocket {
        request: upgrade.unwrap(),
        seen: Vec::new(),
        orders,
        frames,
        end,
    });
}

fn refused((status, header, body): Refusal) -> ErrorResponse {
    let mut response = http::Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("content-length", body.len());
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Some(body)).unwrap()
}

async fn play(
    mut socket: WebSocketStream<TcpStream>,
    mut orders: mpsc::Receiver<Order>,
    recorded: mpsc::Sender<Value>,
) -> SocketEnd {
    let mut reads = true;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Send(message)) => {
                    if socket.send(message).await.is_err() {
                        return SocketEnd::Lost;
                    }
                }
                Some(Order::Read(on)) => reads = on,
                Some(Order::Reset) => {
                    let stream = socket2::SockRef::from(socket.get_ref());
                    stream.set_linger(Some(Duration::ZERO)).unwrap();
                    return SocketEnd::Ours;
                }
                Some(Order::Cut) | None => return SocketEnd::Ours,
            },
            frame = socket.next(), if reads => match frame {
                Some(Ok(Message::Text(text))) => {
                    let _ = recorded.try_send(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(frame))) => {
                    // The answer to the close frame is written by the next call.
                    let _ = timeout(Duration::from_secs(1), socket.next()).await;
                    let code = frame.map(|frame| frame.code.into());
                    return code.map_or(SocketEnd::Lost, SocketEnd::Closed);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return SocketEnd::Lost,
            },
        }
    }
}

impl UpstreamSocket {
    fn order(&self, order: Order) {
        // The gateway may have closed the connection.
        let _ = self.orders.try_send(order);
    }

    /// Sends an event.
    pub fn send(&self, event: Value) {
        self.send_text(event.to_string());
    }

    /// Sends a text frame.
    pub fn send_text(&self, text: String) {
        self.order(Order::Send(Message::text(text)));
    }

    /// Sends a frame of any kind.
    pub fn send_message(&self, message: Message) {
        self.order(Order::Send(message));
    }

    /// Sends a close frame.
    pub fn close(&self, code: u16, reason: &str) {
        self.send_message(Message::Close(Some(CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })));
    }

    /// Resets the connection.
    pub fn reset(&self) {
        self.order(Order::Reset);
    }

    /// Closes the connection without a close frame.
    pub fn cut(&self) {
        self.order(Order::Cut);
    }

    /// Reads no more, or reads again.
    pub fn set_reading(&self, reads: bool) {
        self.order(Order::Read(reads));
    }

    /// The next frame of the gateway; `None` after the last.
    pub async fn next(&mut self) -> Option<Value> {
        let frame = timeout(PATIENCE, self.frames.recv()).await;
        let frame = frame.expect("a frame in time")?;
        self.seen.push(frame.clone());
        Some(frame)
    }

    /// The next frame of this type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let Some(frame) = self.next().await else {
                panic!("no {kind} after {:?}", self.kinds());
            };
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Whether a frame has arrived that was not taken.
    pub fn has_frame(&self) -> bool {
        !self.frames.is_empty()
    }

    /// The types of the frames that were taken; consecutive equal ones are one.
    pub fn kinds(&self) -> Vec<String> {
        let kinds = self.seen.iter().map(|frame| frame["type"].as_str());
        let mut kinds: Vec<String> = kinds.map(|kind| kind.unwrap().to_owned()).collect();
        kinds.dedup();
        kinds
    }

    /// The audio of the frames that were taken.
    pub fn audio(&self) -> Vec<u8> {
        let frames = self.seen.iter().filter_map(|frame| frame["audio"].as_str());
        frames
            .flat_map(|audio| STANDARD.decode(audio).unwrap())
            .collect()
    }

    /// Takes all remaining frames, and returns how the connection ended.
    pub async fn ended(&mut self) -> SocketEnd {
        while self.next().await.is_some() {}
        (&mut self.end).await.unwrap()
    }
}
