//! What the attacks of the mixed load have in common: the gateway, and calls in bare frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dashgate::grpc::pb::{self, content};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Request;

use crate::memory::framed;
use crate::support::http2_peer::*;
use crate::support::*;

pub const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";
pub const STREAM: &str = "/dashgate.v1.ConversationService/ConverseStream";
pub const UPLOAD: &str = "/dashgate.v1.MediaService/UploadMedia";
pub const CHECK: &str = "/grpc.health.v1.Health/Check";
pub const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
pub const PADDED: u8 = 8;

/// The gateway that is attacked, and the keys that the attacker may use.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub authorization: String,
    /// With a key of 10 requests per minute.
    pub limited: String,
    pub process: Arc<Process>,
}

pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

pub fn text(text: &str) -> pb::Conversation {
    conversation("qwen3-vl-plus", vec![content::Kind::Text(text.to_owned())])
}

pub fn whole_message() -> Vec<u8> {
    framed(0, &ask_whole(text("hi")).encode_to_vec())
}

pub fn stream_message() -> Vec<u8> {
    framed(0, &ask_stream(text("hi")).encode_to_vec())
}

impl Target {
    pub async fn connect(&self) -> Raw {
        Raw::connect(self.address, Manners::Answers).await
    }

    pub fn head(&self, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let key = ("authorization", self.authorization.as_str());
        block(path, &[&[key], more].concat())
    }

    /// The frames of a call that is whole.
    pub fn call(&self, stream: u32, path: &str, more: &[(&str, &str)], message: &[u8]) -> Vec<u8> {
        whole_call(stream, &self.head(path, more), message)
    }

    /// Sends what this makes of the numbers of streams, one each so often, on one connection after
    /// the other.
    pub async fn each(&self, millis: u64, make: impl Fn(u32) -> Vec<u8>) {
        loop {
            let mut raw = self.connect().await;
            let mut stream = 1;
            while stream < 4_000 && raw.send(&make(stream)).await {
                stream += 2;
                pause(millis).await;
            }
            pause(20).await;
        }
    }

    /// Opens so many streams with the bytes that this makes, and holds them for seconds.
    pub async fn hold(&self, first: &[u8], streams: u32, make: impl Fn(u32) -> Vec<u8>) {
        loop {
            let mut raw = self.connect().await;
            raw.send(first).await;
            for number in 0..streams {
                raw.send(&make(2 * number + 1)).await;
            }
            pause(2_000).await;
        }
    }

    /// Calls with this message over and over, so many at a time.
    pub async fn repeat(
        &self,
        at_once: usize,
        millis: u64,
        make: impl Fn(usize) -> pb::ConverseRequest,
    ) {
        let client = self.process.client();
        let mut calls = JoinSet::new();
        for number in 0.. {
            let origin = self.process.origin();
            let mut client =
                pb::conversation_service_client::ConversationServiceClient::with_origin(
                    client.clone(),
                    origin,
                );
            let mut request = Request::new(make(number));
            let key = self.authorization.parse().unwrap();
            request.metadata_mut().insert("authorization", key);
            request.set_timeout(Duration::from_secs(5));
            calls.spawn(async move { drop(client.converse(request).await) });
            if calls.len() >= at_once {
                calls.join_next().await;
            }
            pause(millis).await;
        }
    }
}

pub fn whole_call(stream: u32, head: &[u8], message: &[u8]) -> Vec<u8> {
    let mut frames = h2(HEADERS, END_HEADERS, stream, head);
    let mut pieces = message.chunks(16_384).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            END_STREAM
        } else {
            0
        };
        frames.extend(h2(DATA, flags, stream, piece));
    }
    frames
}

/// A head in frames of 16 KiB.
pub fn cut(stream: u32, block: &[u8]) -> Vec<u8> {
    let pieces: Vec<_> = block.chunks(16_384).collect();
    let mut frames = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let (kind, last) = if at == 0 {
            (HEADERS, END_STREAM)
        } else {
            (CONTINUATION, 0)
        };
        let end = if at + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        frames.extend(h2(kind, last | end, stream, piece));
    }
    frames
}
