//! Writes `parameters` of a request.

use std::collections::HashMap;
use std::io;

use serde::Serialize;
use serde_json::value::RawValue;

use super::json::{Number, Written, WrittenObject};
use super::tools::{Choice, ToolJson, raw};
use crate::chat::call::{Delivery, Prompt};
use crate::chat::document::{Document, Object, Real};
use crate::chat::message::{
    AsrOptions, ImageSize, JsonSchema, Options, ResponseFormat, SearchOptions, Tool,
};
use crate::error::Error;

/// Set only by the gateway: streams always use deltas.
const INCREMENTAL_OUTPUT: &str = "incremental_output";

/// Appends `parameters` as JSON.
pub(super) fn write(prompt: &Prompt, delivery: Delivery, body: &mut Vec<u8>) -> Result<(), Error> {
    let parameters = Parameters::new(prompt, delivery)?;
    let mut writer = serde_json::Serializer::with_formatter(&mut *body, Verbatim::of(prompt));
    parameters
        .serialize(&mut writer)
        .map_err(|_| Error::field("options", "every number must be finite"))?;
    append(&prompt.options.extra_parameters, body)
}

/// Writes JSON texts of the caller byte for byte, with the surrounding white space, which a raw
/// value does not keep. Empty unless the caller has such texts.
struct Verbatim<'a>(HashMap<usize, &'a str>);

impl<'a> Verbatim<'a> {
    fn of(prompt: &'a Prompt) -> Self {
        let format = prompt.options.response_format.as_ref();
        let schema = match format {
            Some(ResponseFormat::JsonSchema(schema)) => Some(schema),
            Some(ResponseFormat::Text | ResponseFormat::JsonObject) | None => None,
        };
        let tools = prompt.tools.iter().map(|tool| match tool {
            Tool::Function { parameters, .. } => parameters.as_str(),
            Tool::Raw(json) => json.as_str(),
        });
        let texts = schema.map(|schema| schema.schema.as_str()).into_iter();
        let texts = texts.chain(tools).filter_map(|text| {
            let inner = text.trim_ascii();
            (inner.len() < text.len()).then(|| (inner.as_ptr().addr(), text))
        });
        Self(texts.collect())
    }
}

impl serde_json::ser::Formatter for Verbatim<'_> {
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let text = self.0.get(&fragment.as_ptr().addr());
        writer.write_all(text.copied().unwrap_or(fragment).as_bytes())
    }
}

/// Adds the keys without a field to the object at the end of `body`.
fn append(extra: &Object, body: &mut Vec<u8>) -> Result<(), Error> {
    let wanted =
        |(key, value): &&(String, Document)| *value != Document::Null && key != INCREMENTAL_OUTPUT;
    for (key, value) in extra.0.iter().filter(wanted) {
        body.pop();
        if body.last() != Some(&b'{') {
            body.push(b',');
        }
        serde_json::to_writer(&mut *body, key)
            .and_then(|()| {
                body.push(b':');
                serde_json::to_writer(&mut *body, &Written(value))
            })
            .map_err(|_| {
                Error::field(
                    format!("options.extra_parameters.{key}"),
                    "every number must be finite",
                )
            })?;
        body.push(b'}');
    }
    Ok(())
}

#[derive(Serialize)]
struct Parameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incremental_output: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Float>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Float>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<Float>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<Float>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Stop<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    modalities: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioOutput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preserve_thinking: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_code_interpreter: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_search: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_options: Option<Search<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asr_options: Option<Asr<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    optimize_instructions: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vl_high_resolution_images: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vl_enable_image_hw_output: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ocr_options: Option<Ocr<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    negative_prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_extend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<Size>,
}

impl<'a> Parameters<'a> {
    fn new(prompt: &'a Prompt, delivery: Delivery) -> Result<Self, Error> {
        let o = &prompt.options;
        let tools = prompt.tools.iter().enumerate();
        Ok(Self {
            result_format: o.result_format.as_deref(),
            incremental_output: (delivery == Delivery::Stream).then_some(true),
            temperature: o.temperature.map(Float),
            top_p: o.top_p.map(Float),
            top_k: o.top_k,
            seed: o.seed,
            max_tokens: o.max_tokens,
            max_completion_tokens: o.max_completion_tokens,
            repetition_penalty: o.repetition_penalty.map(Float),
            presence_penalty: o.presence_penalty.map(Float),
            stop: Stop::new(o),
            response_format: o.response_format.as_ref().map(Format::new).transpose()?,
            modalities: &o.modalities,
            audio: o.audio.as_ref().map(|audio| AudioOutput {
                voice: audio.voice.as_deref(),
                format: audio.format.as_deref(),
            }),
            n: o.n,
            logprobs: o.logprobs,
            top_logprobs: o.top_logprobs,
            enable_thinking: o.enable_thinking,
            thinking_budget: o.thinking_budget,
            preserve_thinking: o.preserve_thinking,
            reasoning_effort: o.reasoning_effort.as_deref(),
            tools: tools
                .map(|(at, tool)| ToolJson::new(at, tool))
                .collect::<Result<_, _>>()?,
            tool_choice: prompt.tool_choice.as_ref().map(Choice::new),
            parallel_tool_calls: o.parallel_tool_calls,
            tool_stream: o.tool_stream,
            enable_code_interpreter: o.enable_code_interpreter,
            enable_search: o.enable_search,
            search_options: o.search_options.as_ref().map(Search::new),
            asr_options: o.asr_options.as_ref().map(Asr::new),
            instructions: o.speech.as_ref().and_then(|s| s.instructions.as_deref()),
            optimize_instructions: o.speech.as_ref().and_then(|s| s.optimize_instructions),
            vl_high_resolution_images: o.vl_high_resolution_images,
            vl_enable_image_hw_output: o.vl_enable_image_hw_output,
            ocr_options: o.ocr_options.as_ref().map(|ocr| Ocr {
                task: ocr.task.as_deref(),
                task_config: ocr.task_config.as_ref().map(WrittenObject),
            }),
            negative_prompt: o.negative_prompt.as_deref(),
            prompt_extend: o.prompt_extend,
            watermark: o.watermark,
            size: o.size.map(Size),
        })
    }
}

/// A number that DashScope requires to be a float: its fraction is kept, even if zero.
pub(crate) struct Float(pub(crate) Real);

impl Serialize for Float {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.0;
        if value.is_finite() {
            serializer.serialize_f64(value)
        } else {
            Number(self.0).serialize(serializer)
        }
    }
}

/// Width and height, as in `1024*1024`.
struct Size(ImageSize);

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(ImageSize { width, height }) = self;
        serializer.collect_str(&format_args!("{width}*{height}"))
    }
}

/// Texts or tokens that end an answer.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Stop<'a> {
    Texts(&'a [String]),
    Tokens(&'a [Vec<i32>]),
}

impl<'a> Stop<'a> {
    /// Converts the options.
    pub(crate) fn new(options: &'a Options) -> Option<Self> {
        match (&*options.stop, &*options.stop_token_ids) {
            ([], []) => None,
            ([], tokens) => Some(Self::Tokens(tokens)),
            (texts, _) => Some(Self::Texts(texts)),
        }
    }
}

/// The format of an answer.
#[derive(Serialize)]
pub(crate) struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<Schema<'a>>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> Format<'a> {
    /// Converts the options.
    pub(crate) fn new(format: &'a ResponseFormat) -> Result<Self, Error> {
        let schema = |schema: &'a JsonSchema| {
            Ok(Schema {
                name: &schema.name,
                description: &schema.description,
                schema: raw(&schema.schema, || {
                    "options.response_format.json_schema.schema".to_owned()
                })?,
                strict: schema.strict,
            })
        };
        let (kind, json_schema) = match format {
            ResponseFormat::Text => ("text", None),
            ResponseFormat::JsonObject => ("json_object", None),
            ResponseFormat::JsonSchema(of) => ("json_schema", Some(schema(of)?)),
        };
        Ok(Self { kind, json_schema })
    }
}

/// The voice and format of spoken answers.
#[derive(Serialize)]
pub(crate) struct AudioOutput<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) voice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<&'a str>,
}

/// Options of a web search.
#[derive(Serialize)]
pub(crate) struct Search<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_source: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_citation: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citation_format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_search: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_strategy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepend_search_result: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    freshness: Option<i32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    assigned_site_list: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_search_extension: Option<bool>,
}

impl<'a> Search<'a> {
    /// Converts the options.
    pub(crate) fn new(options: &'a SearchOptions) -> Self {
        Self {
            enable_source: options.enable_source,
            enable_citation: options.enable_citation,
            citation_format: options.citation_format.as_deref(),
            forced_search: options.forced_search,
            search_strategy: options.search_strategy.as_deref(),
            prepend_search_result: options.prepend_search_result,
            freshness: options.freshness_days,
            assigned_site_list: &options.assigned_site_list,
            enable_search_extension: options.enable_search_extension,
        }
    }
}

/// Options of speech recognition.
#[derive(Serialize)]
pub(crate) struct Asr<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_lid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_itn: Option<bool>,
}

impl<'a> Asr<'a> {
    /// Converts the options.
    pub(crate) fn new(options: &'a AsrOptions) -> Self {
        Self {
            language: options.language.as_deref(),
            enable_lid: options.enable_lid,
            enable_itn: options.enable_itn,
        }
    }
}

#[derive(Serialize)]
struct Ocr<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_config: Option<WrittenObject<'a>>,
}
