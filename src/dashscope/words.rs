//! The words of faults: the names that DashScope uses, and what callers are told. Data alone.

use crate::error::Reason::{self, *};

/// Parameters that DashScope names in its words, and the field that sets each.
pub(super) static FIELDS: &[(&str, &str)] = &[
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
    ("modalities", "options.modalities"),
    ("n", "options.n"),
    ("logprobs", "options.logprobs"),
    ("top_logprobs", "options.top_logprobs"),
    ("enable_thinking", "options.enable_thinking"),
    ("thinking_budget", "options.thinking_budget"),
    ("preserve_thinking", "options.preserve_thinking"),
    ("reasoning_effort", "options.reasoning_effort"),
    ("parallel_tool_calls", "options.parallel_tool_calls"),
    ("tool_stream", "options.tool_stream"),
    ("enable_code_interpreter", "options.enable_code_interpreter"),
    ("enable_search", "options.enable_search"),
    ("search_options", "options.search_options"),
    ("asr_options", "options.asr_options"),
    ("voice", "options.speech.voice"),
    ("language_type", "options.speech.language_type"),
    ("instructions", "options.speech.instructions"),
    (
        "vl_high_resolution_images",
        "options.vl_high_resolution_images",
    ),
    (
        "vl_enable_image_hw_output",
        "options.vl_enable_image_hw_output",
    ),
    ("ocr_options", "options.ocr_options"),
    ("negative_prompt", "options.negative_prompt"),
    ("prompt_extend", "options.prompt_extend"),
    ("watermark", "options.watermark"),
    ("size", "options.size"),
    ("tools", "conversation.tools"),
    ("tool_choice", "conversation.tool_choice"),
    ("messages", "conversation.messages"),
];

/// What the caller is told. DashScope's own words are never shown: they may quote what was said.
pub(super) static WORDS: &[(Reason, &str)] = &[
    (
        UpstreamRejected,
        "DashScope refused the request: check its parameters and messages",
    ),
    (
        ModelCapability,
        "the model cannot do what was asked: choose another model or drop the option",
    ),
    (
        StreamOnly,
        "the model answers by stream only: call ConverseStream",
    ),
    (WholeOnly, "the model cannot stream: call Converse"),
    (
        MediaUrl,
        "DashScope refused the uri of a medium: give one that it can fetch",
    ),
    (
        MediaFormat,
        "DashScope cannot read a medium: check its format, length and content",
    ),
    (
        MediaTooLarge,
        "a medium is larger than DashScope takes: make it smaller",
    ),
    (
        MediaContent,
        "DashScope refused what a picture or film shows",
    ),
    (
        ContentBlocked,
        "DashScope's content inspection blocked this conversation",
    ),
    (
        ModelNotFound,
        "DashScope knows no such model: check its name",
    ),
    (
        ResourceNotFound,
        "DashScope knows no such voice or resource: check its name",
    ),
    (
        ContextTooLong,
        "the conversation is too long for the model: shorten it",
    ),
    (
        MediaUnreachable,
        "DashScope could not fetch a medium: check that its uri is public",
    ),
    (
        MediaExpired,
        "a medium in DashScope's storage is gone or not for this model: upload it again",
    ),
    (
        UpstreamBilling,
        "the operator's DashScope account is unpaid, used up or not subscribed",
    ),
    (
        UpstreamCredential,
        "DashScope does not accept the operator's key: tell the operator",
    ),
    (
        UpstreamPermission,
        "the operator's key may not do this at DashScope: tell the operator",
    ),
    (UpstreamApp, "a DashScope application or plug-in failed"),
    (
        UpstreamRate,
        "DashScope's rate of requests is used up: call again later",
    ),
    (
        UpstreamBurst,
        "requests to DashScope grew too quickly: call again, more slowly",
    ),
    (
        UpstreamTokens,
        "DashScope's tokens of this minute are used up: call again later",
    ),
    (
        UpstreamQuota,
        "a quota of the operator's DashScope account is used up",
    ),
    (UpstreamInternal, "DashScope failed inside"),
    (UpstreamOverloaded, "DashScope's model is overloaded"),
    (UpstreamStorage, "DashScope's storage failed"),
    (UpstreamUnknown, "DashScope failed for an unknown reason"),
    (MediaNotReady, "DashScope still reads a medium"),
    (
        UpstreamTimeout,
        "DashScope gave up on the call: ask for less",
    ),
    (ModelOutput, "the model wrote what DashScope could not read"),
    (
        UpstreamConflict,
        "DashScope saw a conflict with another request",
    ),
    (
        UnsupportedOperation,
        "DashScope does not do this for this model",
    ),
    (
        GatewayBug,
        "the gateway made a request that DashScope forbids: tell the operator",
    ),
    (
        GatewayConfig,
        "the gateway's base url or workspace does not fit DashScope: tell the operator",
    ),
    (
        UpstreamProtocol,
        "DashScope's answer cannot be read: tell the operator",
    ),
];
