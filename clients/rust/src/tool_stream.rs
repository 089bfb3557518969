//! The tool loop with streams.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use crate::answer::Answer;
use crate::call::CallSettings;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::events::Events;
use crate::exclusive::Exclusive;
use crate::headers::Headers;
use crate::text_deltas::text_of;
use crate::tool_rounds::Rounds;
use crate::tool_run::loop_settings;
use crate::tools::{Tool, ToolError};
use crate::v1;
use crate::v1::ConverseStreamResponse;

/// A tool loop with streams: a [`Stream`] of the events of all answers, in order. The first call is
/// made when the first event is read. Dropping it cancels the running call, or drops the running
/// functions and answers their calls with an error, so that the conversation can be continued.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), dashgate_client::ToolError> {
/// # let mut conversation = dashgate_client::Conversation::new("qwen3.6-plus");
/// # let tools = [];
/// let mut events = client.stream_tools(&mut conversation, &tools).parallel(true);
/// while let Some(event) = events.next().await {
///     println!("{:?}", event?);
/// }
/// let answer = events.finish().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the loop"]
pub struct ToolStream<'a> {
    client: Client,
    rounds: Rounds<'a>,
    settings: CallSettings,
    state: State,
    /// The stream of the latest round. It is kept after its end, for the answer so far.
    events: Option<Box<Events>>,
}

enum State {
    /// Before the first call.
    New,
    Opening(Exclusive<Result<Events, Error>>),
    Reading,
    /// The functions of a round run.
    Running(Exclusive<()>),
    /// With the last answer, unless the loop failed.
    Ended(Option<Box<Answer>>),
}

impl Client {
    /// Runs the tools as [`run_tools`](Self::run_tools), with streams: the events of all answers, in
    /// order.
    pub fn stream_tools<'a>(
        &self,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> ToolStream<'a> {
        ToolStream::new(self.clone(), conversation, tools)
    }
}

impl<'a> ToolStream<'a> {
    pub(crate) fn new(
        client: Client,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> Self {
        Self {
            client,
            rounds: Rounds::new(conversation, tools),
            settings: CallSettings::default(),
            state: State::New,
            events: None,
        }
    }

    /// Returns the next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<ConverseStreamResponse, ToolError>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    /// Returns a stream of the text deltas of all answers, without empty ones.
    pub fn text_deltas(&mut self) -> ToolTextDeltas<'_, 'a> {
        ToolTextDeltas(self)
    }

    /// Returns the answer of the latest round so far, as [`Events::partial`] does.
    pub fn partial(&self) -> Option<Answer> {
        self.events.as_ref()?.partial()
    }

    /// Returns the metadata of the response of the latest round; `None` before the first response.
    pub fn headers(&self) -> Option<&Headers> {
        self.events.as_ref().map(|events| events.headers())
    }

    /// Reads the remaining events and returns the last answer.
    ///
    /// # Errors
    ///
    /// The loop failed. An error that was returned by [`next`](Self::next) is not returned again: the
    /// code is then `CANCELLED`.
    pub async fn finish(&mut self) -> Result<Answer, ToolError> {
        while let Some(event) = self.next().await {
            event?;
        }
        match &self.state {
            State::Ended(Some(answer)) => Ok(Answer::clone(answer)),
            _ => {
                let message = "the tool loop has failed before";
                Err(Error::of_client(tonic::Code::Cancelled, "", message, "").into())
            }
        }
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ConverseStreamResponse, ToolError>>> {
        loop {
            let next = match &mut self.state {
                State::Ended(_) => return Poll::Ready(None),
                State::New => {
                    self.rounds.declare();
                    Ok(self.open())
                }
                State::Opening(opening) => match ready!(opening.poll(context)) {
                    Ok(events) => {
                        self.events = Some(Box::new(events));
                        Ok(State::Reading)
                    }
                    Err(error) => Err(error.into()),
                },
                State::Reading => {
                    let event = match &mut self.events {
                        Some(events) => ready!(events.poll_event(context)),
                        None => None,
                    };
                    match event {
                        Some(Ok(event)) => return Poll::Ready(Some(Ok(event))),
                        Some(Err(error)) => Err(error.into()),
                        None => match self.partial() {
                            Some(answer) => self.answered(answer),
                            None => Ok(State::Ended(None)),
                        },
                    }
                }
                State::Running(running) => {
                    ready!(running.poll(context));
                    self.rounds.end().map(|()| self.open())
                }
            };
            match next {
                Ok(state) => self.state = state,
                Err(error) => {
                    self.state = State::Ended(None);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn open(&mut self) -> State {
        let call = self.client.stream(&*self.rounds.conversation);
        let call = call.with(self.settings.clone());
        self.settings.next();
        State::Opening(Exclusive::new(call.into_future()))
    }

    fn answered(&mut self, answer: Answer) -> Result<State, ToolError> {
        Ok(match self.rounds.begin(&answer)? {
            Some(round) => State::Running(Exclusive::new(round)),
            None => State::Ended(Some(Box::new(answer))),
        })
    }
}

loop_settings!(ToolStream);

impl Stream for ToolStream<'_> {
    type Item = Result<ConverseStreamResponse, ToolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context)
    }
}

/// The text deltas of a tool loop: also a [`Stream`].
#[derive(Debug)]
pub struct ToolTextDeltas<'s, 'a>(&'s mut ToolStream<'a>);

impl ToolTextDeltas<'_, '_> {
    /// Returns the next text delta; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<String, ToolError>> {
        poll_fn(|context| self.poll_text(context)).await
    }

    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, ToolError>>> {
        loop {
            match ready!(self.0.poll_event(context)) {
                Some(Ok(event)) => {
                    if let Some(text) = text_of(event) {
                        return Poll::Ready(Some(Ok(text)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for ToolTextDeltas<'_, '_> {
    type Item = Result<String, ToolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_text(context)
    }
}

impl fmt::Debug for ToolStream<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("ToolStream")
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}
