//! Writes the parameters of a request: all keys but `model` and `messages`.
//!
//! A server ignores keys that it does not know without a word. So what a dialect does not have is
//! not sent, and the answer has a warning for it.

use serde::Serialize;

use super::dialect::{Dialect, ThinkingForm, VisionOptions};
use crate::chat::call::{Delivery, Prompt};
use crate::chat::document::{Document, Object};
use crate::chat::message::Options;
use crate::chat::warning::{Code, Warning};
use crate::dashscope::json::Written;
use crate::dashscope::json_writer::JsonWriter;
use crate::dashscope::parameters::{Asr, AudioOutput, Float, Format, Search, Stop};
use crate::dashscope::tools::{Choice, ToolJson};
use crate::error::Error;

/// Keys that the gateway sets. `extra_parameters` must not have them.
const OWN_KEYS: [&str; 4] = ["model", "messages", "stream", "stream_options"];

/// The options of chat templates.
const TEMPLATE_OPTIONS: &str = "chat_template_kwargs";

/// The options of media processors.
pub(super) const PROCESSOR_OPTIONS: &str = "mm_processor_kwargs";

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// Appends the parameters to an object. Returns warnings about those that the dialect does not
/// have.
pub(super) fn write(
    json: &mut JsonWriter<'_, '_>,
    prompt: &Prompt,
    delivery: Delivery,
    dialect: &Dialect,
) -> Result<Vec<Warning>, Error> {
    let o = &prompt.options;
    if o.speech.is_some() {
        return Err(Error::field(
            "options.speech",
            "must not be set: this model is served by an interface without speech synthesis",
        ));
    }
    let streams = delivery == Delivery::Stream;
    json.field("stream", streams.then_some(true))?;
    let include_usage = streams.then_some(StreamOptions {
        include_usage: true,
    });
    json.field("stream_options", include_usage)?;
    write_sampling(json, o)?;
    write_output(json, o, (delivery, dialect))?;
    if dialect.has_tools_and_formats {
        write_formats(json, o)?;
        write_tools(json, prompt)?;
    }
    if dialect.has_sampling_extensions {
        write_sampling_extensions(json, o, dialect)?;
    }
    if dialect.is_dashscope {
        write_dashscope(json, o)?;
    }
    let is_of_template = dialect.thinking == ThinkingForm::OfTemplate;
    if let Some(enabled) = o.enable_thinking.filter(|_| is_of_template) {
        let options = vec![("enable_thinking".to_owned(), Document::Bool(enabled))];
        write_merged(json, TEMPLATE_OPTIONS, Object(options), o)?;
    }
    write_extra(json, o, |key| {
        key == TEMPLATE_OPTIONS && is_of_template && o.enable_thinking.is_some()
            || key == PROCESSOR_OPTIONS && dialect.vision_options == VisionOptions::OfRequest
    })?;
    let mut ignored = ignored(o, dialect);
    if !dialect.has_tools_and_formats {
        ignored.extend(ignored_formats(prompt, dialect));
    }
    Ok(ignored)
}

fn write_sampling(json: &mut JsonWriter<'_, '_>, o: &Options) -> Result<(), Error> {
    json.field("temperature", o.temperature.map(Float))?;
    json.field("top_p", o.top_p.map(Float))?;
    json.field("seed", o.seed)?;
    json.field("max_tokens", o.max_tokens)?;
    json.field("max_completion_tokens", o.max_completion_tokens)?;
    match o.stop.is_empty() {
        true => Ok(()),
        false => json.field("stop", Stop::new(o)),
    }
}

fn write_formats(json: &mut JsonWriter<'_, '_>, o: &Options) -> Result<(), Error> {
    json.field("presence_penalty", o.presence_penalty.map(Float))?;
    json.field("n", o.n)?;
    json.field("logprobs", o.logprobs)?;
    json.field("top_logprobs", o.top_logprobs)?;
    let format = o.response_format.as_ref().map(Format::new).transpose()?;
    json.field("response_format", format)?;
    json.field("reasoning_effort", o.reasoning_effort.as_deref())
}

fn write_output(
    json: &mut JsonWriter<'_, '_>,
    o: &Options,
    (delivery, dialect): (Delivery, &Dialect),
) -> Result<(), Error> {
    let modalities = (!o.modalities.is_empty()).then_some(&o.modalities);
    json.field("modalities", modalities)?;
    let audio = o.audio.as_ref().map(|audio| AudioOutput {
        voice: audio.voice.as_deref(),
        format: match audio.format.as_deref() {
            None => dialect.spoken_formats.map(|formats| match delivery {
                Delivery::Whole => formats.0,
                Delivery::Stream => formats.1,
            }),
            format => format,
        },
    });
    json.field("audio", audio)
}

fn write_tools(json: &mut JsonWriter<'_, '_>, prompt: &Prompt) -> Result<(), Error> {
    let tools = prompt.tools.iter().enumerate();
    let tools = tools.map(|(at, tool)| ToolJson::new(at, tool));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    json.field("tools", (!tools.is_empty()).then_some(tools))?;
    json.field("tool_choice", prompt.tool_choice.as_ref().map(Choice::new))?;
    json.field("parallel_tool_calls", prompt.options.parallel_tool_calls)
}

fn write_sampling_extensions(
    json: &mut JsonWriter<'_, '_>,
    o: &Options,
    dialect: &Dialect,
) -> Result<(), Error> {
    json.field("top_k", o.top_k)?;
    json.field("repetition_penalty", o.repetition_penalty.map(Float))?;
    if !dialect.has_tools_and_formats {
        return Ok(());
    }
    let single = |tokens: &Vec<i32>| match tokens.as_slice() {
        [token] => Some(*token),
        _ => None,
    };
    let tokens: Vec<i32> = o.stop_token_ids.iter().filter_map(single).collect();
    json.field("stop_token_ids", (!tokens.is_empty()).then_some(tokens))
}

/// Writes what DashScope knows in its compatible mode too.
fn write_dashscope(json: &mut JsonWriter<'_, '_>, o: &Options) -> Result<(), Error> {
    json.field("enable_thinking", o.enable_thinking)?;
    json.field("thinking_budget", o.thinking_budget)?;
    json.field("preserve_thinking", o.preserve_thinking)?;
    json.field("tool_stream", o.tool_stream)?;
    json.field("enable_code_interpreter", o.enable_code_interpreter)?;
    json.field("enable_search", o.enable_search)?;
    json.field("search_options", o.search_options.as_ref().map(Search::new))?;
    json.field("asr_options", o.asr_options.as_ref().map(Asr::new))?;
    json.field("vl_high_resolution_images", o.vl_high_resolution_images)?;
    json.field("vl_enable_image_hw_output", o.vl_enable_image_hw_output)
}

/// Writes an object of the gateway's options, together with the caller's of the same key, which
/// takes precedence.
pub(super) fn write_merged(
    json: &mut JsonWriter<'_, '_>,
    key: &str,
    mut options: Object,
    o: &Options,
) -> Result<(), Error> {
    match o.extra_parameters.value(key) {
        Some(Document::Object(own)) => options.merge(own.clone()),
        None | Some(Document::Null) => {}
        Some(_) => {
            let field = format!("options.extra_parameters.{key}");
            return Err(Error::field(field, "must be an object"));
        }
    }
    match options.is_empty() {
        true => Ok(()),
        false => json.field(key, Some(Written(&Document::Object(options)))),
    }
}

/// Writes the keys without a field, except those that are written elsewhere.
fn write_extra(
    json: &mut JsonWriter<'_, '_>,
    o: &Options,
    is_written: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    for (key, value) in &o.extra_parameters.0 {
        if OWN_KEYS.contains(&key.as_str()) {
            let field = format!("options.extra_parameters.{key}");
            return Err(Error::field(field, "must not be set: the gateway sets it"));
        }
        if *value != Document::Null && !is_written(key) {
            json.field(key, Some(Written(value)))?;
        }
    }
    Ok(())
}

/// Warnings about the options that are set and that the dialect does not have.
fn ignored(o: &Options, dialect: &Dialect) -> Vec<Warning> {
    let extensions = [
        ("top_k", o.top_k.is_some()),
        ("repetition_penalty", o.repetition_penalty.is_some()),
        ("stop_token_ids", !o.stop_token_ids.is_empty()),
    ];
    // A stop list of several tokens has no counterpart; each of its tokens would end the answer.
    let sequences = [(
        "stop_token_ids",
        o.stop_token_ids.iter().any(|sequence| sequence.len() > 1),
    )];
    let thinking = [("thinking.enabled", o.enable_thinking.is_some())];
    let of_dashscope = [
        ("thinking.budget_tokens", o.thinking_budget.is_some()),
        ("thinking.preserve", o.preserve_thinking.is_some()),
        ("tool_stream", o.tool_stream.is_some()),
        (
            "enable_code_interpreter",
            o.enable_code_interpreter.is_some(),
        ),
        ("enable_search", o.enable_search.is_some()),
        ("search_options", o.search_options.is_some()),
        ("asr_options", o.asr_options.is_some()),
        (
            "vision.high_resolution_images",
            o.vl_high_resolution_images.is_some(),
        ),
        (
            "vision.output_image_size",
            o.vl_enable_image_hw_output.is_some(),
        ),
    ];
    // Answers have the form "message" anyway.
    let other_format = o
        .result_format
        .as_ref()
        .filter(|format| *format != "message");
    let of_native = [
        ("result_format", other_format.is_some()),
        ("ocr_options", o.ocr_options.is_some()),
        (
            "image_generation.negative_prompt",
            o.negative_prompt.is_some(),
        ),
        ("image_generation.prompt_extend", o.prompt_extend.is_some()),
        ("image_generation.watermark", o.watermark.is_some()),
        ("image_generation.size", o.size.is_some()),
    ];
    let lists: [(&[(&str, bool)], bool); 5] = [
        (&extensions, !dialect.has_sampling_extensions),
        (&sequences, dialect.has_sampling_extensions),
        (&thinking, dialect.thinking == ThinkingForm::None),
        (&of_dashscope, !dialect.is_dashscope),
        (&of_native, true),
    ];
    let ignored = lists.into_iter().filter(|(_, is_missing)| *is_missing);
    let ignored = ignored
        .flat_map(|(options, _)| options)
        .filter(|(_, is_set)| *is_set);
    ignored
        .map(|(option, _)| warning(format!("options.{option}"), dialect))
        .collect()
}

/// Warnings about what a server does not have that knows sampling alone.
fn ignored_formats(prompt: &Prompt, dialect: &Dialect) -> Vec<Warning> {
    let o = &prompt.options;
    let is_single = |tokens: &Vec<i32>| tokens.len() == 1;
    let fields = [
        ("options.presence_penalty", o.presence_penalty.is_some()),
        ("options.n", o.n.is_some_and(|n| n > 1)),
        ("options.logprobs", o.logprobs.is_some()),
        ("options.top_logprobs", o.top_logprobs.is_some()),
        ("options.response_format", o.response_format.is_some()),
        ("options.thinking.effort", o.reasoning_effort.is_some()),
        (
            "options.stop_token_ids",
            !o.stop_token_ids.is_empty() && o.stop_token_ids.iter().all(is_single),
        ),
        (
            "options.parallel_tool_calls",
            o.parallel_tool_calls.is_some(),
        ),
        ("conversation.tools", !prompt.tools.is_empty()),
        ("conversation.tool_choice", prompt.tool_choice.is_some()),
    ];
    let ignored = fields.into_iter().filter(|(_, is_set)| *is_set);
    ignored
        .map(|(field, _)| warning(field.to_owned(), dialect))
        .collect()
}

/// The warning about a field that the dialect does not have.
pub(super) fn warning(field: String, dialect: &Dialect) -> Warning {
    let message = format!("not sent: {} does not have it", dialect.interface());
    Warning::new(Code::OptionIgnored, field, message)
}
