//! Converts tools of a request.

use std::fmt::Arguments;

use crate::chat::message::{Tool, ToolChoice};

use super::field_violations::FieldViolations;
use super::pb::{self, tool, tool_choice};

/// A tool at this path of a request.
pub(super) fn tool(
    path: Arguments<'_>,
    tool: pb::Tool,
    faults: &mut FieldViolations,
) -> Option<Tool> {
    match tool.kind {
        Some(tool::Kind::Function(function)) => {
            if function.name.is_empty() {
                faults.add(
                    format_args!("{path}.function.name"),
                    "is empty; name the function",
                );
            }
            if !function.parameters.is_empty() {
                faults.json_object(
                    format_args!("{path}.function.parameters"),
                    &function.parameters,
                );
            }
            Some(Tool::Function {
                name: function.name,
                description: function.description,
                parameters: function.parameters,
            })
        }
        Some(tool::Kind::RawJson(text)) => {
            faults.json_object(format_args!("{path}.raw_json"), &text);
            Some(Tool::Raw(text))
        }
        None => {
            faults.add(path, "is empty; set function or raw_json");
            None
        }
    }
}

/// A choice between tools at this path of a request.
pub(super) fn tool_choice(
    path: &str,
    choice: pb::ToolChoice,
    faults: &mut FieldViolations,
) -> Option<ToolChoice> {
    let wanted = "must be TOOL_CHOICE_MODE_AUTO, _NONE or _REQUIRED, or a function_name";
    match choice.kind {
        Some(tool_choice::Kind::FunctionName(name)) if !name.is_empty() => {
            Some(ToolChoice::Function(name))
        }
        Some(tool_choice::Kind::Mode(mode)) => match pb::ToolChoiceMode::try_from(mode) {
            Ok(pb::ToolChoiceMode::Auto) => Some(ToolChoice::Auto),
            Ok(pb::ToolChoiceMode::None) => Some(ToolChoice::None),
            Ok(pb::ToolChoiceMode::Required) => Some(ToolChoice::Required),
            Ok(pb::ToolChoiceMode::Unspecified) | Err(_) => {
                faults.add(format_args!("{path}.mode"), wanted);
                None
            }
        },
        Some(tool_choice::Kind::FunctionName(_)) | None => {
            faults.add(path, wanted);
            None
        }
    }
}
