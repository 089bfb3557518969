//! Functions that the model may call, and the loop that runs them.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use tonic::Code;

use crate::answer::Answer;
use crate::client::Client;
use crate::conversation::Conversation;
use crate::error::Error;
use crate::v1;
use crate::v1::tool::Kind;

const DEFAULT_MAX_ROUNDS: usize = 8;

type Fault = Box<dyn StdError + Send + Sync>;
type Running = Pin<Box<dyn Future<Output = Result<String, Fault>> + Send>>;

/// A function that the model may call.
///
/// ```
/// use dashgate_client::Tool;
///
/// let tool = Tool::new(
///     "weather",
///     "The weather in a city, now.",
///     r#"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#,
///     |arguments: String| async move {
///         Ok::<_, std::io::Error>(format!(r#"{{"asked": {arguments}, "sky": "clear"}}"#))
///     },
/// );
/// assert_eq!(tool.name(), "weather");
/// ```
pub struct Tool {
    declaration: v1::FunctionTool,
    function: Box<dyn Fn(String) -> Running + Send + Sync>,
}

impl Tool {
    /// Creates a tool. `parameters` is the JSON Schema of its arguments, as JSON text. The function
    /// receives the arguments as the model wrote them, which may be invalid JSON.
    pub fn new<Run, Returned, Wrong>(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: impl Into<String>,
        function: Run,
    ) -> Self
    where
        Run: Fn(String) -> Returned + Send + Sync + 'static,
        Returned: Future<Output = Result<String, Wrong>> + Send + 'static,
        Wrong: Into<Fault>,
    {
        Self {
            declaration: v1::FunctionTool {
                name: name.into(),
                description: description.into(),
                parameters: parameters.into(),
            },
            function: Box::new(move |arguments| {
                let returned = function(arguments);
                Box::pin(async move { returned.await.map_err(Into::into) })
            }),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.declaration.name
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Tool")
            .field("declaration", &self.declaration)
            .finish_non_exhaustive()
    }
}

impl From<&Tool> for v1::Tool {
    fn from(tool: &Tool) -> Self {
        Self::from(tool.declaration.clone())
    }
}

impl From<v1::FunctionTool> for v1::Tool {
    fn from(function: v1::FunctionTool) -> Self {
        Self {
            kind: Some(Kind::Function(function)),
        }
    }
}

/// The results of functions that brought none: no call stays unanswered.
const FAILED: &str = r#"{"error":"the function failed"}"#;
const NOT_RUN: &str = r#"{"error":"the function was not run"}"#;

/// The error of a tool loop.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToolError {
    /// A call of the model failed, or the model called tools in more rounds than allowed:
    /// `TOOL_ROUNDS`.
    Call(Error),
    /// A tool failed: its own error, unchanged.
    Tool(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for ToolError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(to),
            Self::Tool(error) => error.fmt(to),
        }
    }
}

impl StdError for ToolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Call(error) => error.source(),
            Self::Tool(error) => error.source(),
        }
    }
}

impl From<Error> for ToolError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// A tool loop that runs when it is awaited.
#[derive(Debug)]
#[must_use = "no request is sent until it is awaited"]
pub struct ToolRun<'a> {
    client: Client,
    conversation: &'a mut Conversation,
    tools: &'a [Tool],
    options: v1::GenerationOptions,
    max_rounds: usize,
}

impl<'a> ToolRun<'a> {
    pub(crate) fn new(
        client: Client,
        conversation: &'a mut Conversation,
        tools: &'a [Tool],
    ) -> Self {
        Self {
            client,
            conversation,
            tools,
            options: v1::GenerationOptions::default(),
            max_rounds: DEFAULT_MAX_ROUNDS,
        }
    }

    /// Sets how many rounds of tool calls are allowed. Default: 8.
    pub fn max_rounds(mut self, rounds: usize) -> Self {
        self.max_rounds = rounds;
        self
    }

    /// Sets the generation options. Default: those of the model.
    pub fn options(mut self, options: v1::GenerationOptions) -> Self {
        self.options = options;
        self
    }

    async fn run(mut self) -> Result<Answer, ToolError> {
        for tool in self.tools {
            let declaration = v1::Tool::from(tool);
            if !self.conversation.raw().tools.contains(&declaration) {
                self.conversation.tool(declaration);
            }
        }
        let mut rounds = 0;
        loop {
            let call = self.client.converse(&*self.conversation);
            let answer = call.options(self.options.clone()).await?;
            self.conversation.append(&answer);
            if answer.tool_calls().is_empty() {
                return Ok(answer);
            }
            let calls = answer.tool_calls();
            if rounds == self.max_rounds {
                self.answer_all(calls, NOT_RUN);
                let message = format!("the model still asks for tools after {rounds} rounds");
                let code = Code::FailedPrecondition;
                let id = answer.request_id();
                return Err(Error::of_client(code, "TOOL_ROUNDS", &message, id).into());
            }
            rounds += 1;
            for (at, call) in calls.iter().enumerate() {
                let result = match self.tools.iter().find(|tool| tool.name() == call.name) {
                    Some(tool) => (tool.function)(call.arguments.clone()).await,
                    None => Ok(missing(&call.name)),
                };
                match result {
                    Ok(result) => self.conversation.tool_result(call, result),
                    Err(error) => {
                        self.conversation.tool_result(call, FAILED);
                        self.answer_all(calls.get(at + 1..).unwrap_or_default(), NOT_RUN);
                        return Err(ToolError::Tool(error));
                    }
                };
            }
        }
    }

    fn answer_all(&mut self, calls: &[v1::ToolCall], result: &str) {
        for call in calls {
            self.conversation.tool_result(call, result);
        }
    }
}

impl<'a> IntoFuture for ToolRun<'a> {
    type Output = Result<Answer, ToolError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
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
