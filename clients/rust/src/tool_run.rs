//! The loop that runs the tools that the model calls.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::answer::Answer;
use crate::call::CallSettings;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::tool_rounds::Rounds;
use crate::tools::{Tool, ToolError};
use crate::v1;

/// A tool loop that runs when it is awaited. If it is dropped before its end, calls whose functions
/// have not ended are answered with an error, so that the conversation can be continued.
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct ToolRun<'a> {
    client: Client,
    rounds: Rounds<'a>,
    settings: CallSettings,
}

impl Client {
    /// Runs the tools that the model calls until it returns an answer without tool calls. Answers
    /// and results are appended to the conversation.
    pub fn run_tools<'a>(
        &self,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> ToolRun<'a> {
        ToolRun::new(self.clone(), conversation, tools)
    }
}

impl<'a> ToolRun<'a> {
    pub(crate) fn new(
        client: Client,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> Self {
        Self {
            client,
            rounds: Rounds::new(conversation, tools),
            settings: CallSettings::default(),
        }
    }

    async fn run(mut self) -> Result<Answer, ToolError> {
        self.rounds.declare();
        loop {
            let call = self.client.converse(&*self.rounds.conversation);
            let answer = call.with(self.settings.clone()).await?;
            self.settings.next();
            let Some(round) = self.rounds.begin(&answer)? else {
                return Ok(answer);
            };
            round.await;
            self.rounds.end()?;
        }
    }
}

/// The settings of a tool loop.
macro_rules! loop_settings {
    ($loop:ident) => {
        impl $loop<'_> {
            /// Sets how many rounds of tool calls are allowed. Default: 8.
            pub fn max_rounds(mut self, rounds: usize) -> Self {
                self.rounds.max_rounds = rounds;
                self
            }

            /// Runs the functions of a round at the same time, at most 16 of them. Their results keep
            /// the order of the calls. Default: one after the other.
            pub fn parallel(mut self, is_parallel: bool) -> Self {
                self.rounds.is_parallel = is_parallel;
                self
            }

            /// Sets the generation options. Default: those of the model.
            pub fn options(mut self, options: v1::GenerationOptions) -> Self {
                self.settings.options = Some(options);
                self
            }

            /// Sets the deadline of each call of the model. Default: the client's.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.settings.timeout = Some(timeout);
                self
            }

            /// Adds a metadata entry to each call of the model; an `x-request-id` is that of the
            /// first.
            pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.settings.metadata.push((name.into(), value.into()));
                self
            }

            /// Sets how often each call of the model is made again if it is throttled. Default: the
            /// client's.
            pub fn max_retries(mut self, retries: u32) -> Self {
                self.settings.max_retries = Some(retries);
                self
            }
        }
    };
}

loop_settings!(ToolRun);
pub(crate) use loop_settings;

impl<'a> IntoFuture for ToolRun<'a> {
    type Output = Result<Answer, ToolError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
