//! Conversion of tools to DashScope's JSON.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::chat::message::{Tool, ToolChoice};
use crate::error::Error;

/// A tool in a request.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ToolJson<'a> {
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Function<'a>,
    },
    Raw(&'a RawValue),
}

/// The function of a tool.
#[derive(Serialize)]
pub(crate) struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
}

impl<'a> ToolJson<'a> {
    /// Converts the tool at a position.
    pub(crate) fn new(at: usize, tool: &'a Tool) -> Result<Self, Error> {
        let field = |name: &str| format!("conversation.tools[{at}].{name}");
        Ok(match tool {
            Tool::Function {
                name,
                description,
                parameters,
            } => Self::Function {
                kind: "function",
                function: Function {
                    name,
                    description,
                    parameters: raw(parameters, || field("function.parameters"))?,
                },
            },
            Tool::Raw(json) => Self::Raw(
                raw(json, || field("raw_json"))?
                    .ok_or_else(|| Error::field(field("raw_json"), "must not be empty"))?,
            ),
        })
    }
}

/// `tool_choice`: a string, or an object.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Choice<'a> {
    Word(&'static str),
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Named<'a>,
    },
}

/// The function that must be called.
#[derive(Serialize)]
pub(crate) struct Named<'a> {
    name: &'a str,
}

impl<'a> Choice<'a> {
    /// Converts the choice.
    pub(crate) fn new(choice: &'a ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => Self::Word("auto"),
            ToolChoice::None => Self::Word("none"),
            ToolChoice::Required => Self::Word("required"),
            ToolChoice::Function(name) => Self::Function {
                kind: "function",
                function: Named { name },
            },
        }
    }
}

/// JSON text of the caller, sent byte for byte. It was validated on receipt; this check also
/// excludes anything that could close an object early.
pub(crate) fn raw(json: &str, field: impl FnOnce() -> String) -> Result<Option<&RawValue>, Error> {
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(json)
        .map(Some)
        .map_err(|_| Error::field(field(), "must be valid JSON"))
}
