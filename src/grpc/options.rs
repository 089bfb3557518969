//! From `GenerationOptions` to the nouns of the house.

use crate::chat::document::Object;
use crate::chat::message::{
    AsrOptions, AudioOutput, JsonSchema, LongAudio, OcrOptions, Options, ResponseFormat,
    SearchOptions, Speech,
};

use super::field_violations::FieldViolations;
use super::pb;
use super::struct_value;

/// What the caller wants. `taken` names the parameters that are set outside the options.
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
            .map(|format| response_format(format, faults)),
        modalities: from.modalities,
        audio: from.audio.map(|audio| AudioOutput {
            voice: audio.voice,
            format: audio.format,
        }),
        n: from.n,
        logprobs: from.logprobs,
        top_logprobs: from.top_logprobs,
        enable_thinking: from.enable_thinking,
        thinking_budget: from.thinking_budget,
        long_audio: long_audio(from.long_audio, faults),
        preserve_thinking: from.preserve_thinking,
        reasoning_effort: from.reasoning_effort,
        parallel_tool_calls: from.parallel_tool_calls,
        tool_stream: from.tool_stream,
        enable_code_interpreter: from.enable_code_interpreter,
        enable_search: from.enable_search,
        search_options: from.search_options.map(search),
        asr_options: from.asr_options.map(asr),
        speech: from.speech.map(speech),
        vl_high_resolution_images: from.vl_high_resolution_images,
        vl_enable_image_hw_output: from.vl_enable_image_hw_output,
        ocr_options: from.ocr_options.map(|from| ocr(from, faults)),
        negative_prompt: from.negative_prompt,
        prompt_extend: from.prompt_extend,
        watermark: from.watermark,
        size: from.size,
        extra_parameters,
    }
}

/// The parameters that no typed field covers, which must not stand beside one that does.
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

/// What happens to audio that is too long, if the caller says.
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
        enable_thinking,
        thinking_budget,
        preserve_thinking,
        reasoning_effort,
        parallel_tool_calls,
        tool_stream,
        enable_code_interpreter,
        enable_search,
        search_options,
        asr_options,
        vl_high_resolution_images,
        vl_enable_image_hw_output,
        ocr_options,
        negative_prompt,
        prompt_extend,
        watermark,
        size,
    ];
    let speech = from.speech.as_ref();
    let rest = [
        (
            "stop",
            !from.stop.is_empty() || !from.stop_token_ids.is_empty(),
        ),
        ("modalities", !from.modalities.is_empty()),
        (
            "instructions",
            speech.is_some_and(|speech| speech.instructions.is_some()),
        ),
        (
            "optimize_instructions",
            speech.is_some_and(|speech| speech.optimize_instructions.is_some()),
        ),
    ];
    optional
        .into_iter()
        .chain(rest)
        .filter(|(_, set)| *set)
        .map(|(name, _)| name)
        .collect()
}

fn response_format(from: pb::ResponseFormat, faults: &mut FieldViolations) -> ResponseFormat {
    if from.r#type.is_empty() {
        let field = "options.response_format.type";
        faults.add(
            field,
            "is empty; set it to text, json_object or json_schema",
        );
    }
    let json_schema = from.json_schema.map(|from| {
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
    });
    ResponseFormat {
        kind: from.r#type,
        json_schema,
    }
}

fn search(from: pb::SearchOptions) -> SearchOptions {
    SearchOptions {
        enable_source: from.enable_source,
        enable_citation: from.enable_citation,
        citation_format: from.citation_format,
        forced_search: from.forced_search,
        search_strategy: from.search_strategy,
        prepend_search_result: from.prepend_search_result,
        freshness: from.freshness,
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
