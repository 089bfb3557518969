//! The messages that callers get for DashScope's errors. Data alone.

use crate::error::Reason::{self, *};

/// The message of each reason. DashScope's own words are never shown: they may quote the caller.
pub(super) static MESSAGES: &[(Reason, &str)] = &[
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
        "DashScope refused what an image or a video shows",
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
        "DashScope does not accept the operator's key: contact the operator",
    ),
    (
        UpstreamPermission,
        "the operator's key may not do this at DashScope: contact the operator",
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
    (UpstreamInternal, "DashScope reported an internal error"),
    (UpstreamOverloaded, "DashScope's model is overloaded"),
    (UpstreamStorage, "DashScope's storage failed"),
    (UpstreamUnknown, "DashScope failed for an unknown reason"),
    (MediaNotReady, "DashScope is still reading a medium"),
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
        "the gateway made a request that DashScope forbids: contact the operator",
    ),
    (
        GatewayConfig,
        "the gateway's base url or workspace does not fit DashScope: contact the operator",
    ),
    (
        UpstreamProtocol,
        "DashScope's answer cannot be read: contact the operator",
    ),
];
