//! A caller of HTTP/2 that opens no flow-control window until it is told to, and answers pings.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tonic::Status;

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// What every connection of HTTP/2 may send at first.
const CONNECTION_WINDOW: usize = 65_535;

/// What a stream gets when it is read.
const STREAM_WINDOW: u32 = 1 << 24;

/// The level on which a window is closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Closed {
    Stream,
    Connection,
}

pub const LEVELS: [Closed; 2] = [Closed::Stream, Closed::Connection];

/// The caller.
pub struct Caller {
    send: SendRequest<Bytes>,
    reopen: Option<oneshot::Sender<()>>,
    /// A response that has used the window of the connection up.
    held: Option<h2::RecvStream>,
    task: AbortHandle,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a call ended.
#[derive(Debug)]
pub enum Ended {
    Reset(Reason),
    Status(Status),
}

impl Caller {
    pub async fn connect(address: SocketAddr, closed: Closed) -> Self {
        match closed {
            Closed::Stream => Self::with_window(address, 0).await,
            Closed::Connection => {
                let mut caller = Self::with_window(address, STREAM_WINDOW).await;
                caller.exhaust().await;
                caller
            }
        }
    }

    /// One whose streams take so many bytes.
    pub async fn with_window(address: SocketAddr, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (send, mut connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .handshake::<_, Bytes>(socket)
            .await
            .unwrap();
        let (reopen, mut reopened) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = &mut connection => return,
                open = &mut reopened => {
                    if open.is_ok() {
                        connection.set_initial_window_size(STREAM_WINDOW).unwrap();
                    }
                }
            }
            let _ = connection.await;
        });
        let mut caller = Self {
            send,
            reopen: Some(reopen),
            held: None,
            task: task.abort_handle(),
        };
        // Once anything was answered, the settings are known too.
        let unknown = caller.call("/no.Service/Method", &[], Vec::new()).await;
        unknown.await.unwrap();
        caller
    }

    /// Uses the window of the connection up.
    async fn exhaust(&mut self) {
        let ask = message(&Reflect {
            file_containing_symbol: "dashgate.v1.ConversationService".to_owned(),
        });
        let head = head(REFLECTION, &[]);
        let (response, mut body) = self.send.send_request(head, false).unwrap();
        for _ in 0..20 {
            body.send_data(Bytes::from(ask.clone()), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut left = CONNECTION_WINDOW;
        while left > 0 {
            left -= body.data().await.expect("more").unwrap().len();
        }
        self.held = Some(body);
    }

    /// Makes a call.
    pub async fn call(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        messages: Vec<u8>,
    ) -> ResponseFuture {
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(head(path, metadata), false).unwrap();
        body.send_data(messages.into(), true).unwrap();
        response
    }

    /// Makes a call whose request does not end.
    pub async fn open(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        messages: Vec<u8>,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(head(path, metadata), false).unwrap();
        body.send_data(messages.into(), false).unwrap();
        (response, body)
    }

    /// Waits until the gateway has closed the connection.
    pub async fn closed(&mut self) {
        while !self.task.is_finished() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Opens its windows.
    pub fn read_again(&mut self) {
        if let Some(reopen) = self.reopen.take() {
            let _ = reopen.send(());
        }
        if let Some(mut held) = self.held.take() {
            held.flow_control()
                .release_capacity(CONNECTION_WINDOW)
                .unwrap();
        }
    }
}

fn head(path: &str, metadata: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://gateway{path}"))
        .version(http::Version::HTTP_2)
        .header("te", "trailers");
    if !metadata.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Waits until a call has ended, and reads what comes of its response.
pub async fn end_of(response: ResponseFuture) -> Ended {
    let response = match response.await {
        Ok(response) => response,
        Err(error) => return reset(&error),
    };
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                bytes.extend(data);
            }
            Err(error) => return reset(&error),
        }
    }
    match body.trailers().await {
        Ok(Some(trailers)) => Ended::Status(status(&trailers)),
        // The trailers of gRPC-Web are the last frame of the body.
        Ok(None) if bytes.windows(12).any(|text| text == b"grpc-status:") => {
            Ended::Status(status(&last_lines(&bytes)))
        }
        Ok(None) => Ended::Status(status(&head.headers)),
        Err(error) => reset(&error),
    }
}

fn reset(error: &h2::Error) -> Ended {
    Ended::Reset(error.reason().unwrap_or_else(|| panic!("{error:?}")))
}

fn status(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers).expect("a status")
}

/// The trailers of gRPC-Web, without the length before them.
pub fn last_lines(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(bytes).lines().rev() {
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        // The first of them stands behind the head of the frame.
        let name = name
            .rsplit(|c: char| c.is_control() || !c.is_ascii())
            .next();
        let name = name
            .unwrap()
            .trim_start_matches(|c: char| !c.is_ascii_lowercase());
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A message with its head.
pub fn message(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat()
}

/// A question to reflection.
#[derive(Clone, PartialEq, Message)]
pub struct Reflect {
    #[prost(string, tag = "4")]
    pub file_containing_symbol: String,
}
