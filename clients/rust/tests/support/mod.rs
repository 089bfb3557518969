//! A gateway in the process of a test: it records the calls, and answers as the test says.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use dashgate_client::v1::converse_stream_response::Event;
use dashgate_client::v1::{self, Completed, ConverseStreamResponse, Delta, Started, delta};
use dashgate_client::{Client, ClientBuilder, Code, Conversation};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// A call that was received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of the method.
    pub method: String,
    /// The metadata.
    pub metadata: HeaderMap,
    /// The first message.
    pub message: Bytes,
}

impl Seen {
    /// The value of metadata, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let value = self.metadata.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The first message.
    pub fn decoded<M: Message + Default>(&self) -> M {
        M::decode(self.message.clone()).unwrap()
    }
}

/// What a call is answered with.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    messages: Vec<Bytes>,
    status: Option<(Code, &'static str)>,
    trailers: Vec<(&'static str, String)>,
    hangs: bool,
}

impl Reply {
    /// These messages, and OK.
    pub fn of<M: Message>(messages: impl IntoIterator<Item = M>) -> Self {
        let messages = messages.into_iter();
        Self {
            messages: messages
                .map(|message| message.encode_to_vec().into())
                .collect(),
            ..Self::default()
        }
    }

    /// This status.
    pub fn status(code: Code, message: &'static str) -> Self {
        Self {
            status: Some((code, message)),
            ..Self::default()
        }
    }

    /// With this status after the messages.
    pub fn ending(mut self, code: Code, message: &'static str) -> Self {
        self.status = Some((code, message));
        self
    }

    /// With a trailer.
    pub fn trailer(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.trailers.push((name, value.into()));
        self
    }

    /// Without an end.
    pub fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }
}

/// A gateway.
#[derive(Clone)]
pub struct Gateway {
    /// Its address.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    left: tokio::sync::Semaphore,
    connections: AtomicUsize,
    answer: Answer,
}

type Answer = Box<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

impl Gateway {
    /// Starts one; the function gets the number of the call, from 0.
    pub async fn start(answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            left: tokio::sync::Semaphore::new(0),
            connections: AtomicUsize::new(0),
            answer: Box::new(answer),
        });
        let router = Router::new().fallback(call).with_state(Arc::clone(&shared));
        let routes = tonic::service::Routes::from(router);
        let server = tonic::transport::Server::builder().add_routes(routes);
        let counting = Arc::clone(&shared);
        let incoming = TcpListenerStream::new(listener).map(move |connection| {
            counting.connections.fetch_add(1, Ordering::Relaxed);
            connection
        });
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { address, shared }
    }

    /// A builder of its clients.
    pub fn builder(&self) -> ClientBuilder {
        Client::builder().target(&self.address)
    }

    /// A client.
    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// The calls so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The names of the methods that were called so far.
    pub fn methods(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.method).collect()
    }

    /// Waits until the caller of an answer without an end has left.
    pub async fn left(&self) {
        let limit = Duration::from_secs(20);
        let left = tokio::time::timeout(limit, self.shared.left.acquire());
        left.await.unwrap().unwrap().forget();
    }
}

async fn call(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let is_live = parts.uri.path().ends_with("Live");
    let collected = tokio::spawn(async move {
        let body = body.collect().await;
        body.map_or_else(|_| Bytes::new(), |body| body.to_bytes())
    });
    // A session sends as long as it lives.
    let body = match is_live {
        true => Bytes::new(),
        false => collected.await.unwrap(),
    };
    let size = body.get(1..5).map_or(0, |size| {
        usize::try_from(u32::from_be_bytes(size.try_into().unwrap())).unwrap()
    });
    let seen = Seen {
        method: parts.uri.path().rsplit('/').next().unwrap().to_owned(),
        metadata: parts.headers,
        message: body.slice(body.len().min(5)..body.len().min(5 + size)),
    };
    let number = {
        let mut all = shared.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let reply = (shared.answer)(number, &seen);
    let (sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(send(sender, reply, shared));
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(axum::body::Body::new(body)).unwrap()
}

async fn send(mut sender: Sender<Bytes>, reply: Reply, shared: Arc<Shared>) {
    for message in reply.messages {
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put(message);
        if sender.send_data(frame.freeze()).await.is_err() {
            break;
        }
    }
    if reply.hangs {
        // An empty piece is refused when the caller has left.
        while sender.send_data(Bytes::new()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shared.left.add_permits(1);
        return;
    }
    let (code, message) = reply.status.unwrap_or((Code::Ok, ""));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(i32::from(code)));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    for (name, value) in reply.trailers {
        trailers.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    let _sent = sender.send_trailers(trailers).await;
}

/// The response of a unary call with this text.
pub fn answer(text: &str) -> v1::ConverseResponse {
    answer_with(text, Vec::new())
}

/// The response of a unary call with tool calls.
pub fn answer_with(text: &str, tool_calls: Vec<v1::ToolCall>) -> v1::ConverseResponse {
    let content = match text {
        "" => Vec::new(),
        text => vec![text.into()],
    };
    v1::ConverseResponse {
        choices: vec![v1::Choice {
            message: Some(v1::Message {
                role: v1::Role::Assistant.into(),
                content,
                tool_calls,
                ..v1::Message::default()
            }),
            ..v1::Choice::default()
        }],
        ..v1::ConverseResponse::default()
    }
}

/// A tool call.
pub fn tool_call(index: i32, name: &str, arguments: &str) -> v1::ToolCall {
    v1::ToolCall {
        index,
        id: format!("call_{index}"),
        r#type: "function".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        extra: None,
    }
}

/// The events of a stream: these parts between the first and the last one.
pub fn events(parts: impl IntoIterator<Item = delta::Part>) -> Vec<ConverseStreamResponse> {
    let delta = |part| {
        Event::Delta(Delta {
            part: Some(part),
            ..Delta::default()
        })
    };
    let middle = parts.into_iter().map(delta);
    let all = std::iter::once(Event::Started(Started::default())).chain(middle);
    let all = all.chain(std::iter::once(Event::Completed(Completed::default())));
    let numbered = all
        .zip(1..)
        .map(|(event, sequence)| ConverseStreamResponse {
            sequence,
            event: Some(event),
        });
    numbered.collect()
}

/// A conversation with a question.
pub fn question() -> Conversation {
    let mut conversation = Conversation::new("m");
    conversation.user("Is anybody there?");
    conversation
}
