//! Phrases of DashScope's messages, and the reason that each implies.
//!
//! A phrase is a substring of a message in lower case; the first match applies. Messages may quote
//! the caller, so the error code selects the lists that apply ([`super::error_codes`]).

use crate::error::Reason::{self, *};

/// Phrases and their reasons.
pub(super) type Words = &'static [(&'static str, Reason)];

/// Every list.
pub(super) const LISTS: &[Words] = &[CAPABILITY, INPUT, MEDIA, FAILURE, DENIED, RATE];

/// Capabilities of a model.
pub(super) const CAPABILITY: Words = &[
    ("only support stream", StreamOnly),
    ("only supports stream", StreamOnly),
    ("only support with stream", StreamOnly),
    ("does not support http call", StreamOnly),
    ("non-streaming call", StreamOnly),
    ("not support stream", WholeOnly),
    ("incremental_output", ModelCapability),
    ("enable_thinking", ModelCapability),
    ("does not support enable_search", ModelCapability),
    ("the tool call is not supported", ModelCapability),
    ("url error, please check url", ModelCapability),
    // Of OpenAI-style servers.
    ("unsupported output modalities", ModelCapability),
    ("is not a multimodal model", ModelCapability),
    ("may be provided in one", ModelCapability),
    ("tool choice requires --enable-auto", ModelCapability),
];

/// Invalid conversations and models.
pub(super) const INPUT: Words = &[
    ("range of input length", ContextTooLong),
    ("token length exceed model limit", ContextTooLong),
    ("maximum context length", ContextTooLong),
    ("longer than the model's context length", ContextTooLong),
    ("longer than the maximum model length", ContextTooLong),
    ("model not exist", ModelNotFound),
    ("product is not activated", ModelNotFound),
    ("request path not found", GatewayConfig),
    ("unexpected endpoint or method", GatewayConfig),
    ("does not comply with green network", ContentBlocked),
    ("lyrics content is illegal", ContentBlocked),
];

/// Media.
pub(super) const MEDIA: Words = &[
    ("file parsing in progress", MediaNotReady),
    // Unreachable.
    ("download multimodal", MediaUnreachable),
    ("download the media resource", MediaUnreachable),
    ("find the requested media resource", MediaUnreachable),
    ("missing content-length of multimodal url", MediaUnreachable),
    ("wrong content-type of multimodal url", MediaUnreachable),
    ("failed to download", MediaUnreachable),
    ("image download failed", MediaUnreachable),
    ("oss download error", MediaUnreachable),
    ("authorization to access the media resource", MediaExpired),
    ("url does not appear to be valid", MediaUrl),
    // Too large.
    ("max bytes per data-uri item", MediaTooLarge),
    ("max bytes to request body", MediaTooLarge),
    ("multimodal file size is too large", MediaTooLarge),
    ("file size is larger than", MediaTooLarge),
    ("exceeds size limit", MediaTooLarge),
    ("exceeds page limits", MediaTooLarge),
    // Unsupported formats.
    ("audio is empty", MediaFormat),
    ("audio is longer than", MediaFormat),
    ("file type is not supported", MediaFormat),
    ("format is illegal", MediaFormat),
    ("files format not supported", MediaFormat),
    ("media format is not supported", MediaFormat),
    ("failed to decode the image", MediaFormat),
    ("image length and width do not meet", MediaFormat),
    ("image size is not supported", MediaFormat),
    ("size of input image is too small or too large", MediaFormat),
    ("modality input does not meet the requirements", MediaFormat),
    ("invalid video file", MediaFormat),
    ("video reading error", MediaFormat),
    ("video read error", MediaFormat),
    ("image read error", MediaFormat),
    ("image format error", MediaFormat),
    ("cannot identify image file", MediaFormat),
    ("invalid or unsupported audio file", MediaFormat),
    ("format not recognised", MediaFormat),
    ("invalid image format or corrupted", MediaFormat),
];

/// Reported as internal failures, but caused by the request.
pub(super) const FAILURE: Words = &[
    ("expecting ',' delimiter", ModelOutput),
    ("list index out of range", UpstreamRejected),
    ("role must be ", UpstreamRejected),
    ("embedding_pipeline_error", MediaFormat),
];

/// Permission errors that are not about the key.
pub(super) const DENIED: Words = &[
    ("policy expired", MediaExpired),
    ("authorization to access the media resource", MediaExpired),
    ("does not support synchronous calls", GatewayBug),
    ("does not support asynchronous calls", GatewayBug),
];

/// Quotas that do not reset every minute.
pub(super) const QUOTA: Words = &[
    ("free allocated quota exceeded", UpstreamBilling),
    ("voice storage limit", UpstreamQuota),
    ("voice limit exceeded", UpstreamQuota),
];

/// Rate limits, where the code does not state one.
pub(super) const RATE: Words = &[
    ("too many requests", UpstreamRate),
    ("rate limit", UpstreamRate),
    ("request queue is full", UpstreamOverloaded),
];
