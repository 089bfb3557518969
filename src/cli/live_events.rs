//! The events of a live session: those of both methods as those of ConverseLive, which has all.

use dashgate_client::v1 as pb;
use dashgate_client::v1::converse_live_response::Event;
use dashgate_client::v1::synthesize_live_response::Event as SynthesizeEvent;
use dashgate_client::{Error, LiveSession, SpeechSession};

/// The receiving side of a live session.
pub(crate) trait LiveEvents {
    /// The next event; `None` after the last one. It can be dropped at any time without a loss.
    async fn next(&mut self) -> Option<Result<pb::ConverseLiveResponse, Error>>;

    /// How often the client has tried to resume the session.
    fn resumes(&self) -> u32;

    /// Ends the session without its answers. A session that is only dropped goes on for a while,
    /// because it could be resumed.
    async fn leave(&mut self);
}

impl LiveEvents for LiveSession {
    async fn next(&mut self) -> Option<Result<pb::ConverseLiveResponse, Error>> {
        Self::next(self).await
    }

    fn resumes(&self) -> u32 {
        Self::resumes(self)
    }

    async fn leave(&mut self) {
        // A session that has ended accepts neither.
        let _ = self.clear().await;
        let _ = self.cancel_response().await;
        self.finish();
        while let Some(Ok(_)) = Self::next(self).await {}
    }
}

impl LiveEvents for SpeechSession {
    async fn next(&mut self) -> Option<Result<pb::ConverseLiveResponse, Error>> {
        let response = Self::next(self).await?;
        Some(response.map(|response| pb::ConverseLiveResponse {
            sequence: response.sequence,
            event: response.event.map(of_both),
        }))
    }

    fn resumes(&self) -> u32 {
        Self::resumes(self)
    }

    async fn leave(&mut self) {
        // A session that has ended does not accept it.
        let _ = self.clear().await;
        self.finish();
        while let Some(Ok(_)) = Self::next(self).await {}
    }
}

fn of_both(event: SynthesizeEvent) -> Event {
    match event {
        SynthesizeEvent::SessionStarted(event) => Event::SessionStarted(event),
        SynthesizeEvent::ResponseStarted(event) => Event::ResponseStarted(event),
        SynthesizeEvent::ResponseDelta(event) => Event::ResponseDelta(event),
        SynthesizeEvent::ResponseCompleted(event) => Event::ResponseCompleted(event),
        SynthesizeEvent::SessionWarning(event) => Event::SessionWarning(event),
        SynthesizeEvent::SessionEnding(event) => Event::SessionEnding(event),
        SynthesizeEvent::SessionEnded(event) => Event::SessionEnded(event),
    }
}
