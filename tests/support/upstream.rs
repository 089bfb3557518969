//! A DashScope that does what it is told, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a scripted DashScope does with one connection, after it has read one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes again and again until the client goes.
    Flood(Vec<u8>),
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

    /// Whether the client closes a connection in the middle of an answer while the paused clock
    /// stands still. The wall's clock limits the wait, for a socket may be slow on a busy machine.
    #[expect(
        clippy::disallowed_types,
        reason = "the paused clock would end a wait before the socket is ready"
    )]
    pub async fn is_closed_at_once(&mut self) -> bool {
        let patience = Duration::from_secs(10);
        let begun = std::time::Instant::now();
        while *self.closed.borrow() == 0 && begun.elapsed() < patience {
            // A task that is always ready keeps the clock from going on by itself.
            tokio::task::yield_now().await;
        }
        *self.closed.borrow() > 0
    }

    /// Waits until the client has closed this many connections in the middle of an answer.
    pub async fn closes(&self, count: usize) {
        let mut closed = self.closed.clone();
        closed.wait_for(|closes| *closes >= count).await.unwrap();
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
                Step::Flood(bytes) => {
                    while stream.write_all(&bytes).await.is_ok() {}
                    false
                }
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

/// A DashScope that numbers its answers, each after this pause.
pub async fn numbering(pause: Duration) -> Upstream {
    Upstream::start(move |number, _| {
        let mut steps = vec![Step::Pause(pause)];
        steps.extend(json(200, &whole(&format!("answer {number}"))));
        steps
    })
    .await
}

/// Bytes as gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, bytes).unwrap();
    packed.finish().unwrap()
}
