//! Identifies the request field that an error message of DashScope names.
//!
//! A path, as in `parameters.audio.voice` or `input.messages.0.content[1].image`, is resolved from
//! its root and takes precedence. Only without a path does a bare parameter name count, and only if
//! it is marked as a name: messages are prose, and many names are ordinary words.

use crate::error::Violation;

/// The maximum number of fields reported. A message with more lists all there are.
const MAX_FIELDS: usize = 4;

/// The maximum number of steps of a path. The deepest of a request has seven.
const MAX_STEPS: usize = 12;

/// The maximum length of a parameter name without a field that is passed on.
const MAX_NAME: usize = 64;

/// Names that are not ordinary words in these messages.
const PLAIN_NAMES: &[&str] = &["temperature", "modalities", "logprobs"];

/// Paths below `parameters`, and the field that sets each. Paths below one of them belong to the
/// same field.
const PARAMETERS: &[(&str, &str)] = &[
    ("temperature", "options.temperature"),
    ("top_p", "options.top_p"),
    ("top_k", "options.top_k"),
    ("seed", "options.seed"),
    ("max_tokens", "options.max_tokens"),
    ("max_completion_tokens", "options.max_completion_tokens"),
    ("repetition_penalty", "options.repetition_penalty"),
    ("presence_penalty", "options.presence_penalty"),
    ("stop", "options.stop"),
    ("result_format", "options.result_format"),
    ("response_format", "options.response_format"),
    (
        "response_format.json_schema",
        "options.response_format.json_schema",
    ),
    (
        "response_format.json_schema.name",
        "options.response_format.json_schema.name",
    ),
    (
        "response_format.json_schema.description",
        "options.response_format.json_schema.description",
    ),
    (
        "response_format.json_schema.schema",
        "options.response_format.json_schema.schema",
    ),
    (
        "response_format.json_schema.strict",
        "options.response_format.json_schema.strict",
    ),
    ("modalities", "options.modalities"),
    ("audio", "options.audio"),
    ("audio.voice", "options.audio.voice"),
    ("audio.format", "options.audio.format"),
    ("n", "options.n"),
    ("logprobs", "options.logprobs"),
    ("top_logprobs", "options.top_logprobs"),
    ("enable_thinking", "options.thinking.enabled"),
    ("thinking_budget", "options.thinking.budget_tokens"),
    ("preserve_thinking", "options.thinking.preserve"),
    ("reasoning_effort", "options.thinking.effort"),
    ("parallel_tool_calls", "options.parallel_tool_calls"),
    ("tool_stream", "options.tool_stream"),
    ("enable_code_interpreter", "options.enable_code_interpreter"),
    ("enable_search", "options.enable_search"),
    ("search_options", "options.search_options"),
    (
        "search_options.enable_source",
        "options.search_options.enable_source",
    ),
    (
        "search_options.enable_citation",
        "options.search_options.enable_citation",
    ),
    (
        "search_options.citation_format",
        "options.search_options.citation_format",
    ),
    (
        "search_options.forced_search",
        "options.search_options.forced_search",
    ),
    (
        "search_options.search_strategy",
        "options.search_options.search_strategy",
    ),
    (
        "search_options.prepend_search_result",
        "options.search_options.prepend_search_result",
    ),
    (
        "search_options.freshness",
        "options.search_options.freshness_days",
    ),
    (
        "search_options.assigned_site_list",
        "options.search_options.assigned_site_list",
    ),
    (
        "search_options.enable_search_extension",
        "options.search_options.enable_search_extension",
    ),
    ("asr_options", "options.asr_options"),
    ("asr_options.language", "options.asr_options.language"),
    ("asr_options.enable_lid", "options.asr_options.enable_lid"),
    ("asr_options.enable_itn", "options.asr_options.enable_itn"),
    ("instructions", "options.speech.instructions"),
    (
        "optimize_instructions",
        "options.speech.optimize_instructions",
    ),
    (
        "vl_high_resolution_images",
        "options.vision.high_resolution_images",
    ),
    (
        "vl_enable_image_hw_output",
        "options.vision.output_image_size",
    ),
    ("ocr_options", "options.ocr_options"),
    ("ocr_options.task", "options.ocr_options.task"),
    ("ocr_options.task_config", "options.ocr_options.task_config"),
    (
        "negative_prompt",
        "options.image_generation.negative_prompt",
    ),
    ("prompt_extend", "options.image_generation.prompt_extend"),
    ("watermark", "options.image_generation.watermark"),
    ("size", "options.image_generation.size"),
    ("tool_choice", "conversation.tool_choice"),
];

/// Bare names outside `parameters`, and the field that sets each.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("voice", "options.speech.voice"),
    ("language_type", "options.speech.language_type"),
    ("tools", "conversation.tools"),
    ("messages", "conversation.messages"),
    // Of a tool call in an earlier answer.
    ("function.arguments", "conversation.messages"),
];

/// The fields that a message names. `param` is the parameter named by OpenAI's error form.
pub(super) fn violations(message: &str, param: &str) -> Vec<Violation> {
    let mut fields = Vec::new();
    let paths = message.split(|c: char| !is_in_path(c)).filter_map(path);
    for field in paths.chain(of_param(param)) {
        add(&mut fields, field);
    }
    if fields.is_empty() {
        let message = message.to_ascii_lowercase();
        let one_step = PARAMETERS.iter().filter(|(name, _)| !name.contains('.'));
        for (name, field) in one_step.chain(OTHER_NAMES) {
            if is_named(&message, name) {
                add(&mut fields, (*field).to_owned());
            }
        }
    }
    let violation = |field| Violation {
        field,
        description: "DashScope refused its value".to_owned(),
    };
    fields.into_iter().map(violation).collect()
}

fn add(fields: &mut Vec<String>, field: String) {
    if fields.len() < MAX_FIELDS && !fields.contains(&field) {
        fields.push(field);
    }
}

fn is_in_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']')
}

/// The field of a word, if it is a path from one of the roots of a request.
fn path(word: &str) -> Option<String> {
    let steps = steps(word)?;
    match steps.as_slice() {
        ["parameters" | "parameter", rest @ ..] => parameter(rest),
        ["input", rest @ ..] => input(rest),
        ["messages", rest @ ..] if !rest.is_empty() => Some(message(rest)),
        ["message", index, ..] if is_index(index) => Some(message(steps.get(1..)?)),
        ["tools", rest @ ..] if !rest.is_empty() => Some(tool(rest)),
        _ => None,
    }
}

/// The field of a parameter name, with or without its root.
fn of_param(param: &str) -> Option<String> {
    let steps = steps(param)?;
    match steps.as_slice() {
        ["messages", rest @ ..] => Some(message(rest)),
        ["message", ..] => path(param),
        ["tools", rest @ ..] => Some(tool(rest)),
        ["voice"] => None,
        ["parameters" | "parameter" | "input", ..] => path(param),
        rest => known_parameter(rest),
    }
}

/// The steps of a path: `a.b[0].c` equals `a.b.0.c`.
fn steps(path: &str) -> Option<Vec<&str>> {
    let steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let steps: Vec<_> = steps.take(MAX_STEPS).collect();
    (!steps.is_empty()).then_some(steps)
}

fn parameter(steps: &[&str]) -> Option<String> {
    let first = steps.first()?;
    let known = match *first {
        "tools" => Some(tool(steps.get(1..).unwrap_or_default())),
        _ => known_parameter(steps),
    };
    known.or_else(|| {
        let is_name = first.len() <= MAX_NAME && !first.starts_with(|c: char| c.is_ascii_digit());
        is_name.then(|| format!("options.extra_parameters.{first}"))
    })
}

/// The field of the longest known prefix of a path.
fn known_parameter(steps: &[&str]) -> Option<String> {
    (1..=steps.len()).rev().find_map(|length| {
        let path = steps.get(..length)?.join(".");
        let known = PARAMETERS.iter().find(|(known, _)| *known == path);
        known.map(|(_, field)| (*field).to_owned())
    })
}

fn input(steps: &[&str]) -> Option<String> {
    let field = match steps {
        ["messages", rest @ ..] => return Some(message(rest)),
        ["text" | "prompt", ..] => "conversation.messages",
        ["voice", ..] => "options.speech.voice",
        ["language_type", ..] => "options.speech.language_type",
        _ => return None,
    };
    Some(field.to_owned())
}

/// The element of a list that a path names, and the path within it.
fn element<'a>(list: String, steps: &'a [&'a str]) -> (String, &'a [&'a str]) {
    match steps {
        [index, rest @ ..] if is_index(index) => (format!("{list}[{index}]"), rest),
        _ => (list, &[]),
    }
}

fn is_index(step: &str) -> bool {
    step.len() <= 6 && step.bytes().all(|b| b.is_ascii_digit())
}

fn message(steps: &[&str]) -> String {
    let (field, rest) = element("conversation.messages".to_owned(), steps);
    match rest {
        ["role", ..] => format!("{field}.role"),
        ["reasoning_content", ..] => format!("{field}.reasoning_text"),
        ["tool_call_id", ..] => format!("{field}.tool_call_id"),
        ["content", rest @ ..] => content(format!("{field}.content"), rest),
        ["tool_calls", rest @ ..] => tool_call(format!("{field}.tool_calls"), rest),
        _ => field,
    }
}

fn content(field: String, steps: &[&str]) -> String {
    let (field, rest) = element(field, steps);
    match rest {
        ["video", frame, ..] if is_index(frame) => format!("{field}.video.frames.frames[{frame}]"),
        [kind @ ("text" | "audio" | "image" | "video"), ..] => format!("{field}.{kind}"),
        ["enable_rotate", ..] => format!("{field}.image.enable_rotate"),
        [hint @ ("fps" | "max_frames" | "total_pixels"), ..] => format!("{field}.video.{hint}"),
        ["cache_control", "type", ..] => format!("{field}.cache_control.type"),
        ["cache_control", ..] => format!("{field}.cache_control"),
        // Of an image or of a video, depending on the part.
        _ => field,
    }
}

fn tool_call(field: String, steps: &[&str]) -> String {
    let (field, rest) = element(field, steps);
    match rest {
        [own @ ("id" | "type" | "index"), ..] => format!("{field}.{own}"),
        ["function", own @ ("name" | "arguments"), ..] => format!("{field}.{own}"),
        _ => field,
    }
}

fn tool(steps: &[&str]) -> String {
    let (field, rest) = element("conversation.tools".to_owned(), steps);
    match rest {
        [
            "function",
            own @ ("name" | "description" | "parameters"),
            ..,
        ] => {
            format!("{field}.function.{own}")
        }
        ["function", ..] => format!("{field}.function"),
        _ => field,
    }
}

/// Whether a message in lower case names a parameter. A name that is also an English word must be
/// marked as a name: quoted, after a dot, or as in "range of seed".
fn is_named(message: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    message.match_indices(name).any(|(at, _)| {
        let (before, after) = (message.get(..at), message.get(at + name.len()..));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let whole = !before.ends_with(in_word) && !after.starts_with(in_word);
        let marked = before.ends_with(['"', '\'', '`', '.', '['])
            || before.ends_with("range of ")
            || before.ends_with("parameter ");
        whole && (marked || name.contains('_') || PLAIN_NAMES.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &str, param: &str) -> Vec<String> {
        let fields = violations(message, param).into_iter();
        fields.map(|violation| violation.field).collect()
    }

    #[test]
    fn a_bare_name_counts_only_if_marked_as_a_name() {
        for (message, expected) in [
            (
                "Temperature should be in [0.0, 2.0)",
                &["options.temperature"][..],
            ),
            ("Range of top_p should be (0.0, 1.0]", &["options.top_p"]),
            ("Range of seed should be [0, 9]", &["options.seed"]),
            ("Range of n should be [1, 4]", &["options.n"]),
            ("please stop the size of messages", &[]),
            ("stop_top_p is unknown", &[]),
            (
                "<400> InternalError.Algo.InvalidParameter: max_tokens",
                &["options.max_tokens"],
            ),
            ("Voice 'not authorized' is not supported.", &[]),
        ] {
            assert_eq!(fields(message, ""), expected, "{message}");
        }
    }

    #[test]
    fn a_path_is_resolved_and_takes_precedence() {
        let wrapped = "<400> InternalError.Algo.InvalidParameter: Input should be 'Cherry', \
                       'Serena', 'Ethan' or 'Chelsie': ";
        for (path, expected) in [
            ("parameters.audio.voice", "options.audio.voice"),
            ("parameters.audio", "options.audio"),
            (
                "parameters.response_format.json_schema.schema.a.b",
                "options.response_format.json_schema.schema",
            ),
            ("message[19].role", "conversation.messages[19].role"),
            ("parameters.stop.0", "options.stop"),
            ("parameters.stop", "options.stop"),
            (
                "parameters.new_thing.deep",
                "options.extra_parameters.new_thing",
            ),
            (
                "parameters.tools[2].function.name",
                "conversation.tools[2].function.name",
            ),
            ("parameters.tools.2.type", "conversation.tools[2]"),
            ("input.voice", "options.speech.voice"),
            ("input.text", "conversation.messages"),
            (
                "input.messages.0.content.1.image",
                "conversation.messages[0].content[1].image",
            ),
            (
                "input.messages[0].content[1].audio",
                "conversation.messages[0].content[1].audio",
            ),
            ("messages.3.content", "conversation.messages[3].content"),
            (
                "messages[3].tool_calls[0].function.arguments",
                "conversation.messages[3].tool_calls[0].arguments",
            ),
            (
                "input.messages.0.content.1.video.7",
                "conversation.messages[0].content[1].video.frames.frames[7]",
            ),
            (
                "input.messages.0.content.1.fps",
                "conversation.messages[0].content[1].video.fps",
            ),
            ("input.messages.0.role", "conversation.messages[0].role"),
        ] {
            // Names elsewhere in the message, `size` and `voice`, do not count.
            let message = format!("{wrapped}{path}. The parameter size and 'voice'");
            assert_eq!(fields(&message, ""), [expected], "{path}");
            assert_eq!(fields("m", path), [expected], "{path}");
        }
        assert_eq!(fields("m", "temperature"), ["options.temperature"]);
        assert_eq!(fields("m", "audio.voice"), ["options.audio.voice"]);
        assert!(fields("see https://help.aliyun.com/input/x", "").is_empty());
    }

    #[test]
    fn fields_are_bounded_and_unique() {
        let many: String = (0..50).map(|n| format!("messages[{n}].role ")).collect();
        assert_eq!(fields(&many, "").len(), MAX_FIELDS);
        assert_eq!(fields("parameters.n and parameters.n", ""), ["options.n"]);
        let long = "x".repeat(MAX_NAME + 1);
        assert!(fields(&format!("parameters.{long}"), "").is_empty());
    }
}
