//! A live session, as its caller sees it.

use std::time::Duration;

use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::live_service_client::LiveServiceClient;
use dashgate::grpc::pb::{self, response_delta};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming};

use super::gateway::{Client, Running};

/// How long an event may take. Time is paused in most tests.
const PATIENCE: Duration = Duration::from_secs(600);

/// An open session.
pub struct LiveCall {
    sender: Option<mpsc::Sender<pb::ConverseLiveRequest>>,
    responses: Streaming<pb::ConverseLiveResponse>,
    /// The number of the last event.
    pub sequence: i32,
}

/// A setup with this model and every default.
pub fn setup(model: &str) -> pb::LiveSetup {
    pb::LiveSetup {
        model: model.to_owned(),
        ..pb::LiveSetup::default()
    }
}

/// A setup that resumes a session after this event.
pub fn resumption(started: &pb::SessionStarted, last_sequence: i32) -> pb::LiveSetup {
    pb::LiveSetup {
        resume: Some(pb::ResumeSession {
            session_id: started.session_id.clone(),
            token: started.resume_token.clone(),
            last_sequence,
        }),
        ..pb::LiveSetup::default()
    }
}

/// Turns whose end the caller says.
pub fn manual() -> Option<pb::TurnDetection> {
    Some(pb::TurnDetection {
        kind: Some(pb::turn_detection::Kind::Manual(pb::ManualTurns {})),
    })
}

impl LiveCall {
    /// Opens a session.
    pub async fn open(gateway: &Running, setup: pb::LiveSetup) -> Result<Self, Status> {
        Self::open_with(gateway, gateway.client.clone(), setup, &[]).await
    }

    /// Opens a session as the caller of this key.
    pub async fn open_as(
        gateway: &Running,
        setup: pb::LiveSetup,
        key: &str,
    ) -> Result<Self, Status> {
        let bearer = format!("Bearer {key}");
        let metadata = [("authorization", &*bearer)];
        Self::open_with(gateway, gateway.client.clone(), setup, &metadata).await
    }

    /// Opens a session on this connection, with this metadata.
    pub async fn open_with(
        gateway: &Running,
        client: Client,
        setup: pb::LiveSetup,
        metadata: &[(&'static str, &str)],
    ) -> Result<Self, Status> {
        let (sender, requests) = mpsc::channel(1024);
        let first = pb::ConverseLiveRequest {
            event: Some(Ask::Setup(setup)),
        };
        sender.send(first).await.unwrap();
        let origin = format!("http://{}", gateway.address).parse().unwrap();
        let mut client = LiveServiceClient::with_origin(client, origin);
        let mut request = Request::new(ReceiverStream::new(requests));
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let call = client.converse_live(request).await?;
        Ok(Self {
            sender: Some(sender),
            responses: call.into_inner(),
            sequence: 0,
        })
    }

    /// Resumes a session after this event.
    pub async fn resume(
        gateway: &Running,
        started: &pb::SessionStarted,
        last_sequence: i32,
    ) -> Result<Self, Status> {
        Self::open(gateway, resumption(started, last_sequence)).await
    }

    /// Sends a message.
    pub async fn send(&self, event: Ask) {
        let message = pb::ConverseLiveRequest { event: Some(event) };
        let sender = self.sender.as_ref().expect("the input is not closed");
        sender.send(message).await.unwrap();
    }

    /// Sends a message, unless the call has ended. Returns whether it was taken.
    pub async fn try_send(&self, event: Ask) -> bool {
        let message = pb::ConverseLiveRequest { event: Some(event) };
        let sender = self.sender.as_ref().expect("the input is not closed");
        sender.send(message).await.is_ok()
    }

    /// Closes the request stream.
    pub fn half_close(&mut self) {
        self.sender = None;
    }

    /// The next event; an error if the session failed, `None` after its end.
    pub async fn next(&mut self) -> Result<Option<Heard>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.responses.message());
        let message = message.await.expect("an event in time")?;
        Ok(message.map(|message| {
            self.sequence = message.sequence;
            message.event.expect("a known event")
        }))
    }

    /// The next event, of a session that goes on.
    pub async fn event(&mut self) -> Heard {
        self.next().await.unwrap().expect("the session goes on")
    }

    /// The events up to the first one that this is true of, that one included.
    pub async fn until(&mut self, is_last: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        let mut events = Vec::new();
        loop {
            let event = self.event().await;
            let over = is_last(&event);
            events.push(event);
            if over {
                return events;
            }
        }
    }

    /// All remaining events, of a session that ends well.
    pub async fn rest(&mut self) -> Vec<Heard> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await.unwrap() {
            events.push(event);
        }
        events
    }

    /// The status of a session that fails.
    pub async fn status(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session ended with OK"),
                Err(status) => return status,
            }
        }
    }
}

/// The first event of a session.
pub async fn started(call: &mut LiveCall) -> pb::SessionStarted {
    match call.event().await {
        Heard::SessionStarted(started) => started,
        other => panic!("{other:?}"),
    }
}

/// What the responses among these events said: text, transcript, and the bytes of audio.
pub fn answer(events: &[Heard]) -> (String, String, usize) {
    let (mut text, mut transcript, mut audio) = (String::new(), String::new(), 0);
    for event in events {
        if let Heard::ResponseDelta(delta) = event {
            match delta.part.as_ref().unwrap() {
                response_delta::Part::Text(part) => text.push_str(part),
                response_delta::Part::Transcript(part) => transcript.push_str(part),
                response_delta::Part::Audio(part) => audio += part.len(),
                response_delta::Part::ToolCall(_) => {}
            }
        }
    }
    (text, transcript, audio)
}

/// The names of events, repeated ones once.
pub fn order(events: &[Heard]) -> Vec<&'static str> {
    let mut names: Vec<_> = events.iter().map(name).collect();
    names.dedup();
    names
}

/// The name of an event.
pub fn name(event: &Heard) -> &'static str {
    match event {
        Heard::SessionStarted(_) => "session_started",
        Heard::SessionUpdated(_) => "session_updated",
        Heard::SpeechStarted(_) => "speech_started",
        Heard::SpeechStopped(_) => "speech_stopped",
        Heard::InputCommitted(_) => "input_committed",
        Heard::InputTranscript(_) => "input_transcript",
        Heard::AmbientTranscript(_) => "ambient_transcript",
        Heard::ResponseStarted(_) => "response_started",
        Heard::ResponseDelta(_) => "response_delta",
        Heard::ResponseCompleted(_) => "response_completed",
        Heard::SessionWarning(_) => "session_warning",
        Heard::SessionEnding(_) => "session_ending",
        Heard::SessionEnded(_) => "session_ended",
    }
}
