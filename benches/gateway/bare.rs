//! The bare gateway: the least that an honest gateway does on the same libraries. It takes a call
//! over HTTP/2, reads the message, writes DashScope's JSON, sends it on a kept connection, reads
//! the answer, writes the messages. No keys, deadlines, retries, numbers or log.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use dashgate::grpc::pb;
use dashgate::grpc::pb::live_service_server::LiveServiceServer;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tower::Service as _;

use crate::bare_json::{Reader, question, whole};
use crate::bare_live::Relay;
use crate::client::{CONVERSE_STREAM, framed};
use crate::console::say;
use crate::error::{Error, Result};
use crate::live_session::CONVERSE_LIVE;

/// The most bytes of a message, as dashgate has it.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Serves until the process is ended.
pub(crate) fn serve(upstream: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("listening on {}\n", listener.local_addr()?));
        let pool = Rc::new(Pool::new(upstream));
        let live = LiveServiceServer::new(Relay::new(upstream));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let pool = Rc::clone(&pool);
            let live = live.clone();
            let service = service_fn(move |request| {
                let (pool, live) = (Rc::clone(&pool), live.clone());
                async move {
                    match request.uri().path() {
                        CONVERSE_LIVE => converse_live(request, live).await,
                        _ => answer(request, pool).await,
                    }
                }
            });
            let served = hyper::server::conn::http2::Builder::new(Local)
                .max_concurrent_streams(1000)
                .serve_connection(TokioIo::new(stream), service);
            spawn_local(async move {
                // A caller that is gone is no fault.
                let _ = served.await;
            });
        }
    })
}

/// Runs hyper's tasks where everything else runs.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}

/// The connections to DashScope that nobody uses now.
struct Pool {
    upstream: SocketAddr,
    host: String,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Pool {
    fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            host: upstream.to_string(),
            idle: RefCell::default(),
        }
    }

    async fn take(&self) -> Result<SendRequest<Full<Bytes>>> {
        loop {
            let Some(mut kept) = self.idle.borrow_mut().pop() else {
                break;
            };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (send, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        spawn_local(async move {
            let _ = connection.await;
        });
        Ok(send)
    }

    fn put(&self, send: SendRequest<Full<Bytes>>) {
        self.idle.borrow_mut().push(send);
    }
}

type Answered = std::result::Result<Response<Body>, Error>;

async fn converse_live(request: Request<Incoming>, mut live: LiveServiceServer<Relay>) -> Answered {
    let response = live.call(request).await?;
    Ok(response.map(Body::Live))
}

async fn answer(request: Request<Incoming>, pool: Rc<Pool>) -> Answered {
    let streams = request.uri().path() == CONVERSE_STREAM;
    let message = read(request.into_body()).await?;
    let asked = pb::ConverseRequest::decode(message)?;
    let mut send = pool.take().await?;
    let mut request = Request::post("/api/v1/services/aigc/multimodal-generation/generation")
        .header("host", &pool.host)
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-bench");
    if streams {
        request = request.header("x-dashscope-sse", "enable");
    }
    let body = question(&asked, streams)?;
    let response = send.send_request(request.body(body.into())?).await?;
    if response.status() != http::StatusCode::OK {
        return Err(format!("DashScope said {}", response.status()).into());
    }
    let model = asked.conversation.unwrap_or_default().model;
    let body = if streams {
        Body::Events(Box::new(Events {
            body: response.into_body(),
            kept: Some((send, pool)),
            reader: Reader::new(model),
        }))
    } else {
        let answer = whole(&response.into_body().collect().await?.to_bytes(), model)?;
        pool.put(send);
        Body::Whole(Some(framed(&answer.encode_to_vec())))
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// The one message of a request, without its frame.
async fn read(mut body: Incoming) -> Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if all.is_empty() && body.is_end_stream() {
                return Ok(data.slice(5.min(data.len())..));
            }
            if all.is_empty() {
                let length = data.get(1..5).unwrap_or_default();
                let length = length
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                if length > MAX_MESSAGE {
                    return Err("the message is too large".into());
                }
                all.reserve(length + 5);
            }
            all.extend_from_slice(&data);
        }
    }
    let all = all.freeze();
    Ok(all.slice(5.min(all.len())..))
}

enum Body {
    Whole(Option<Bytes>),
    Events(Box<Events>),
    Live(tonic::body::Body),
    Ended,
}

struct Events {
    body: Incoming,
    kept: Option<(SendRequest<Full<Bytes>>, Rc<Pool>)>,
    reader: Reader,
}

impl Events {
    /// All messages that the next bytes hold; none at the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                if let Some((send, pool)) = self.kept.take() {
                    pool.put(send);
                }
                return Poll::Ready(self.reader.end().err().map(Err));
            };
            let read = frame.map_err(Error::from).and_then(|frame| {
                let data = frame.into_data().unwrap_or_default();
                self.reader.feed(&data)
            });
            match read {
                Ok(messages) if messages.is_empty() => {}
                read => return Poll::Ready(Some(read)),
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let data = match this {
            Self::Whole(answer) => answer.take().map(Ok),
            Self::Events(events) => ready!(events.poll_next(cx)),
            Self::Live(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
            }
            Self::Ended => return Poll::Ready(None),
        };
        Poll::Ready(Some(if let Some(data) = data {
            data.map(Frame::data)
        } else {
            *this = Self::Ended;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            Ok(Frame::trailers(trailers))
        }))
    }
}
