//! The methods of `LiveService`, each by its setup.

use tonic::Request;

use crate::live_input::Messages;
use crate::live_progress::Notice;
use crate::live_stream::{Opened, Protocol};
use crate::transport::Transport;
use crate::v1;
use crate::v1::live_service_client::LiveServiceClient;
use crate::v1::{converse_live_request, converse_live_response};
use crate::v1::{synthesize_live_request, synthesize_live_response};

impl From<&str> for v1::LiveSetup {
    fn from(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            ..Self::default()
        }
    }
}

impl From<&str> for v1::SynthesisSetup {
    fn from(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            ..Self::default()
        }
    }
}

impl Protocol for v1::LiveSetup {
    const NAME: &'static str = "ConverseLive";
    type Request = v1::ConverseLiveRequest;
    type Response = v1::ConverseLiveResponse;

    fn resumed(&self) -> Option<&v1::ResumeSession> {
        self.resume.as_ref()
    }

    fn opening(&self, resume: Option<v1::ResumeSession>) -> Self::Request {
        let setup = match resume {
            None => self.clone(),
            resume => Self {
                resume,
                ..Self::default()
            },
        };
        let event = Some(converse_live_request::Event::Setup(setup));
        v1::ConverseLiveRequest { event }
    }

    async fn open(
        mut service: LiveServiceClient<Transport>,
        request: Request<Messages<Self::Request>>,
    ) -> Opened<Self::Response> {
        service.converse_live(request).await
    }

    fn notice(event: &Self::Response) -> (i32, Notice<'_>) {
        use converse_live_response::Event;
        let notice = match &event.event {
            Some(Event::SessionStarted(started)) => Notice::Started(started),
            Some(Event::ResponseDelta(_)) => Notice::Delta,
            Some(Event::SessionEnded(ended)) => Notice::Ended(ended),
            _ => Notice::Other,
        };
        (event.sequence, notice)
    }
}

impl Protocol for v1::SynthesisSetup {
    const NAME: &'static str = "SynthesizeLive";
    type Request = v1::SynthesizeLiveRequest;
    type Response = v1::SynthesizeLiveResponse;

    fn resumed(&self) -> Option<&v1::ResumeSession> {
        self.resume.as_ref()
    }

    fn opening(&self, resume: Option<v1::ResumeSession>) -> Self::Request {
        let setup = match resume {
            None => self.clone(),
            resume => Self {
                resume,
                ..Self::default()
            },
        };
        let event = Some(synthesize_live_request::Event::Setup(setup));
        v1::SynthesizeLiveRequest { event }
    }

    async fn open(
        mut service: LiveServiceClient<Transport>,
        request: Request<Messages<Self::Request>>,
    ) -> Opened<Self::Response> {
        service.synthesize_live(request).await
    }

    fn notice(event: &Self::Response) -> (i32, Notice<'_>) {
        use synthesize_live_response::Event;
        let notice = match &event.event {
            Some(Event::SessionStarted(started)) => Notice::Started(started),
            Some(Event::ResponseDelta(_)) => Notice::Delta,
            Some(Event::SessionEnded(ended)) => Notice::Ended(ended),
            _ => Notice::Other,
        };
        (event.sequence, notice)
    }
}
