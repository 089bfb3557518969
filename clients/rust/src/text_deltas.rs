//! The texts of a streamed answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::error::Error;
use crate::events::Events;
use crate::v1::converse_stream_response::Event;
use crate::v1::{ConverseStreamResponse, delta};

/// The text deltas of an answer: also a [`Stream`].
#[derive(Debug)]
pub struct TextDeltas<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Borrowed(&'a mut Events),
    Owned(Box<Events>),
}

impl Events {
    /// Returns a stream of the text deltas of the first answer, without empty ones.
    pub fn text_deltas(&mut self) -> TextDeltas<'_> {
        TextDeltas(Held::Borrowed(self))
    }

    /// Converts into a stream of the text deltas, for example for the body of an HTTP response.
    pub fn into_text_deltas(self) -> TextDeltas<'static> {
        TextDeltas(Held::Owned(Box::new(self)))
    }
}

impl TextDeltas<'_> {
    /// Returns the next text delta; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<String, Error>> {
        poll_fn(|context| self.poll_text(context)).await
    }

    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, Error>>> {
        let events = match &mut self.0 {
            Held::Borrowed(events) => events,
            Held::Owned(events) => &mut **events,
        };
        loop {
            let event = match ready!(events.poll_event(context)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            if let Some(text) = text_of(event) {
                return Poll::Ready(Some(Ok(text)));
            }
        }
    }
}

/// The text of an event of the first answer, unless it has none.
pub(crate) fn text_of(event: ConverseStreamResponse) -> Option<String> {
    match event.event {
        Some(Event::Delta(delta)) if delta.choice_index == 0 => match delta.part {
            Some(delta::Part::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        },
        _ => None,
    }
}

impl Stream for TextDeltas<'_> {
    type Item = Result<String, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_text(context)
    }
}
