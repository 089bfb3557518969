//! A DashScope of our own: it answers at once, or as slowly as it is told, and knows when the other
//! side hung up.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::console::say;
use crate::error::Result;
use crate::fake_live;
use crate::fake_live::Answers;
use crate::messages::ANSWER;

const REQUEST_ID: &str = "0f572076-bc05-4678-98a1-7f14ca161669";

/// How streams come, and what has come in. Shared with whoever measures.
#[derive(Default)]
pub(crate) struct Shared {
    /// How many events a stream has.
    chunks: AtomicU64,
    /// The microseconds between them.
    gap: AtomicU64,
    /// Whether nothing comes after the first event.
    hold: AtomicBool,
    /// Whether nothing comes at all.
    silent: AtomicBool,
    /// Calls that were answered.
    pub(crate) calls: AtomicU64,
    /// Events that were sent.
    pub(crate) sent: AtomicU64,
    /// Bytes of files that were stored.
    pub(crate) stored: AtomicU64,
}

/// How the next streams come.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So many events as fast as they are taken.
    Burst(u64),
    /// So many events with a pause before each but the first.
    Paced(u64, Duration),
    /// One event, and then nothing.
    Hold,
    /// Nothing, not even a head.
    Silent,
}

impl Shared {
    /// Says how the next streams come.
    pub(crate) fn set(&self, pace: Pace) {
        let (chunks, gap) = match pace {
            Pace::Burst(chunks) => (chunks, Duration::ZERO),
            Pace::Paced(chunks, gap) => (chunks, gap),
            Pace::Hold | Pace::Silent => (2, Duration::ZERO),
        };
        self.chunks.store(chunks, Relaxed);
        let gap = u64::try_from(gap.as_micros()).unwrap_or(u64::MAX);
        self.gap.store(gap, Relaxed);
        self.hold.store(matches!(pace, Pace::Hold), Relaxed);
        self.silent.store(matches!(pace, Pace::Silent), Relaxed);
    }
}

/// A fake that runs in a thread of its own.
pub(crate) struct Fake {
    /// Where it answers HTTP.
    pub(crate) address: SocketAddr,
    /// Where it takes bytes and forgets them.
    pub(crate) sink: SocketAddr,
    /// How it behaves.
    pub(crate) shared: Arc<Shared>,
    /// When an answer was given up before its end.
    pub(crate) closed: mpsc::Receiver<Instant>,
}

impl Fake {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.set(Pace::Burst(200));
        let (closing, closed) = mpsc::channel(65_536);
        let server = Server::bind(Arc::clone(&shared), closing)?;
        let (address, sink) = (server.http.local_addr()?, server.sink.local_addr()?);
        std::thread::Builder::new()
            .name("fake".to_owned())
            .spawn(move || server.run())?;
        Ok(Self {
            address,
            sink,
            shared,
            closed,
        })
    }
}

/// What runs in the thread, or in a process of its own.
pub(crate) struct Server {
    http: std::net::TcpListener,
    sink: std::net::TcpListener,
    shared: Arc<Shared>,
    closing: mpsc::Sender<Instant>,
}

impl Server {
    fn bind(shared: Arc<Shared>, closing: mpsc::Sender<Instant>) -> Result<Self> {
        let listen = || -> Result<std::net::TcpListener> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        Ok(Self {
            http: listen()?,
            sink: listen()?,
            shared,
            closing,
        })
    }

    /// The fake as a process of its own: it says where it listens, and serves until it is ended.
    pub(crate) fn alone() -> Result<()> {
        let shared = Arc::new(Shared::default());
        shared.set(Pace::Burst(200));
        let (closing, _closed) = mpsc::channel(1);
        let server = Self::bind(shared, closing)?;
        say(&format!("listening on {}\n", server.http.local_addr()?));
        server.run()
    }

    fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async move {
            let http = TcpListener::from_std(self.http)?;
            let sink = TcpListener::from_std(self.sink)?;
            let answers = Answers::new();
            loop {
                tokio::select! {
                    accepted = http.accept() => {
                        let (shared, closing) = (Arc::clone(&self.shared), self.closing.clone());
                        let answers = Arc::clone(&answers);
                        tokio::spawn(connection(accepted?.0, shared, closing, answers));
                    }
                    accepted = sink.accept() => {
                        tokio::spawn(swallow(accepted?.0));
                    }
                }
            }
        })
    }
}

async fn swallow(mut stream: TcpStream) {
    let mut room = vec![0; 256 * 1024];
    while stream.read(&mut room).await.is_ok_and(|read| read > 0) {}
}

async fn connection(
    stream: TcpStream,
    shared: Arc<Shared>,
    closing: mpsc::Sender<Instant>,
    answers: Arc<Answers>,
) {
    let _ = stream.set_nodelay(true);
    let origin = stream.local_addr().map(|address| address.to_string());
    let origin: Arc<str> = origin.unwrap_or_default().into();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, closing) = (Arc::clone(&shared), closing.clone());
        let (origin, answers) = (Arc::clone(&origin), Arc::clone(&answers));
        async move {
            match request.uri().path() {
                fake_live::PATH => Ok(live(request, answers, closing)),
                _ => answer(request, shared, closing, origin).await,
            }
        }
    });
    // A caller that hangs up is no fault.
    let _ = hyper::server::conn::http1::Builder::new()
        .max_buf_size(512 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

fn live(
    mut request: Request<Incoming>,
    answers: Arc<Answers>,
    cancelled: mpsc::Sender<Instant>,
) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    let Some((headers, upgrade)) = fake_live::handshake(&mut request) else {
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return response;
    };
    *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    tokio::spawn(async move {
        // The gateway reports that its connection broke.
        let _ = fake_live::serve(upgrade, answers, cancelled).await;
    });
    response
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    closing: mpsc::Sender<Instant>,
    origin: Arc<str>,
) -> std::result::Result<Response<Body>, Infallible> {
    if request.method() == Method::GET {
        return Ok(json(policy(&origin)));
    }
    let stored = request.uri().path() == "/oss";
    let streams = request.headers().contains_key("x-dashscope-sse");
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if stored && let Some(data) = frame.data_ref() {
            shared.stored.fetch_add(data.len() as u64, Relaxed);
        }
    }
    if stored {
        return Ok(Response::new(Body::Whole(None)));
    }
    shared.calls.fetch_add(1, Relaxed);
    let mut watch = Watch(Some(closing));
    if shared.silent.load(Relaxed) {
        std::future::pending::<()>().await;
    }
    if !streams {
        watch.0 = None;
        return Ok(json(whole()));
    }
    let mut response = Response::new(Body::Events(Box::new(Events::new(shared, watch))));
    let kind = header::HeaderValue::from_static("text/event-stream;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(text.into())));
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn whole() -> String {
    format!(
        "{{\"output\":{{\"choices\":[{{\"finish_reason\":\"stop\",\"message\":{{\"role\":\
         \"assistant\",\"content\":[{{\"text\":\"{ANSWER}\"}}]}}}}]}},\"usage\":\
         {{\"audio_tokens\":768,\"output_tokens\":19,\"input_tokens\":1276}},\
         \"request_id\":\"{REQUEST_ID}\"}}"
    )
}

fn event(at: u64, last: bool) -> Bytes {
    let finish = if last { "stop" } else { "null" };
    format!(
        "id:{at}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\"message\":\
         {{\"content\":[{{\"text\":\"word{at} \"}}],\"role\":\"assistant\"}},\"finish_reason\":\
         \"{finish}\"}}]}},\"usage\":{{\"audio_tokens\":768,\"input_tokens\":1276,\
         \"output_tokens\":{at}}},\"request_id\":\"{REQUEST_ID}\"}}\n\n"
    )
    .into()
}

fn policy(origin: &str) -> String {
    serde_json::json!({
        "request_id": REQUEST_ID,
        "data": {
            "policy": "e30=",
            "signature": "c2lnbmVk",
            "upload_dir": "dashscope-instant/bench",
            "upload_host": format!("http://{origin}/oss"),
            "expire_in_seconds": 300,
            "max_file_size_mb": 10_240,
            "capacity_limit_mb": 999_999_999,
            "oss_access_key_id": "bench",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        },
    })
    .to_string()
}

/// Tells when what it stands in is dropped before its end.
struct Watch(Option<mpsc::Sender<Instant>>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(closing) = self.0.take() {
            let _ = closing.try_send(Instant::now());
        }
    }
}

enum Body {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

struct Events {
    shared: Arc<Shared>,
    watch: Watch,
    at: u64,
    chunks: u64,
    hold: bool,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Events {
    fn new(shared: Arc<Shared>, watch: Watch) -> Self {
        let gap = Duration::from_micros(shared.gap.load(Relaxed));
        Self {
            watch,
            at: 0,
            chunks: shared.chunks.load(Relaxed),
            hold: shared.hold.load(Relaxed),
            pause: (!gap.is_zero()).then(|| (gap, Box::pin(sleep(gap)))),
            shared,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.at == self.chunks {
            self.watch.0 = None;
            return Poll::Ready(None);
        }
        if self.at > 0 {
            if self.hold {
                return Poll::Pending;
            }
            if let Some((gap, pause)) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                let next = pause.deadline() + *gap;
                pause.as_mut().reset(next);
            }
        }
        self.at += 1;
        self.shared.sent.fetch_add(1, Relaxed);
        Poll::Ready(Some(event(self.at, self.at == self.chunks)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Events(events) => ready!(events.poll_next(cx)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |all| all.len() as u64))
            }
            Self::Events(_) => http_body::SizeHint::default(),
        }
    }
}
