//! Functions that the model may call.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::v1;
use crate::v1::tool::Kind;

pub(crate) type Fault = Box<dyn StdError + Send + Sync>;
/// The function of a tool: from the arguments to the result.
pub(crate) type Function = Arc<dyn Fn(String) -> Running + Send + Sync>;
/// A function that is running.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<String, Fault>> + Send>>;

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
    function: Function,
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
            function: Arc::new(move |arguments| {
                let returned = function(arguments);
                Box::pin(async move { returned.await.map_err(Into::into) })
            }),
        }
    }

    /// Creates a tool whose function takes a value: the JSON Schema of its type is that of the
    /// arguments. Arguments that are not such a value are answered with the error, so that the model
    /// can correct them.
    ///
    /// ```
    /// use dashgate_client::Tool;
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// struct Place {
    ///     /// The name of a city.
    ///     city: String,
    /// }
    ///
    /// let tool = Tool::typed("weather", "The weather in a city, now.", |place: Place| async move {
    ///     Ok::<_, std::io::Error>(format!("clear in {}", place.city))
    /// });
    /// assert_eq!(tool.name(), "weather");
    /// ```
    #[cfg(feature = "schema")]
    pub fn typed<Arguments, Run, Returned, Wrong>(
        name: impl Into<String>,
        description: impl Into<String>,
        function: Run,
    ) -> Self
    where
        Arguments: serde::de::DeserializeOwned + schemars::JsonSchema,
        Run: Fn(Arguments) -> Returned + Send + Sync + 'static,
        Returned: Future<Output = Result<String, Wrong>> + Send + 'static,
        Wrong: Into<Fault>,
    {
        Self {
            declaration: v1::FunctionTool {
                name: name.into(),
                description: description.into(),
                parameters: crate::schema::json_schema::<Arguments>(),
            },
            function: Arc::new(move |arguments| match serde_json::from_str(&arguments) {
                Ok(arguments) => {
                    let returned = function(arguments);
                    Box::pin(async move { returned.await.map_err(Into::into) })
                }
                Err(error) => {
                    let error = crate::parse_error::ParseError::of(&error);
                    let text = format!("the arguments are invalid: {error}");
                    let result = serde_json::json!({"error": text}).to_string();
                    Box::pin(async move { Ok(result) })
                }
            }),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.declaration.name
    }

    pub(crate) fn function(&self) -> Function {
        Arc::clone(&self.function)
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
