//! A gRPC client that costs little: frames on an HTTP/2 connection, the same request again and
//! again.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::counted::{self, Counted};
use crate::error::Result;

/// A whole answer.
pub(crate) const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
/// An answer as it is made.
pub(crate) const CONVERSE_STREAM: &str = "/dashgate.v1.ConversationService/ConverseStream";
/// A large file.
pub(crate) const UPLOAD: &str = "/dashgate.v1.MediaService/UploadMedia";

/// The most of a request that is handed over without asking whether there is room.
const AT_ONCE: usize = 16 * 1024;

/// A call, ready to be made many times.
#[derive(Clone)]
pub(crate) struct Ask {
    uri: Uri,
    headers: HeaderMap,
    /// The message, with its frame around it.
    pub(crate) body: Bytes,
}

impl Ask {
    /// A call of a method, with a key if the gateway asks for one.
    pub(crate) fn new(
        address: SocketAddr,
        path: &str,
        key: Option<&str>,
        timeout: &'static str,
        message: &[u8],
    ) -> Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("user-agent", HeaderValue::from_static("dashgate-bench"));
        headers.insert("grpc-timeout", HeaderValue::from_static(timeout));
        if let Some(key) = key {
            headers.insert("authorization", format!("Bearer {key}").parse()?);
        }
        Ok(Self {
            uri: format!("http://{address}{path}").parse()?,
            headers,
            body: framed(message),
        })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A message with the five bytes before it that gRPC wants.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// How a call ended.
#[derive(Default)]
pub(crate) struct Answer {
    /// The gRPC code, 0 for OK.
    pub(crate) code: u32,
    /// What it says about it.
    pub(crate) words: String,
    /// How many messages came.
    pub(crate) messages: u64,
    /// The metadata at the head.
    pub(crate) head: HeaderMap,
}

impl Answer {
    /// An error when the call failed.
    pub(crate) fn check(self) -> Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(format!("gRPC code {}: {}", self.code, self.words).into())
    }
}

/// One connection.
pub(crate) struct Line {
    send: SendRequest<Bytes>,
}

impl Line {
    /// Connects. The connection runs as a local task, until nobody uses it.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// Connects, and counts the bytes of the connection.
    pub(crate) async fn counted(address: SocketAddr, bytes: &counted::Bytes) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let bytes = bytes.clone();
        Self::over(Counted { stream, bytes }).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<Self> {
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(stream)
            .await?;
        tokio::task::spawn_local(async move {
            // The calls on it tell when it breaks.
            let _ = connection.await;
        });
        let send = send.ready().await?;
        Ok(Self { send })
    }

    /// Makes a call and reads its answer to the end. What `keep` is given is kept.
    pub(crate) async fn call(&self, ask: &Ask, keep: Option<&mut Vec<u8>>) -> Result<Answer> {
        let (response, mut sender) = self.begin(ask).await?;
        send(&mut sender, ask.body.clone(), true).await?;
        finish(response, keep).await
    }

    /// Opens a stream and waits for its first message.
    pub(crate) async fn open(&self, ask: &Ask) -> Result<Open> {
        let (response, mut sender) = self.begin(ask).await?;
        send(&mut sender, ask.body.clone(), true).await?;
        let mut body = response.await?.into_body();
        let Some(first) = body.data().await else {
            return Err("the stream ended before its first message".into());
        };
        let _ = body.flow_control().release_capacity(first?.len());
        Ok(Open {
            _sender: sender,
            _body: body,
        })
    }

    /// Sends a request and does not wait for anything. Dropping what comes back cancels the call.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Sent> {
        let (response, mut sender) = self.begin(ask).await?;
        send(&mut sender, ask.body.clone(), true).await?;
        Ok(Sent {
            _sender: sender,
            _response: response,
        })
    }

    /// Begins a call whose messages come one after the other.
    pub(crate) async fn begin(
        &self,
        ask: &Ask,
    ) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let mut send = self.send.clone().ready().await?;
        Ok(send.send_request(ask.request(), false)?)
    }
}

/// A call that was sent and not answered.
pub(crate) struct Sent {
    _sender: SendStream<Bytes>,
    _response: h2::client::ResponseFuture,
}

/// A stream that has begun. It is cancelled when it is dropped.
pub(crate) struct Open {
    _sender: SendStream<Bytes>,
    _body: RecvStream,
}

/// Sends bytes of a request as fast as they are taken.
pub(crate) async fn send(
    sender: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    last: bool,
) -> Result<()> {
    if bytes.len() <= AT_ONCE {
        return Ok(sender.send_data(bytes, last)?);
    }
    while !bytes.is_empty() {
        sender.reserve_capacity(bytes.len());
        let room = poll_fn(|cx| sender.poll_capacity(cx)).await;
        let room = room.ok_or("the stream was closed")??;
        let part = bytes.split_to(room.min(bytes.len()));
        sender.send_data(part, last && bytes.is_empty())?;
    }
    Ok(())
}

/// Reads an answer to its end.
pub(crate) async fn finish(
    response: h2::client::ResponseFuture,
    mut keep: Option<&mut Vec<u8>>,
) -> Result<Answer> {
    let (head, mut body) = response.await?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(format!("HTTP {}", head.status).into());
    }
    let mut answer = Answer::default();
    let mut counter = Counter::default();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        counter.feed(&data);
        if let Some(keep) = &mut keep {
            keep.extend_from_slice(&data);
        }
    }
    answer.messages = counter.messages;
    let trailers = body.trailers().await?;
    let end = trailers.as_ref().unwrap_or(&head.headers);
    let text = |name| end.get(name).and_then(|value| value.to_str().ok());
    answer.code = text("grpc-status").unwrap_or("2").parse()?;
    answer.words = text("grpc-message").unwrap_or_default().to_owned();
    answer.head = head.headers;
    Ok(answer)
}

/// Counts the messages in a stream of bytes.
#[derive(Default)]
struct Counter {
    /// How much of the next frame's five bytes was seen, and the length so far.
    head: (u8, u32),
    /// How much of the message is left.
    left: usize,
    messages: u64,
}

impl Counter {
    fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            let Some((first, rest)) = bytes.get(skipped..).and_then(|rest| rest.split_first())
            else {
                return;
            };
            bytes = rest;
            let (seen, length) = self.head;
            self.head = (seen + 1, length << 8 | u32::from(*first));
            if self.head.0 == 5 {
                self.left = self.head.1 as usize;
                self.head = (0, 0);
                self.messages += 1;
            }
        }
    }
}
