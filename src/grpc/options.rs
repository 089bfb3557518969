//! Converts `GenerationOptions` to the data model.

use crate::chat::document::Object;
use crate::chat::message::{
    AsrOptions, AudioOutput, ImageSize, JsonSchema, LongAudio, OcrOptions, Options, ResponseFormat,
    SearchOptions, Speech,
};

use super::field_violations::FieldViolations;
use super::pb::response_format;
use super::{pb, struct_value};

/// The options of a call. `taken` names the parameters that are set outside the options.
pub(super) fn options(
    mut from: pb::GenerationOptions,
    taken: Vec<&'static str>,
    faults: &mut FieldViolations,
) -> Options {
    let extra_parameters = extra_parameters(&mut from, taken, faults);
    if !from.stop.is_empty() && !from.stop_token_ids.is_empty() {
        faults.add(
            "options.stop_token_ids",
            "conflicts with options.stop; set one of them",
        );
    }
    for (at, stop) in from.stop_token_ids.iter().enumerate() {
        if stop.token_ids.is_empty() {
            faults.add(
                format_args!("options.stop_token_ids[{at}].token_ids"),
                "is empty; send at least one id",
            );
        }
    }
    if from.seed.is_some_and(|seed| seed < 0) {
        faults.add("options.seed", "must not be negative");
    }
    let thinking = from.thinking.unwrap_or_default();
    let vision = from.vision.unwrap_or_default();
    let image = from.image_generation.unwrap_or_default();
    Options {
        temperature: faults.real("options.temperature", from.temperature),
        top_p: faults.real("options.top_p", from.top_p),
        top_k: from.top_k,
        seed: from.seed,
        max_tokens: from.max_tokens,
        max_completion_tokens: from.max_completion_tokens,
        repetition_penalty: faults.real("options.repetition_penalty", from.repetition_penalty),
        presence_penalty: faults.real("options.presence_penalty", from.presence_penalty),
        stop: from.stop,
        stop_token_ids: from
            .stop_token_ids
            .into_iter()
            .map(|stop| stop.token_ids)
            .collect(),
        result_format: from.result_format,
        response_format: from
            .response_format
            .and_then(|format| response_format(format, faults)),
        modalities: from.modalities,
        audio: from.audio.map(|audio| AudioOutput {
            voice: audio.voice,
            format: audio.format,
        }),
        n: from.n,
        logprobs: from.logprobs,
        top_logprobs: from.top_logprobs,
        enable_thinking: thinking.enabled,
        thinking_budget: thinking.budget_tokens,
        long_audio: long_audio(from.long_audio, faults),
        preserve_thinking: thinking.preserve,
        reasoning_effort: thinking.effort,
        parallel_tool_calls: from.parallel_tool_calls,
        tool_stream: from.tool_stream,
        enable_code_interpreter: from.enable_code_interpreter,
        enable_search: from.enable_search,
        search_options: from.search_options.map(search),
        asr_options: from.asr_options.map(asr),
        speech: from.speech.map(speech),
        vl_high_resolution_images: vision.high_resolution_images,
        vl_enable_image_hw_output: vision.output_image_size,
        ocr_options: from.ocr_options.map(|from| ocr(from, faults)),
        negative_prompt: image.negative_prompt,
        prompt_extend: image.prompt_extend,
        watermark: image.watermark,
        size: image.size.and_then(|size| image_size(size, faults)),
        extra_parameters,
    }
}

/// The parameters without a typed field, which must not duplicate one that has a field.
fn extra_parameters(
    from: &mut pb::GenerationOptions,
    mut taken: Vec<&'static str>,
    faults: &mut FieldViolations,
) -> Object {
    let Some(extra) = from.extra_parameters.take() else {
        return Object::default();
    };
    let extra = struct_value::object(extra);
    taken.extend(set_parameters(from));
    faults.no_overlap("options.extra_parameters", &extra, &taken);
    faults.numbers("options.extra_parameters", &extra);
    if extra.value("incremental_output").is_some() {
        let field = "options.extra_parameters.incremental_output";
        faults.add(
            field,
            "is set by the gateway: streams are always true deltas; leave it out",
        );
    }
    extra
}

/// The handling of audio that is too long, if specified.
fn long_audio(from: i32, faults: &mut FieldViolations) -> Option<LongAudio> {
    match pb::LongAudio::try_from(from) {
        Ok(pb::LongAudio::Unspecified) => None,
        Ok(pb::LongAudio::Warn) => Some(LongAudio::Warn),
        Ok(pb::LongAudio::Fail) => Some(LongAudio::Fail),
        Err(_) => {
            faults.add(
                "options.long_audio",
                "must be LONG_AUDIO_WARN or LONG_AUDIO_FAIL, or not set",
            );
            None
        }
    }
}

/// The parameters that typed fields set.
fn set_parameters(from: &pb::GenerationOptions) -> Vec<&'static str> {
    macro_rules! named {
        ($($field:ident),+ $(,)?) => {
            [$((stringify!($field), from.$field.is_some())),+]
        };
    }
    let optional = named![
        temperature,
        top_p,
        top_k,
        seed,
        max_tokens,
        max_completion_tokens,
        repetition_penalty,
        presence_penalty,
        result_format,
        response_format,
        audio,
        n,
        logprobs,
        top_logprobs,
        parallel_tool_calls,
        tool_stream,
        enable_code_interpreter,
        enable_search,
        search_options,
        asr_options,
        ocr_options,
    ];
    let lists = [
        (
            "stop",
            !from.stop.is_empty() || !from.stop_token_ids.is_empty(),
        ),
        ("modalities", !from.modalities.is_empty()),
    ];
    optional
        .into_iter()
        .chain(lists)
        .chain(set_in_groups(from))
        .filter(|(_, set)| *set)
        .map(|(name, _)| name)
        .collect()
}

/// The parameters of the groups whose fields have names of their own.
fn set_in_groups(from: &pb::GenerationOptions) -> Vec<(&'static str, bool)> {
    macro_rules! group {
        ($group:ident: $($field:ident => $key:literal),+) => {
            match &from.$group {
                Some(group) => vec![$(($key, group.$field.is_some())),+],
                None => Vec::new(),
            }
        };
    }
    let groups = [
        group!(thinking:
            enabled => "enable_thinking",
            budget_tokens => "thinking_budget",
            preserve => "preserve_thinking",
            effort => "reasoning_effort"
        ),
        group!(vision:
            high_resolution_images => "vl_high_resolution_images",
            output_image_size => "vl_enable_image_hw_output"
        ),
        group!(speech:
            instructions => "instructions",
            optimize_instructions => "optimize_instructions"
        ),
        group!(image_generation:
            negative_prompt => "negative_prompt",
            prompt_extend => "prompt_extend",
            watermark => "watermark",
            size => "size"
        ),
    ];
    groups.into_iter().flatten().collect()
}

fn response_format(
    from: pb::ResponseFormat,
    faults: &mut FieldViolations,
) -> Option<ResponseFormat> {
    let Some(kind) = from.kind else {
        faults.add(
            "options.response_format",
            "is empty; set text, json_object or json_schema",
        );
        return None;
    };
    Some(match kind {
        response_format::Kind::Text(pb::TextFormat {}) => ResponseFormat::Text,
        response_format::Kind::JsonObject(pb::JsonObjectFormat {}) => ResponseFormat::JsonObject,
        response_format::Kind::JsonSchema(schema) => {
            ResponseFormat::JsonSchema(json_schema(schema, faults))
        }
    })
}

fn json_schema(from: pb::JsonSchema, faults: &mut FieldViolations) -> JsonSchema {
    if from.name.is_empty() {
        faults.add(
            "options.response_format.json_schema.name",
            "is empty; name the schema",
        );
    }
    if !from.schema.is_empty() {
        faults.json_object("options.response_format.json_schema.schema", &from.schema);
    }
    JsonSchema {
        name: from.name,
        description: from.description,
        schema: from.schema,
        strict: from.strict,
    }
}

fn image_size(from: pb::ImageSize, faults: &mut FieldViolations) -> Option<ImageSize> {
    let size = ImageSize {
        width: from.width,
        height: from.height,
    };
    let mut is_valid = true;
    for (side, pixels) in [("width", size.width), ("height", size.height)] {
        if pixels <= 0 {
            is_valid = false;
            let field = format_args!("options.image_generation.size.{side}");
            faults.add(field, "must be more than 0 pixels");
        }
    }
    is_valid.then_some(size)
}

/// The options of web search.
pub(super) fn search(from: pb::SearchOptions) -> SearchOptions {
    SearchOptions {
        enable_source: from.enable_source,
        enable_citation: from.enable_citation,
        citation_format: from.citation_format,
        forced_search: from.forced_search,
        search_strategy: from.search_strategy,
        prepend_search_result: from.prepend_search_result,
        freshness_days: from.freshness_days,
        assigned_site_list: from.assigned_site_list,
        enable_search_extension: from.enable_search_extension,
    }
}

fn asr(from: pb::AsrOptions) -> AsrOptions {
    AsrOptions {
        language: from.language,
        enable_lid: from.enable_lid,
        enable_itn: from.enable_itn,
    }
}

fn speech(from: pb::SpeechOptions) -> Speech {
    Speech {
        voice: from.voice,
        language_type: from.language_type,
        instructions: from.instructions,
        optimize_instructions: from.optimize_instructions,
    }
}

fn ocr(from: pb::OcrOptions, faults: &mut FieldViolations) -> OcrOptions {
    let task_config = from.task_config.map(struct_value::object);
    if let Some(config) = &task_config {
        faults.numbers("options.ocr_options.task_config", config);
    }
    OcrOptions {
        task: from.task,
        task_config,
    }
}
