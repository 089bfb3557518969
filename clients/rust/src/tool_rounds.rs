//! The rounds of a tool loop: which functions run, and what is appended to the conversation.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tonic::Code;

use crate::answer::Answer;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::tools::{Fault, Function, Running, Tool, ToolError};
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
    calls: Vec<ToolCall>,
}

/// The results of the functions that were run, in the order of the calls.
pub(crate) type Results = Vec<Result<String, Fault>>;

/// The functions of a round while they run.
pub(crate) type Round = Pin<Box<dyn Future<Output = Results> + Send>>;

impl<'a> Rounds<'a> {
    pub(crate) fn new(conversation: &'a mut Conversation, tools: &'a [Tool]) -> Self {
        Self {
            conversation,
            tools,
            max_rounds: DEFAULT_MAX_ROUNDS,
            is_parallel: false,
            done: 0,
            calls: Vec::new(),
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
        if self.done == self.max_rounds {
            self.answer(Vec::new());
            let message = format!("the model still asks for tools after {} rounds", self.done);
            let code = Code::FailedPrecondition;
            let id = answer.request_id();
            return Err(Error::of_client(code, "TOOL_ROUNDS", &message, id).into());
        }
        self.done += 1;
        let tasks = self.calls.iter().map(|call| Task::of(self.tools, call));
        let tasks: Vec<Task> = tasks.collect();
        Ok(Some(match self.is_parallel {
            true => Box::pin(together(tasks)),
            false => Box::pin(one_by_one(tasks)),
        }))
    }

    /// Appends the results of a round.
    ///
    /// # Errors
    ///
    /// A function failed.
    pub(crate) fn end(&mut self, results: Results) -> Result<(), ToolError> {
        match self.answer(results) {
            Some(fault) => Err(ToolError::Tool(fault)),
            None => Ok(()),
        }
    }

    /// Answers all calls, and returns the first error.
    fn answer(&mut self, results: Results) -> Option<Fault> {
        let mut first = None;
        let mut results = results.into_iter();
        for call in std::mem::take(&mut self.calls) {
            match results.next() {
                Some(Ok(result)) => self.conversation.tool_result(&call, result),
                Some(Err(fault)) => {
                    first.get_or_insert(fault);
                    self.conversation.tool_result(&call, FAILED)
                }
                None => self.conversation.tool_result(&call, NOT_RUN),
            };
        }
        first
    }
}

/// A call that is to be run.
struct Task {
    /// `None` if there is no such tool.
    function: Option<Function>,
    name: String,
    arguments: String,
}

impl Task {
    fn of(tools: &[Tool], call: &ToolCall) -> Self {
        let tool = tools.iter().find(|tool| tool.name() == call.name);
        Self {
            function: tool.map(Tool::function),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        }
    }

    fn start(self) -> Running {
        match self.function {
            Some(function) => function(self.arguments),
            None => Box::pin(async move { Ok(missing(&self.name)) }),
        }
    }
}

/// Runs one function after the other, up to the first that fails.
async fn one_by_one(tasks: Vec<Task>) -> Results {
    let mut results = Results::new();
    for task in tasks {
        results.push(task.start().await);
        if matches!(results.last(), Some(Err(_))) {
            break;
        }
    }
    results
}

/// Runs all functions at the same time, to their ends.
async fn together(tasks: Vec<Task>) -> Results {
    let mut running: Vec<_> = tasks.into_iter().map(Task::start).collect();
    let mut ended: Vec<_> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (running, ended) in running.iter_mut().zip(&mut ended) {
            if ended.is_none()
                && let Poll::Ready(result) = running.as_mut().poll(context)
            {
                *ended = Some(result);
            }
        }
        match ended.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    ended.into_iter().flatten().collect()
}

/// Returns the result of a call of an unknown tool. The name is escaped, because the model may
/// write any text.
fn missing(name: &str) -> String {
    let mut json = String::from(r#"{"error":"there is no tool "#);
    for letter in name.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            letter if letter.is_control() => {
                json.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => json.push(letter),
        }
    }
    json + r#""}"#
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_tool_is_reported_as_json() {
        assert_eq!(missing("f"), r#"{"error":"there is no tool f"}"#);
        let odd = "a\"b\\c\nd\u{85}天";
        let result: serde_json::Value = serde_json::from_str(&missing(odd)).unwrap();
        assert_eq!(result["error"], format!("there is no tool {odd}"));
    }
}
