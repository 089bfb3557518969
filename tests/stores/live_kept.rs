//! What tests of live sessions that continue a stored conversation share.

use std::time::Duration;

use dashgate::config::{Settings, StoreSettings};
use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::json;
use tonic::Status;

use crate::kept::{Conversations, NAME, create};
use crate::support::live_call::{LiveCall, manual, setup, started};
use crate::support::realtime::{RealtimeUpstream, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// A gateway in front of a scripted realtime interface, with a conversation.
pub struct Bench {
    pub upstream: RealtimeUpstream,
    pub gateway: Running,
    pub client: Conversations,
}

/// An open session.
pub struct Live {
    pub started: pb::SessionStarted,
    pub call: LiveCall,
    pub socket: UpstreamSocket,
}

impl Bench {
    /// With a new conversation.
    pub async fn new(store: &StoreSettings) -> Self {
        let mut bench = Self::at(store, |_| {}).await;
        create(&mut bench.client).await;
        bench
    }

    /// With changed settings and no conversation.
    pub async fn at(store: &StoreSettings, change: impl FnOnce(&mut Settings)) -> Self {
        let upstream = RealtimeUpstream::start().await;
        let with_store = |settings: &mut Settings| {
            settings.store = Some(store.clone());
            change(settings);
        };
        let gateway = gateway_at(upstream.base_url(), with_store).await;
        Self {
            client: gateway.conversation(),
            upstream,
            gateway,
        }
    }

    /// Opens a session.
    pub async fn open(&mut self, setup: pb::LiveSetup) -> Live {
        let opening = LiveCall::open_as(&self.gateway, setup, "k");
        let (call, mut socket) = tokio::join!(opening, self.upstream.session());
        socket.configured().await;
        let mut call = call.unwrap();
        Live {
            started: started(&mut call).await,
            call,
            socket,
        }
    }

    /// A session of the conversation with turns by hand.
    pub async fn talk(&mut self) -> Live {
        self.open(by_hand()).await
    }

    /// Why a session does not start.
    pub async fn refused(&mut self, setup: pb::LiveSetup, key: &str) -> Status {
        let mut call = LiveCall::open_as(&self.gateway, setup, key).await;
        let status = match &mut call {
            Ok(call) => call.status().await,
            Err(status) => status.clone(),
        };
        assert!(!self.upstream.has_connection());
        status
    }
}

impl Live {
    /// Asks a question, and returns the end of the answer to it.
    pub async fn exchange(&mut self, id: &str) -> pb::ResponseCompleted {
        self.ask(&format!("question {id}")).await;
        self.socket.answer(id, &format!("answer {id}"));
        self.completed().await
    }

    /// Sends text and requests a response.
    pub async fn ask(&mut self, text: &str) {
        self.call.send(Ask::Text(text.to_owned())).await;
        self.call.send(request()).await;
        self.socket.until("response.create").await;
    }

    /// The end of the next response.
    pub async fn completed(&mut self) -> pb::ResponseCompleted {
        let is_end = |event: &Heard| matches!(event, Heard::ResponseCompleted(_));
        match self.call.until(is_end).await.pop() {
            Some(Heard::ResponseCompleted(end)) => end,
            other => panic!("{other:?}"),
        }
    }

    /// The next messages that the gateway sends: their roles and texts.
    pub async fn messages(&mut self, count: usize) -> Vec<(String, String)> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let frame = self.socket.until("conversation.item.create").await;
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            let item = &frame["item"];
            messages.push((text(&item["role"]), text(&item["content"][0]["text"])));
        }
        messages
    }

    /// Speech of the caller, which became this item.
    pub fn speech(&self, item: &str) {
        self.socket.speech_started(item);
        self.socket.speech_stopped(item);
    }

    /// The transcript of speech.
    pub fn heard(&self, item: &str, words: &str) {
        self.socket.send(json!({
            "type": "conversation.item.input_audio_transcription.completed", "item_id": item,
            "transcript": words,
        }));
    }
}

/// Requests a response.
pub fn request() -> Ask {
    Ask::CreateResponse(pb::CreateResponse::default())
}

/// A setup that continues the conversation.
pub fn kept() -> pb::LiveSetup {
    of(NAME)
}

/// A setup that continues the conversation with this name.
pub fn of(name: &str) -> pb::LiveSetup {
    pb::LiveSetup {
        conversation: Some(pb::LiveConversation {
            name: name.to_owned(),
            ..pb::LiveConversation::default()
        }),
        ..setup(OMNI)
    }
}

/// The same, with turns by hand.
pub fn by_hand() -> pb::LiveSetup {
    pb::LiveSetup {
        turn_detection: manual(),
        ..kept()
    }
}

/// A role and a text.
pub fn message(role: &str, text: &str) -> (String, String) {
    (role.to_owned(), text.to_owned())
}

/// The roles and texts of a turn: those of its messages, then the answer.
pub fn content(turn: &pb::Turn) -> Vec<(String, String)> {
    let all = turn.messages.iter().chain(&turn.answer);
    let role = |one: &pb::Message| {
        one.role()
            .as_str_name()
            .trim_start_matches("ROLE_")
            .to_lowercase()
    };
    all.map(|one| (role(one), crate::kept::text_of(one)))
        .collect()
}

/// Less than a transcript is awaited.
pub const SOON: Duration = Duration::from_millis(900);
