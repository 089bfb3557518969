//! What DashScope's codes and words mean: data alone.
//!
//! The first rule that fits decides, so a rule with words stands before the one for the bare code.

use crate::error::Reason::{self, *};

/// One line of the table.
#[derive(Debug)]
pub(super) struct Rule {
    /// The code; with `*` at its end, how the code begins; empty for any code.
    pub(super) code: &'static str,
    /// What the message must hold, in lower case; empty for any message.
    pub(super) says: &'static str,
    /// The HTTP status that it must have come with; 0 for any.
    pub(super) status: u16,
    /// What it means.
    pub(super) reason: Reason,
}

impl Rule {
    fn fits(&self, code: &str, message: &str, status: u16) -> bool {
        let code_fits = match self.code.strip_suffix('*') {
            Some(start) => code.starts_with(start),
            None => self.code.is_empty() || self.code == code,
        };
        code_fits && message.contains(self.says) && (self.status == 0 || self.status == status)
    }
}

/// What a fault means. The message must be in lower case.
pub(super) fn known(code: &str, message: &str, status: u16) -> Option<Reason> {
    RULES
        .iter()
        .find(|rule| rule.fits(code, message, status))
        .map(|rule| rule.reason)
}

/// What the status alone means, for codes that are not in the table.
pub(super) fn by_status(status: u16) -> Reason {
    match status {
        // No answer to a request of ours, and nothing that another attempt would change.
        1..=199 | 300..=399 | 600.. => UpstreamProtocol,
        401 => UpstreamCredential,
        403 => UpstreamPermission,
        404 => ResourceNotFound,
        408 | 504 => UpstreamTimeout,
        409 => UpstreamConflict,
        413 => MediaTooLarge,
        415 => MediaFormat,
        429 => UpstreamRate,
        400..=499 => UpstreamRejected,
        _ => UpstreamUnknown,
    }
}

const fn code(code: &'static str, reason: Reason) -> Rule {
    says(code, "", reason)
}

const fn says(code: &'static str, says: &'static str, reason: Reason) -> Rule {
    Rule {
        code,
        says,
        status: 0,
        reason,
    }
}

const fn with_status(rule: Rule, status: u16) -> Rule {
    Rule { status, ..rule }
}

/// The table.
pub(super) static RULES: &[Rule] = &[
    // What the model can do.
    says("InvalidParameter*", "only support stream", StreamOnly),
    says("InvalidParameter*", "only supports stream", StreamOnly),
    says("InvalidParameter*", "only support with stream", StreamOnly),
    says(
        "InvalidParameter*",
        "does not support http call",
        StreamOnly,
    ),
    says("InvalidParameter*", "non-streaming call", StreamOnly),
    says("invalid_parameter_error", "only support stream", StreamOnly),
    says("invalid_parameter_error", "non-streaming call", StreamOnly),
    says("InvalidParameter*", "not support stream", WholeOnly),
    says("InvalidParameter*", "incremental_output", ModelCapability),
    says("InvalidParameter*", "enable_thinking", ModelCapability),
    says(
        "InvalidParameter*",
        "url error, please check url",
        ModelCapability,
    ),
    // The conversation and the model.
    says("", "range of input length", ContextTooLong),
    says("", "model not exist", ModelNotFound),
    code("ModelNotFound", ModelNotFound),
    code("model_not_found", ModelNotFound),
    // Media, in words.
    says("", "file parsing in progress", MediaNotReady),
    says(
        "",
        "failed to download multimodal content",
        MediaUnreachable,
    ),
    says("", "download multimodal", MediaUnreachable),
    says(
        "",
        "authorization to access the media resource",
        MediaExpired,
    ),
    says("AccessDenied*", "policy expired", MediaExpired),
    says(
        "",
        "missing content-length of multimodal url",
        MediaUnreachable,
    ),
    says("", "url does not appear to be valid", MediaUrl),
    says("", "audio is empty", MediaFormat),
    says("", "audio format is illegal", MediaFormat),
    says("", "files format not supported", MediaFormat),
    says("", "max bytes per data-uri item", MediaTooLarge),
    says("", "multimodal file size is too large", MediaTooLarge),
    // Media, by code.
    code("InvalidParameter.DataInspection", MediaUnreachable),
    code("InvalidURL.Timeout", MediaUnreachable),
    code("InvalidURL.ConnectionRefused", MediaUnreachable),
    code("BadRequest.InputDownloadFailed", MediaUnreachable),
    code("InvalidFile.DownloadFailed", MediaUnreachable),
    code("InvalidURL*", MediaUrl),
    code("InvalidFile.Format", MediaFormat),
    code("InvalidFile.Duration", MediaFormat),
    code("InvalidFile.AudioLengthError", MediaFormat),
    code("InvalidFile.Openerror", MediaFormat),
    code("InvalidFile.OpenError", MediaFormat),
    code("BadRequest.UnsupportedFileFormat", MediaFormat),
    code("Audio.DecoderError", MediaFormat),
    code("Audio.AudioRateError", MediaFormat),
    code("Audio.DurationLimitError", MediaFormat),
    code("Audio.PreprocessError", MediaFormat),
    code("InvalidFile.Size", MediaTooLarge),
    code("BadRequest.TooLarge", MediaTooLarge),
    code("InvalidFile*", MediaContent),
    code("InvalidImage*", MediaContent),
    code("InvalidPerson*", MediaContent),
    code("InvalidGarment*", MediaContent),
    code("InvalidInputLength", MediaContent),
    code("BadRequestException", MediaContent),
    // Content inspection.
    code("DataInspectionFailed", ContentBlocked),
    code("data_inspection_failed", ContentBlocked),
    code("IPInfringementSuspect", ContentBlocked),
    code("FaqRuleBlocked", ContentBlocked),
    code("CustomRoleBlocked", ContentBlocked),
    // Bills.
    code("Arrearage", UpstreamBilling),
    code("PrepaidBillOverdue", UpstreamBilling),
    code("PostpaidBillOverdue", UpstreamBilling),
    code("CommodityNotPurchased", UpstreamBilling),
    code("AccessDenied.Unpurchased", UpstreamBilling),
    code("AllocationQuota.FreeTierOnly", UpstreamBilling),
    says(
        "Throttling.AllocationQuota",
        "free allocated quota exceeded",
        UpstreamBilling,
    ),
    // Rates. A quota at status 400 is one of voices or word lists; at 429 it is tokens a minute.
    with_status(code("Throttling.AllocationQuota", UpstreamQuota), 400),
    code("Throttling.AllocationQuota", UpstreamTokens),
    code("insufficient_quota", UpstreamTokens),
    code("Throttling.BurstRate", UpstreamBurst),
    code("limit_burst_rate", UpstreamBurst),
    code("Throttling*", UpstreamRate),
    code("LimitRequests", UpstreamRate),
    code("limit_requests", UpstreamRate),
    // Keys and permissions.
    code("InvalidApiKey", UpstreamCredential),
    code("invalid_api_key", UpstreamCredential),
    code("NOT AUTHORIZED", UpstreamCredential),
    says("", "does not support synchronous calls", GatewayBug),
    says("", "does not support asynchronous calls", GatewayBug),
    code("AccessDenied*", UpstreamPermission),
    code("access_denied", UpstreamPermission),
    code("Model.AccessDenied", UpstreamPermission),
    code("App.AccessDenied", UpstreamPermission),
    code("Workspace.AccessDenied", UpstreamPermission),
    says("", "invalid access token", UpstreamCredential),
    says("", "not authorized", UpstreamCredential),
    // Addresses.
    code("WorkSpaceNotFound", GatewayConfig),
    says("NotFound", "request path not found", GatewayConfig),
    code("NotFound", ResourceNotFound),
    code("BadRequest.ResourceNotExist", ResourceNotFound),
    code("BadRequest.VoiceNotFound", ResourceNotFound),
    code("FlowNotPublished", UpstreamApp),
    code("InvokePluginFailed", UpstreamApp),
    code("AppProcessFailed", UpstreamApp),
    code("RetrievalFailed", UpstreamApp),
    code("UnsupportedOperation", UnsupportedOperation),
    code("model_not_supported", UnsupportedOperation),
    // Faults inside DashScope; some names mislead.
    says("", "expecting ',' delimiter", ModelOutput),
    says("", "list index out of range", UpstreamRejected),
    says("", "role must be ", UpstreamRejected),
    code("InternalError.Algo.InvalidParameter", UpstreamRejected),
    code("InternalError.Timeout", UpstreamTimeout),
    code("RequestTimeOut", UpstreamTimeout),
    code("ResponseTimeout", UpstreamTimeout),
    code("InternalError.FileUpload", UpstreamStorage),
    code("InternalError.Upload", UpstreamStorage),
    code("InternalError*", UpstreamInternal),
    code("internal_error", UpstreamInternal),
    code("SystemError", UpstreamInternal),
    code("ModelServiceFailed", UpstreamInternal),
    code("RewriteFailed", UpstreamInternal),
    code("APIConnectionError", UpstreamInternal),
    code("ClientDisconnect", UpstreamInternal),
    code("ModelServingError", UpstreamOverloaded),
    code("ModelUnavailable", UpstreamOverloaded),
    code("ServiceUnavailableError", UpstreamOverloaded),
    // Parameters.
    code("InvalidParameter*", UpstreamRejected),
    code("invalid_parameter_error", UpstreamRejected),
    code("invalid_request_error", UpstreamRejected),
    code("invalid_value", UpstreamRejected),
    code("InvalidSchema*", UpstreamRejected),
    code("BadRequest*", UpstreamRejected),
    // No code that is known, but words that are.
    says("", "too many requests", UpstreamRate),
    says("", "rate limit", UpstreamRate),
];
