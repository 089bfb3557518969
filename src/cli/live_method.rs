//! The two methods of the live service, as their commands use them.

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::grpc::pb;
use crate::grpc::pb::converse_live_request::Event as ConverseInput;
use crate::grpc::pb::converse_live_response::Event;
use crate::grpc::pb::synthesize_live_request::Event as SynthesizeInput;
use crate::grpc::pb::synthesize_live_response::Event as SynthesizeEvent;

use super::gateway::Gateway;

/// A method of the live service.
pub(crate) trait LiveMethod {
    /// A message that is sent.
    type Input: Send + 'static;
    /// A message that is received.
    type Output: prost::Message + Default + Send + 'static;

    /// Opens a stream.
    async fn call(
        gateway: &Gateway,
        request: Request<ReceiverStream<Self::Input>>,
    ) -> Result<Response<Streaming<Self::Output>>, Status>;

    /// The first message of a stream that resumes a session.
    fn resume(resume: pb::ResumeSession) -> Self::Input;

    /// The message that confirms events.
    fn acknowledge(sequence: i32) -> Self::Input;

    /// A received message as one of ConverseLive, which has the events of both methods.
    fn event(output: Self::Output) -> pb::ConverseLiveResponse;
}

/// ConverseLive.
pub(crate) struct Converse;

/// SynthesizeLive.
pub(crate) struct Synthesize;

/// A message of ConverseLive.
pub(crate) fn converse(event: ConverseInput) -> pb::ConverseLiveRequest {
    pb::ConverseLiveRequest { event: Some(event) }
}

/// A message of SynthesizeLive.
pub(crate) fn synthesize(event: SynthesizeInput) -> pb::SynthesizeLiveRequest {
    pb::SynthesizeLiveRequest { event: Some(event) }
}

impl LiveMethod for Converse {
    type Input = pb::ConverseLiveRequest;
    type Output = pb::ConverseLiveResponse;

    async fn call(
        gateway: &Gateway,
        request: Request<ReceiverStream<Self::Input>>,
    ) -> Result<Response<Streaming<Self::Output>>, Status> {
        gateway.live().converse_live(request).await
    }

    fn resume(resume: pb::ResumeSession) -> Self::Input {
        converse(ConverseInput::Setup(pb::LiveSetup {
            resume: Some(resume),
            ..pb::LiveSetup::default()
        }))
    }

    fn acknowledge(sequence: i32) -> Self::Input {
        converse(ConverseInput::Acknowledge(pb::Acknowledge { sequence }))
    }

    fn event(output: Self::Output) -> pb::ConverseLiveResponse {
        output
    }
}

impl LiveMethod for Synthesize {
    type Input = pb::SynthesizeLiveRequest;
    type Output = pb::SynthesizeLiveResponse;

    async fn call(
        gateway: &Gateway,
        request: Request<ReceiverStream<Self::Input>>,
    ) -> Result<Response<Streaming<Self::Output>>, Status> {
        gateway.live().synthesize_live(request).await
    }

    fn resume(resume: pb::ResumeSession) -> Self::Input {
        synthesize(SynthesizeInput::Setup(pb::SynthesisSetup {
            resume: Some(resume),
            ..pb::SynthesisSetup::default()
        }))
    }

    fn acknowledge(sequence: i32) -> Self::Input {
        synthesize(SynthesizeInput::Acknowledge(pb::Acknowledge { sequence }))
    }

    fn event(output: Self::Output) -> pb::ConverseLiveResponse {
        let event = output.event.map(|event| match event {
            SynthesizeEvent::SessionStarted(event) => Event::SessionStarted(event),
            SynthesizeEvent::ResponseStarted(event) => Event::ResponseStarted(event),
            SynthesizeEvent::ResponseDelta(event) => Event::ResponseDelta(event),
            SynthesizeEvent::ResponseCompleted(event) => Event::ResponseCompleted(event),
            SynthesizeEvent::SessionWarning(event) => Event::SessionWarning(event),
            SynthesizeEvent::SessionEnding(event) => Event::SessionEnding(event),
            SynthesizeEvent::SessionEnded(event) => Event::SessionEnded(event),
        });
        pb::ConverseLiveResponse {
            sequence: output.sequence,
            event,
        }
    }
}
