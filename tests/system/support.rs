//! A whole system in three lines of test: [`Upstream`] plays DashScope byte by byte, [`gateway`]
//! starts the gateway in front of it, and the generated client calls it.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::app;
use dashgate::config::{self, Endpoint};
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::health::health_client::HealthClient;
use dashgate::grpc::pb::media_service_client::MediaServiceClient;
use dashgate::grpc::pb::{self, content, delta};
use dashgate::secret::Secret;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What a scripted DashScope does with one connection, after it has read one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Says nothing for this long.
    Pause(Duration),
    /// Closes in order.
    Close,
    /// Breaks the connection.
    Reset,
    /// Says nothing until the client goes.
    Hang,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = Box<dyn FnMut(usize, &Seen) -> Vec<Step> + Send>;

/// A DashScope that does what it is told. A fault in it fails the test that owns it.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    /// Answers every request with the same steps.
    pub async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }

    /// Asks the script what to do with each request: its number, from 0, and what it was.
    pub async fn start(script: impl FnMut(usize, &Seen) -> Vec<Step> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (closes, closed) = watch::channel(0);
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let requests = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (script, seen) = (Arc::clone(&script), Arc::clone(&requests));
                tokio::spawn(connection(stream, script, seen, closes.clone()));
            }
        });
        Self {
            address,
            seen,
            closed,
            task,
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until the client has closed a connection in the middle of an answer.
    pub async fn closed(&mut self) {
        self.closed.wait_for(|closes| *closes > 0).await.unwrap();
    }

    /// The same, for an upstream that is shared.
    pub async fn closed_once(&self) {
        self.closed
            .clone()
            .wait_for(|closes| *closes > 0)
            .await
            .unwrap();
    }

    /// Waits until this many requests were read.
    pub async fn wait_for_requests(&self, count: usize) {
        while self.seen.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    closes: watch::Sender<usize>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let steps = {
            let mut all = seen.lock().unwrap();
            let number = all.len();
            all.push(request.clone());
            (script.lock().unwrap())(number, &request)
        };
        for step in steps {
            let outcome = match step {
                Step::Write(bytes) => stream.write_all(&bytes).await.is_ok(),
                Step::Pause(span) => pause(&mut stream, span).await,
                Step::Hang => {
                    gone(&mut stream).await;
                    false
                }
                Step::Close => return,
                Step::Reset => {
                    socket2::SockRef::from(&stream)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    return;
                }
            };
            if !outcome {
                closes.send_modify(|closes| *closes += 1);
                return;
            }
        }
    }
}

/// Whether the client is still there after this long.
async fn pause(stream: &mut TcpStream, span: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(span) => true,
        () = gone(stream) => false,
    }
}

async fn gone(stream: &mut TcpStream) {
    let mut byte = [0];
    // Nothing is sent after a request, so anything read here is the end.
    let _ = stream.read(&mut byte).await;
}

async fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, path) = (
        first.next().unwrap().to_owned(),
        first.next().unwrap().to_owned(),
    );
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut request = Seen {
        method,
        path,
        headers,
        body: Vec::new(),
    };
    if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut request.body).await.ok()?;
    } else if request.header("transfer-encoding").is_some() {
        request.body = read_chunked(stream).await?;
    }
    Some(request)
}

async fn read_chunked(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await.ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// A JSON answer.
pub fn json(status: u16, body: &str) -> Vec<Step> {
    http(
        status,
        "content-type: application/json\r\n",
        body.as_bytes(),
    )
}

/// An answer with a length.
pub fn http(status: u16, headers: &str, body: &[u8]) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Write([head.as_bytes(), body].concat())]
}

/// The head of a stream whose pieces follow with [`piece`] and end with [`end`].
pub fn sse() -> Step {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=UTF-8\r\n\
                x-request-id: up-1\r\ntransfer-encoding: chunked\r\n\r\n";
    Step::Write(head.as_bytes().to_vec())
}

/// A piece of a stream, as one HTTP chunk.
pub fn piece(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    let size = format!("{:x}\r\n", bytes.len());
    Step::Write([size.as_bytes(), bytes, b"\r\n"].concat())
}

/// The end of a stream.
pub fn end() -> Step {
    Step::Write(b"0\r\n\r\n".to_vec())
}

/// A frame of a stream as DashScope writes it.
pub fn frame(id: u32, text: &str, finish: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "id:{id}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\"message\":\
         {{\"content\":[{{\"text\":{text}}}],\"role\":\"assistant\"}},\"finish_reason\":\
         \"{finish}\"}}]}},\"usage\":{{\"audio_tokens\":752,\"input_tokens\":783,\
         \"output_tokens\":{id}}},\"request_id\":\"up-1\"}}\n\n"
    )
}

/// A whole answer as DashScope writes it.
pub fn whole(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(
        "{{\"output\":{{\"choices\":[{{\"finish_reason\":\"stop\",\"message\":{{\"role\":\
         \"assistant\",\"content\":[{{\"text\":{text}}}]}}}}]}},\"usage\":{{\"audio_tokens\":752,\
         \"output_tokens\":38,\"input_tokens\":786}},\"request_id\":\"up-1\"}}"
    )
}

/// A client of one connection.
type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

/// A gateway that runs in the test.
pub struct Running {
    pub address: SocketAddr,
    pub client: Client,
    stop: mpsc::Sender<()>,
    pub task: JoinHandle<()>,
}

impl Running {
    fn origin(&self) -> http::Uri {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub fn conversation(&self) -> ConversationServiceClient<Client> {
        ConversationServiceClient::with_origin(self.client.clone(), self.origin())
            .max_decoding_message_size(64 * 1024 * 1024)
            .max_encoding_message_size(64 * 1024 * 1024)
    }

    pub fn media(&self) -> MediaServiceClient<Client> {
        MediaServiceClient::with_origin(self.client.clone(), self.origin())
    }

    pub fn health(&self) -> HealthClient<Client> {
        HealthClient::with_origin(self.client.clone(), self.origin())
    }

    /// Waits until the gateway has gone down.
    pub async fn ended(mut self) {
        (&mut self.task).await.unwrap();
    }

    /// Asks the gateway to go down.
    pub async fn stop(&self) {
        self.stop.send(()).await.unwrap();
    }
}

/// A world without environment variables and files.
struct Nothing;

impl config::Surroundings for Nothing {
    fn variable(&self, _: &str) -> Result<Option<String>, config::surroundings::NotText> {
        Ok(None)
    }

    fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// The default settings, with this DashScope.
pub fn settings(upstream: &Upstream) -> config::Settings {
    let mut settings = config::load(&config::Flags::default(), &Nothing).unwrap();
    settings.server.listen = "127.0.0.1:0".parse().unwrap();
    settings.upstream.endpoint = Endpoint::Remote {
        base_url: upstream.base_url(),
        api_key: Secret::new("sk-canary"),
    };
    settings
}

/// A gateway in front of this DashScope.
pub async fn gateway(upstream: &Upstream) -> Running {
    gateway_with(settings(upstream)).await
}

/// A gateway with these settings.
pub async fn gateway_with(settings: config::Settings) -> Running {
    let gateway = app::bind(&settings).await.unwrap();
    let address = gateway.local_addr();
    let (stop, mut stopped) = mpsc::channel::<()>(1);
    let task = tokio::spawn(async move {
        let shutdown = async move {
            if stopped.recv().await.is_none() {
                pending::<()>().await;
            }
        };
        gateway.run(shutdown).await.unwrap();
    });
    // Not tonic's channel: that one looks at `grpc-timeout` itself, and its clock would hide ours.
    // Without TCP_NODELAY the kernel would wait, and paused time does not wait for the kernel.
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .build(connector);
    Running {
        address,
        client,
        stop,
        task,
    }
}

/// The question of the quick start.
pub fn question() -> pb::Conversation {
    let uri = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav";
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.to_owned())),
        ..pb::Audio::default()
    };
    conversation(
        "qwen-audio-turbo",
        vec![
            content::Kind::Audio(audio),
            content::Kind::Text("这段音频在说什么?".to_owned()),
        ],
    )
}

/// One turn of a user's.
pub fn conversation(model: &str, parts: Vec<content::Kind>) -> pb::Conversation {
    let part = |kind| pb::Content {
        kind: Some(kind),
        ..pb::Content::default()
    };
    let message = pb::Message {
        role: pb::Role::User.into(),
        content: parts.into_iter().map(part).collect(),
        ..pb::Message::default()
    };
    pb::Conversation {
        model: model.to_owned(),
        messages: vec![message],
        ..pb::Conversation::default()
    }
}

/// Asks for a whole answer.
pub fn ask_whole(conversation: pb::Conversation) -> pb::ConverseRequest {
    pb::ConverseRequest {
        conversation: Some(conversation),
        ..pb::ConverseRequest::default()
    }
}

/// Asks for a stream.
pub fn ask_stream(conversation: pb::Conversation) -> pb::ConverseStreamRequest {
    pb::ConverseStreamRequest {
        conversation: Some(conversation),
        ..pb::ConverseStreamRequest::default()
    }
}

/// The texts of a stream.
pub fn texts(events: &[Result<pb::ConverseStreamResponse, Status>]) -> Vec<String> {
    let event = |event: &Result<pb::ConverseStreamResponse, Status>| match event
        .as_ref()
        .ok()?
        .event
        .clone()?
    {
        Event::Delta(pb::Delta {
            part: Some(delta::Part::Text(text)),
            ..
        }) => Some(text),
        _ => None,
    };
    events.iter().filter_map(event).collect()
}

/// Checks the code and the reason of a fault, and what every fault must carry.
#[track_caller]
pub fn assert_fault(status: &Status, code: Code, reason: &str) {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (code, reason),
        "{status:?}"
    );
    assert_eq!(info.domain, "dashgate");
    assert!(
        details
            .request_info()
            .is_some_and(|info| !info.request_id.is_empty())
    );
    assert!(
        status.metadata().contains_key("grpc-retry-pushback-ms"),
        "{status:?}"
    );
    assert!(status.metadata().contains_key("x-request-id"), "{status:?}");
    assert!(
        !format!("{status:?}").contains("sk-canary"),
        "the key is shown: {status:?}"
    );
}

/// The fields that a fault names.
pub fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let list = details
        .bad_request()
        .map(|bad| bad.field_violations.clone())
        .unwrap_or_default();
    list.into_iter().map(|violation| violation.field).collect()
}

/// How often DashScope was asked, as a fault tells it.
pub fn attempts(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().metadata["attempts"].clone()
}
