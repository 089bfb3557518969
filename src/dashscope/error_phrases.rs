//! Words of DashScope's messages, and the reason that each tells of: data alone.
//!
//! A needle is a part of a message in lower case; the first one that is found decides. Messages may
//! quote the caller, so which lists apply is for the code to say ([`super::error_codes`]).

use crate::error::Reason::{self, *};

/// Needles and their reasons.
pub(super) type Words = &'static [(&'static str, Reason)];

/// Every list.
pub(super) const LISTS: &[Words] = &[CAPABILITY, INPUT, MEDIA, FAILURE, DENIED, RATE];

/// What a model can do.
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
];

/// The conversation, the model, and what of them is not allowed.
pub(super) const INPUT: Words = &[
    ("range of input length", ContextTooLong),
    ("token length exceed model limit", ContextTooLong),
    ("model not exist", ModelNotFound),
    ("product is not activated", ModelNotFound),
    ("request path not found", GatewayConfig),
    ("does not comply with green network", ContentBlocked),
    ("lyrics content is illegal", ContentBlocked),
];

/// Media.
pub(super) const MEDIA: Words = &[
    ("file parsing in progress", MediaNotReady),
    // Out of reach.
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
    // Too much.
    ("max bytes per data-uri item", MediaTooLarge),
    ("max bytes to request body", MediaTooLarge),
    ("multimodal file size is too large", MediaTooLarge),
    ("file size is larger than", MediaTooLarge),
    ("exceeds size limit", MediaTooLarge),
    ("exceeds page limits", MediaTooLarge),
    // Of a form that the model does not take.
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
    ("invalid image format or corrupted", MediaFormat),
];

/// Failures that are none of DashScope's.
pub(super) const FAILURE: Words = &[
    ("expecting ',' delimiter", ModelOutput),
    ("list index out of range", UpstreamRejected),
    ("role must be ", UpstreamRejected),
    ("embedding_pipeline_error", MediaFormat),
];

/// Refusals that are none of the key's.
pub(super) const DENIED: Words = &[
    ("policy expired", MediaExpired),
    ("authorization to access the media resource", MediaExpired),
    ("does not support synchronous calls", GatewayBug),
    ("does not support asynchronous calls", GatewayBug),
];

/// Quotas that are not of this minute.
pub(super) const QUOTA: Words = &[
    ("free allocated quota exceeded", UpstreamBilling),
    ("voice storage limit", UpstreamQuota),
    ("voice limit exceeded", UpstreamQuota),
];

/// Rates, where no code tells of them.
pub(super) const RATE: Words = &[
    ("too many requests", UpstreamRate),
    ("rate limit", UpstreamRate),
];
