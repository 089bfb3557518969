//! The messages returned to callers for DashScope's errors.

use crate::error::Reason::{self, *};

/// The message of each reason. DashScope's messages are never passed on: they may quote the caller.
pub(super) static MESSAGES: &[(Reason, &str)] = &[
    (
        UpstreamRejected,
        "DashScope refused the request: check its parameters and messages",
    ),
    (
        ModelCapability,
        "the model does not support this: choose another model or remove the option",
    ),
    (
        StreamOnly,
        "the model supports only streams: call ConverseStream",
    ),
    (WholeOnly, "the model cannot stream: call Converse"),
    (
        MediaUrl,
        "DashScope refused a media URI: use one that it can fetch",
    ),
    (
        MediaFormat,
        "DashScope cannot read the media: check format, duration and content",
    ),
    (
        MediaTooLarge,
        "media too large for DashScope: make them smaller",
    ),
    (
        MediaContent,
        "DashScope refused the content of an image or a video",
    ),
    (
        ContentBlocked,
        "DashScope's content inspection blocked this conversation",
    ),
    (ModelNotFound, "DashScope has no such model: check its name"),
    (
        ResourceNotFound,
        "DashScope has no such voice or resource: check its name",
    ),
    (
        ContextTooLong,
        "the conversation is too long for the model: shorten it",
    ),
    (
        MediaUnreachable,
        "DashScope could not fetch media: check that the URI is public",
    ),
    (
        MediaExpired,
        "uploaded media have expired or belong to another model: upload them again",
    ),
    (
        UpstreamBilling,
        "the operator's DashScope account has an unpaid bill, a used-up quota or no subscription",
    ),
    (
        UpstreamCredential,
        "DashScope refused the operator's key: contact the operator",
    ),
    (
        UpstreamPermission,
        "the operator's DashScope key has no permission for this: contact the operator",
    ),
    (UpstreamApp, "a DashScope application or plug-in failed"),
    (
        UpstreamRate,
        "DashScope's request rate limit is reached: retry later",
    ),
    (
        UpstreamBurst,
        "the rate of requests to DashScope grew too fast: retry more slowly",
    ),
    (
        UpstreamTokens,
        "DashScope's token rate limit is reached: retry later",
    ),
    (
        UpstreamQuota,
        "a quota of the operator's DashScope account is used up",
    ),
    (UpstreamInternal, "DashScope reported an internal error"),
    (UpstreamOverloaded, "DashScope's model is overloaded"),
    (UpstreamStorage, "DashScope's storage failed"),
    (UpstreamUnknown, "DashScope failed for an unknown reason"),
    (MediaNotReady, "DashScope is still processing media"),
    (
        UpstreamTimeout,
        "DashScope's own time limit expired: request less",
    ),
    (
        ModelOutput,
        "the model produced output that DashScope could not parse",
    ),
    (
        UpstreamConflict,
        "DashScope reported a conflict with another request",
    ),
    (
        UnsupportedOperation,
        "DashScope does not support this for this model",
    ),
    (
        GatewayBug,
        "the gateway sent an invalid request to DashScope: contact the operator",
    ),
    (
        GatewayConfig,
        "the gateway's base url or workspace does not fit DashScope: contact the operator",
    ),
    (
        UpstreamProtocol,
        "invalid answer from DashScope: contact the operator",
    ),
];
