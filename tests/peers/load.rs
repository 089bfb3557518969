//! Callers of the gateway, one or many. They try nothing twice: what fails, fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashgate::grpc::pb;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::converse_stream_response::Event;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// A client that calls this address, without retries.
pub(crate) type Client = ConversationServiceClient<Channel>;

/// Connects.
pub(crate) async fn client(address: String) -> Result<Client, String> {
    Client::connect(address)
        .await
        .map_err(|error| format!("{error:?}"))
}

/// A question in words.
pub(crate) fn question(words: &str) -> Option<pb::Conversation> {
    let content = pb::Content {
        kind: Some(pb::content::Kind::Text(words.to_owned())),
        ..pb::Content::default()
    };
    let message = pb::Message {
        role: pb::Role::User.into(),
        content: vec![content],
        ..pb::Message::default()
    };
    Some(pb::Conversation {
        model: "qwen-vl-plus".to_owned(),
        messages: vec![message],
        ..pb::Conversation::default()
    })
}

/// Asks for a whole answer.
pub(crate) async fn whole(client: &mut Client, words: &str) -> Result<(), Status> {
    let request = pb::ConverseRequest {
        conversation: question(words),
        ..pb::ConverseRequest::default()
    };
    let response = client.converse(request).await?.into_inner();
    if response.choices.is_empty() {
        return Err(Status::new(Code::Unknown, "an answer without a choice"));
    }
    Ok(())
}

/// A question whose answer is a stream.
pub(crate) fn stream_request(words: &str) -> Request<pb::ConverseStreamRequest> {
    Request::new(pb::ConverseStreamRequest {
        conversation: question(words),
        ..pb::ConverseStreamRequest::default()
    })
}

/// Asks for a stream, hears it to its end, and says how many heartbeats there were.
pub(crate) async fn stream(client: &mut Client, words: &str) -> Result<usize, Status> {
    let events = client.converse_stream(stream_request(words)).await?;
    let mut events = events.into_inner();
    let (mut heartbeats, mut is_complete) = (0, false);
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Heartbeat(_)) => heartbeats += 1,
            Some(Event::Completed(_)) => is_complete = true,
            Some(Event::Started(_) | Event::Delta(_)) | None => {}
        }
    }
    if is_complete {
        return Ok(heartbeats);
    }
    Err(Status::new(Code::Unknown, "a stream without an end"))
}

/// Many callers at a time, until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: JoinSet<Vec<Status>>,
}

impl Load {
    /// So many callers of each method; each calls again when its call is done.
    pub(crate) fn start(client: &Client, each: usize) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut callers = JoinSet::new();
        for number in 0..each * 2 {
            let caller = Caller {
                client: client.clone(),
                streams: number % 2 == 0,
                stop: Arc::clone(&stop),
                done: Arc::clone(&done),
            };
            callers.spawn(caller.run());
        }
        Self {
            stop,
            done,
            callers,
        }
    }

    /// Lets every call end; says how many there were, and how those that failed did.
    pub(crate) async fn end(mut self) -> Result<(u64, Vec<Status>), String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut faults = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            faults.extend(caller.map_err(|error| error.to_string())?);
        }
        Ok((self.done.load(Ordering::Relaxed), faults))
    }
}

struct Caller {
    client: Client,
    streams: bool,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
}

impl Caller {
    async fn run(mut self) -> Vec<Status> {
        let mut faults = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let result = if self.streams {
                stream(&mut self.client, "How are you?").await.map(|_| ())
            } else {
                whole(&mut self.client, "How are you?").await
            };
            self.done.fetch_add(1, Ordering::Relaxed);
            faults.extend(result.err());
        }
        faults
    }
}
