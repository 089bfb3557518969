//! A gateway that is only played: it says what a case tells it to, and remembers what it was asked.
//!
//! For what a newer or a broken gateway, or a proxy before it, would say.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Either, Empty, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;

use super::asked::{asked, metadata};
use super::cancelled::{self, Cancelled};
use super::made::{bytes_of_hex, with_bytes};
use super::status::{self, Status, content_type, headers};
use super::{live, notation};

/// Twice the largest request of any case.
const REQUEST_LIMIT: usize = 96 * 1024 * 1024;
/// What a caller does not take is not made: the caller's window decides when the next comes.
const FRAMES_AHEAD: usize = 1;

/// What is done with one call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Call {
    /// How long it takes to the head of the answer.
    after_ms: u64,
    /// The head's metadata.
    metadata: BTreeMap<String, String>,
    /// The answer.
    messages: Vec<Message>,
    /// How it ends; OK if it is left out.
    status: Option<Status>,
    /// More trailers.
    trailers: BTreeMap<String, String>,
    /// Head and trailers are one: no message was ever begun.
    trailers_only: bool,
    /// What comes after the messages, if it is no status.
    end: Option<End>,
    /// An answer that is not gRPC.
    http: Option<Http>,
}

/// One message of an answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Message {
    /// How long it takes to come.
    after_ms: u64,
    /// In a live session: it comes after so many messages of the caller. The half-close counts.
    after_received: usize,
    /// The message in protobuf's JSON.
    json: Value,
    /// Bytes after it: fields that no schema has.
    hex: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum End {
    /// Nothing more comes.
    Hang,
    /// The connection is cut.
    Cut,
    /// The stream ends without trailers.
    Bare,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    status: u16,
    content_type: String,
    body: String,
}

/// A running one. It ends when it is dropped.
pub(crate) struct Gateway {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    calls: Vec<Call>,
    seen: Mutex<Vec<Value>>,
    cancelled: Cancelled,
    began: Mutex<Option<Instant>>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    /// Plays these calls, in order, whoever makes them.
    pub(crate) async fn start(calls: Vec<Call>) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let desk = Arc::new(Desk {
            calls,
            seen: Mutex::default(),
            cancelled: Cancelled::default(),
            began: Mutex::default(),
        });
        let shared = Arc::clone(&desk);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            desk,
            task,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The request ids that were cancelled so far.
    pub(crate) fn cancelled(&self) -> Vec<String> {
        self.desk.cancelled.ids()
    }

    /// The calls so far.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.desk.seen().clone()
    }
}

impl Desk {
    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Value>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the first call began.
    fn now_ms(&self) -> u64 {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = began.get_or_insert_with(Instant::now).elapsed();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes a call down; its number.
    fn note(&self, seen: Value) -> usize {
        let mut all = self.seen();
        all.push(seen);
        all.len() - 1
    }

    fn append(&self, number: usize, key: &str, value: Value) {
        if let Some(Value::Array(list)) = self
            .seen()
            .get_mut(number)
            .and_then(|seen| seen.get_mut(key))
        {
            list.push(value);
        }
    }

    fn write(&self, number: usize, key: &str, value: Value) {
        if let Some(Value::Object(seen)) = self.seen().get_mut(number) {
            seen.insert(key.to_owned(), value);
        }
    }
}

/// Tells how a call ended, even if it is dropped in the middle.
struct Ending {
    desk: Arc<Desk>,
    number: usize,
    is_told: bool,
}

impl Ending {
    fn tell(&mut self, how: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.desk.write(self.number, "end", json!(how));
            let ended = self.desk.now_ms();
            self.desk.write(self.number, "end_ms", json!(ended));
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tell("client closed");
    }
}

async fn connection(stream: TcpStream, desk: Arc<Desk>) {
    // Whether it goes out at once decides nothing but how long a test takes.
    let _quick = stream.set_nodelay(true);
    let (cut, mut is_cut) = watch::channel(false);
    let service = service_fn(move |request| {
        let (desk, cut) = (Arc::clone(&desk), cut.clone());
        async move { Ok::<_, Infallible>(call(request, desk, cut).await) }
    });
    let serve = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(1024 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that hangs up is how every test ends.
        _ended = serve => {}
        Ok(_) = is_cut.wait_for(|is_cut| *is_cut) => {}
    }
}

/// What ends with its head must say so at once: libraries in C take a head without an end for the
/// beginning of an answer.
pub(crate) type Frames =
    Either<Empty<Bytes>, StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>>;

async fn call(
    request: Request<Incoming>,
    desk: Arc<Desk>,
    cut: watch::Sender<bool>,
) -> Response<Frames> {
    let came = desk.now_ms();
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default().to_owned();
    let metadata = metadata(request.headers());
    let body = Limited::new(request.into_body(), REQUEST_LIMIT);
    let (received, is_received) = watch::channel(0);
    let mut live_body = None;
    let mut seen = match live::request_of(&method) {
        Some(_) => {
            live_body = Some(body);
            json!({"received": []})
        }
        None => match body.collect().await {
            Ok(body) if method == cancelled::METHOD => {
                return desk.cancelled.answer(&body.to_bytes());
            }
            Ok(body) => asked(&method, &body.to_bytes()),
            Err(error) => json!({"fault": error.to_string()}),
        },
    };
    if let Value::Object(seen) = &mut seen {
        seen.insert("method".to_owned(), json!(method));
        seen.insert("metadata".to_owned(), metadata);
        seen.insert("came_ms".to_owned(), json!(came));
    }
    let number = desk.note(seen);
    let ending = Ending {
        desk: Arc::clone(&desk),
        number,
        is_told: false,
    };
    if let (Some(body), Some(kind)) = (live_body, live::request_of(&method)) {
        let desk = Arc::clone(&desk);
        let note = move |message| desk.append(number, "received", message);
        tokio::spawn(live::receive(body, kind, note, received));
    }
    let plan = desk.calls.get(number).cloned().unwrap_or_else(|| Call {
        status: Some(Status::not_played()),
        trailers_only: true,
        ..Call::default()
    });
    sleep(Duration::from_millis(plan.after_ms)).await;
    if plan.end == Some(End::Cut) && plan.messages.is_empty() && plan.metadata.is_empty() {
        cut.send_replace(true);
        // After the headers, no library makes another attempt.
        std::future::pending::<()>().await;
    }
    answer(&method, plan, ending, (cut, is_received))
}

fn answer(
    method: &str,
    plan: Call,
    mut ending: Ending,
    (cut, mut received): (watch::Sender<bool>, watch::Receiver<usize>),
) -> Response<Frames> {
    let (sender, receiver) = mpsc::channel(FRAMES_AHEAD);
    let body = match plan.trailers_only {
        true => Either::Left(Empty::new()),
        false => Either::Right(StreamBody::new(ReceiverStream::new(receiver))),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers(&plan.metadata);
    let trailers = plan.status.clone().unwrap_or_default();
    let mut trailers = status::trailers(&trailers);
    trailers.extend(headers(&plan.trailers));
    if let Some(http) = &plan.http {
        *response.status_mut() = http.status.try_into().unwrap_or_default();
        content_type(response.headers_mut(), &http.content_type);
        let body = Bytes::from(http.body.clone());
        tokio::spawn(async move {
            let sent = sender.send(Ok(Frame::data(body))).await;
            ending.tell(if sent.is_ok() {
                "completed"
            } else {
                "client closed"
            });
        });
        return response;
    }
    content_type(response.headers_mut(), "application/grpc");
    if plan.trailers_only {
        response.headers_mut().extend(trailers);
        ending.tell("completed");
        return response;
    }
    let kind = format!("{method}Response");
    tokio::spawn(async move {
        for message in &plan.messages {
            let is_due = async {
                let wanted = message.after_received;
                // Whoever receives has ended if there are no more: the rest comes at once.
                drop(received.wait_for(|count| *count >= wanted).await);
                sleep(Duration::from_millis(message.after_ms)).await;
            };
            tokio::select! {
                () = is_due => {}
                () = sender.closed() => return,
            }
            let data = Frame::data(message.framed(&kind));
            if sender.send(Ok(data)).await.is_err() {
                return;
            }
        }
        match plan.end {
            Some(End::Hang) => sender.closed().await,
            Some(End::Cut) => {
                sleep(UNTIL_READ).await;
                ending.tell("completed");
                cut.send_replace(true);
            }
            Some(End::Bare) => {
                sleep(UNTIL_READ).await;
                ending.tell("completed");
            }
            None => {
                if sender.send(Ok(Frame::trailers(trailers))).await.is_ok() {
                    ending.tell("completed");
                }
            }
        }
    });
    response
}

/// How long a client has to read the messages before the stream is broken off. Some libraries drop
/// messages that were received and not yet read once a stream has failed.
const UNTIL_READ: Duration = Duration::from_millis(300);

impl Message {
    fn framed(&self, kind: &str) -> Bytes {
        // What cannot be said is said as a message that cannot be read, and fails the case.
        let broken = |why: String| format!("\u{7f}the case is wrong: {why}").into_bytes();
        let mut bytes = notation::encode(kind, &with_bytes(&self.json)).unwrap_or_else(broken);
        bytes.extend(bytes_of_hex(&self.hex).unwrap_or_else(broken));
        let mut framed = vec![0];
        framed.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend(bytes);
        framed.into()
    }
}
