//! The rounds of a tool loop: which functions run, and what is appended to the conversation.

use std::pin::Pin;

use tonic::Code;

use crate::answer::Answer;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::tool_functions::{Outcome, Outcomes, Task, one_by_one, together};
use crate::tools::{Fault, Tool, ToolError};
use crate::v1;
use crate::v1::ToolCall;

const DEFAULT_MAX_ROUNDS: usize = 8;

/// The results of functions that brought none: no call stays unanswered.
const FAILED: &str = r#"{"error":"the function failed"}"#;
const NOT_RUN: &str = r#"{"error":"the function was not run"}"#;

/// The state of a tool loop.
#[derive(Debug)]
pub(crate) struct Rounds<'a> {
    pub(crate) conversation: &'a mut Conversation,
    tools: &'a [Tool],
    pub(crate) max_rounds: usize,
    pub(crate) is_parallel: bool,
    done: usize,
    /// The calls that are not answered yet, and what came of their functions.
    calls: Vec<ToolCall>,
    outcomes: Outcomes,
}

/// The functions of a round while they run.
pub(crate) type Round = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<'a> Rounds<'a> {
    pub(crate) fn new(conversation: &'a mut Conversation, tools: &'a [Tool]) -> Self {
        Self {
            conversation,
            tools,
            max_rounds: DEFAULT_MAX_ROUNDS,
            is_parallel: false,
            done: 0,
            calls: Vec::new(),
            outcomes: Outcomes::default(),
        }
    }

    /// Declares the tools that the conversation does not have.
    pub(crate) fn declare(&mut self) {
        for tool in self.tools {
            let declaration = v1::Tool::from(tool);
            if !self.conversation.raw().tools.contains(&declaration) {
                self.conversation.tool(declaration);
            }
        }
    }

    /// Appends an answer, and starts the functions that it requests; `None` if there are none.
    ///
    /// # Errors
    ///
    /// The model requests functions in more rounds than allowed.
    pub(crate) fn begin(&mut self, answer: &Answer) -> Result<Option<Round>, ToolError> {
        self.conversation.append(answer);
        self.calls = answer.tool_calls().to_vec();
        if self.calls.is_empty() {
            return Ok(None);
        }
        self.outcomes = Outcomes::of(self.calls.len());
        if self.done == self.max_rounds {
            self.answer();
            let message = format!("the model still asks for tools after {} rounds", self.done);
            let code = Code::FailedPrecondition;
            let id = answer.request_id();
            return Err(Error::of_client(code, "TOOL_ROUNDS", &message, id).into());
        }
        self.done += 1;
        let tasks = self.calls.iter().map(|call| Task::of(self.tools, call));
        let tasks: Vec<Task> = tasks.collect();
        let outcomes = self.outcomes.clone();
        Ok(Some(match self.is_parallel {
            true => Box::pin(together(tasks, outcomes)),
            false => Box::pin(one_by_one(tasks, outcomes)),
        }))
    }

    /// Appends the results of a round.
    ///
    /// # Errors
    ///
    /// A function failed.
    pub(crate) fn end(&mut self) -> Result<(), ToolError> {
        match self.answer() {
            Some(fault) => Err(ToolError::Tool(fault)),
            None => Ok(()),
        }
    }

    /// Answers all calls, and returns the first error.
    fn answer(&mut self) -> Option<Fault> {
        let mut first = None;
        let calls = std::mem::take(&mut self.calls);
        for (call, outcome) in calls.iter().zip(self.outcomes.take()) {
            let result = match outcome {
                Outcome::NotRun => NOT_RUN.to_owned(),
                Outcome::Begun => FAILED.to_owned(),
                Outcome::Ended(Ok(result)) => result,
                Outcome::Ended(Err(fault)) => {
                    first.get_or_insert(fault);
                    FAILED.to_owned()
                }
            };
            self.conversation.tool_result(call, result);
        }
        first
    }
}

impl Drop for Rounds<'_> {
    /// Answers the calls of a loop that is dropped while its functions run, or that panics, so that
    /// the conversation can be continued.
    fn drop(&mut self) {
        let _fault = self.answer();
    }
}
