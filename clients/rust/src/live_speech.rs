//! Text that is spoken while it is written: what it sends, and its audio.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::error::Error;
use crate::live::{SpeechSender, SpeechSession};
use crate::v1;
use crate::v1::{synthesize_live_request, synthesize_live_response};

impl SpeechSender {
    async fn event(&self, event: synthesize_live_request::Event) -> Result<(), Error> {
        let event = Some(event);
        self.0.send(v1::SynthesizeLiveRequest { event }).await
    }
}

impl SpeechSession {
    /// Returns a stream of the audio of the remaining events.
    pub fn audio(&mut self) -> SpeechAudio<'_> {
        SpeechAudio(self)
    }

    async fn event(&self, event: synthesize_live_request::Event) -> Result<(), Error> {
        self.sender.event(event).await
    }
}

/// The messages of a synthesis, for the session and its sending side.
macro_rules! speech_messages {
    ($($owner:ty),*) => {$(
        impl $owner {
            /// Sends the next piece of the text.
            pub async fn send_text(&self, text: impl Into<String>) -> Result<(), Error> {
                self.event(synthesize_live_request::Event::Text(text.into())).await
            }

            /// Speaks the text so far. Required with `SYNTHESIS_MODE_COMMIT`.
            pub async fn commit(&self) -> Result<(), Error> {
                self.event(synthesize_live_request::Event::Commit(v1::CommitText {})).await
            }

            /// Discards text that is not spoken yet.
            pub async fn clear(&self) -> Result<(), Error> {
                self.event(synthesize_live_request::Event::Clear(v1::ClearText {})).await
            }
        }
    )*};
}

speech_messages!(SpeechSession, SpeechSender);

/// The audio of a [`SpeechSession`]: also a [`Stream`].
#[derive(Debug)]
pub struct SpeechAudio<'a>(&'a mut SpeechSession);

impl SpeechAudio<'_> {
    /// Returns the next piece of audio; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|context| self.poll_audio(context)).await
    }

    fn poll_audio(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let event = match ready!(self.0.poll_event(context)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            if let Some(synthesize_live_response::Event::ResponseDelta(delta)) = event.event
                && let Some(v1::response_delta::Part::Audio(audio)) = delta.part
                && !audio.is_empty()
            {
                return Poll::Ready(Some(Ok(audio)));
            }
        }
    }
}

impl Stream for SpeechAudio<'_> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_audio(context)
    }
}
