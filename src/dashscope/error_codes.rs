//! DashScope's error codes and HTTP statuses with their meanings: the table and its lookup.
//!
//! Precedence: the code, then phrases of the message, then the HTTP status. A message may quote the
//! caller, so phrases only choose among the reasons that a code allows ([`super::error_phrases`]),
//! and never widen the scope of an error.

use super::error_phrases::{CAPABILITY, DENIED, FAILURE, INPUT, LISTS, MEDIA, QUOTA, RATE, Words};
use crate::error::Reason::{self, *};
use crate::error::Scope::{self, Account, Call, Model};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The code; with `*` at its end, a prefix.
    pub(super) code: &'static str,
    /// The HTTP status that must come with it; 0 for any.
    pub(super) status: u16,
    /// The reason if no phrase of the message chooses another.
    pub(super) reason: Reason,
    /// The widest scope of the error.
    pub(super) scope: Scope,
    /// The phrases that may choose another reason.
    pub(super) words: &'static [Words],
}

/// The meaning of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) reason: Reason,
    pub(super) scope: Scope,
}

impl Row {
    /// Whether it only reports an internal failure of DashScope.
    pub(super) fn is_internal(&self) -> bool {
        matches!(self.code, INTERNAL | "internal_error" | "SystemError")
    }

    fn fits(&self, code: &str, status: u16) -> bool {
        let code_fits = match self.code.strip_suffix('*') {
            Some(start) => code.starts_with(start),
            None => self.code == code,
        };
        code_fits && (self.status == 0 || self.status == status)
    }

    /// The meaning with this message, which must be in lower case.
    pub(super) fn meaning(&self, message: &str) -> Meaning {
        let mut words = self.words.iter().copied().flatten();
        let found = words.find(|(says, _)| message.contains(says));
        let Some((_, reason)) = found else {
            return Meaning {
                reason: self.reason,
                scope: self.scope,
            };
        };
        // A quota code may be of any quota; any other reason that a phrase chooses has the scope of
        // the call.
        let of_quota = matches!(reason, UpstreamBilling | UpstreamTokens | UpstreamRate);
        Meaning {
            reason: *reason,
            scope: if of_quota { self.scope } else { Call },
        }
    }
}

/// The prefix that DashScope adds to the code of the component that refused the call.
const WRAPPER: &str = "InternalError.Algo.";

/// The prefix of codes that only report an internal failure.
const INTERNAL: &str = "InternalError*";

/// The row of a code, or `None` if it is empty or unknown. For `InternalError.Algo.CODE`, the row
/// of the inner code is more specific.
pub(super) fn by_code(code: &str, status: u16) -> Option<&'static Row> {
    let find = |code: &str| ROWS.iter().find(|row| row.fits(code, status));
    let inner = code.strip_prefix(WRAPPER).and_then(find);
    inner.filter(|row| row.scope == Call).or_else(|| find(code))
}

/// The row of a status, for codes that are not in the table. A status that a filter before
/// DashScope may return because of the caller's content (403) has the scope of the call.
pub(super) fn by_status(status: u16) -> Row {
    let (reason, scope, words): (_, _, &[Words]) = match status {
        0 | 200..=299 => (UpstreamUnknown, Call, LISTS),
        401 => (UpstreamCredential, Account, &[]),
        403 => (UpstreamPermission, Call, &[DENIED]),
        404 => (ResourceNotFound, Call, &[INPUT]),
        408 | 504 => (UpstreamTimeout, Call, &[]),
        409 => (UpstreamConflict, Call, &[]),
        413 => (MediaTooLarge, Call, &[]),
        415 | 430 => (MediaFormat, Call, &[]),
        429 => (UpstreamRate, Model, &[]),
        400..=499 => (UpstreamRejected, Call, &[CAPABILITY, INPUT, MEDIA]),
        500..=599 => (UpstreamUnknown, Call, &[FAILURE, INPUT, MEDIA, RATE]),
        _ => (UpstreamProtocol, Call, &[]),
    };
    Row {
        code: "",
        status,
        reason,
        scope,
        words,
    }
}

const fn row(code: &'static str, reason: Reason, scope: Scope, words: &'static [Words]) -> Row {
    Row {
        code,
        status: 0,
        reason,
        scope,
        words,
    }
}

/// A code with the scope of the call.
const fn call(code: &'static str, reason: Reason) -> Row {
    row(code, reason, Call, &[])
}

/// A code of invalid parameters or input; the message names them.
const fn input(code: &'static str) -> Row {
    row(code, UpstreamRejected, Call, &[CAPABILITY, INPUT, MEDIA])
}

/// A code of a media item; the message may be more specific.
const fn media(code: &'static str, reason: Reason) -> Row {
    row(code, reason, Call, &[MEDIA])
}

/// A code of an internal failure; some of these are invalid input.
const fn failure(code: &'static str, reason: Reason) -> Row {
    row(code, reason, Call, &[FAILURE, INPUT, MEDIA, RATE])
}

const fn with_status(row: Row, status: u16) -> Row {
    Row { status, ..row }
}

/// The table. The first matching row applies, so a longer code precedes its prefix.
pub(super) static ROWS: &[Row] = &[
    // Keys. A catch-all code of OpenAI's error form is decided by its HTTP status.
    row("InvalidApiKey", UpstreamCredential, Account, &[]),
    row("invalid_api_key", UpstreamCredential, Account, &[]),
    row("NOT AUTHORIZED", UpstreamCredential, Account, &[]),
    row(
        "invalid access token or token expired",
        UpstreamCredential,
        Account,
        &[],
    ),
    row("invalid access token*", UpstreamCredential, Account, &[]),
    with_status(
        row("invalid_request_error", UpstreamCredential, Account, &[]),
        401,
    ),
    with_status(
        row("invalid_request_error", UpstreamPermission, Call, &[DENIED]),
        403,
    ),
    with_status(row("invalid_request_error", ModelNotFound, Call, &[]), 404),
    with_status(row("invalid_request_error", UpstreamRate, Model, &[]), 429),
    // Billing: of the account, or of one model.
    row("Arrearage", UpstreamBilling, Account, &[]),
    row("isv.OUT_OF_SERVICE", UpstreamBilling, Account, &[]),
    row("PrepaidBillOverdue", UpstreamBilling, Account, &[]),
    row("PostpaidBillOverdue", UpstreamBilling, Account, &[]),
    row("CommodityNotPurchased", UpstreamBilling, Model, &[]),
    row("Contain.Forbidden.Label.Error", UpstreamBilling, Model, &[]),
    row("AccessDenied.Unpurchased", UpstreamBilling, Model, &[]),
    row("AllocationQuota.FreeTierOnly", UpstreamBilling, Model, &[]),
    // Permissions. A workspace may be granted some models only, so the scope is a model.
    row("AccessDenied*", UpstreamPermission, Model, &[DENIED]),
    row("access_denied", UpstreamPermission, Model, &[DENIED]),
    row("Model.AccessDenied", UpstreamPermission, Model, &[]),
    row("App.AccessDenied", UpstreamPermission, Model, &[]),
    row("Workspace.AccessDenied", UpstreamPermission, Model, &[]),
    row("Endpoint.AccessDenied", UpstreamPermission, Model, &[]),
    // Rate limits. A quota at status 400 is one of voices or vocabularies; at 429 it is tokens per
    // minute.
    with_status(call("Throttling.AllocationQuota", UpstreamQuota), 400),
    row(
        "Throttling.AllocationQuota",
        UpstreamTokens,
        Model,
        &[QUOTA],
    ),
    row("insufficient_quota", UpstreamTokens, Model, &[QUOTA]),
    row("Throttling.BurstRate", UpstreamBurst, Model, &[]),
    row("limit_burst_rate", UpstreamBurst, Model, &[]),
    row("Throttling*", UpstreamRate, Model, &[]),
    row("LimitRequests", UpstreamRate, Model, &[]),
    row("limit_requests", UpstreamRate, Model, &[]),
    row("ResourceExhausted", UpstreamRate, Model, &[]),
    row("Too many requests", UpstreamRate, Model, &[]),
    row("rate_limit_exceeded", UpstreamRate, Model, &[]),
    // The names of errors of OpenAI-style servers.
    row("AuthenticationError", UpstreamCredential, Account, &[]),
    row("PermissionDeniedError", UpstreamPermission, Call, &[DENIED]),
    row("RateLimitError", UpstreamRate, Model, &[]),
    call("NotFoundError", ModelNotFound),
    call("context_length_exceeded", ContextTooLong),
    call("string_above_max_length", ContextTooLong),
    call("exceed_context_size_error", ContextTooLong),
    call("content_policy_violation", ContentBlocked),
    call("content_filter", ContentBlocked),
    call("overloaded_error", UpstreamOverloaded),
    call("unavailable_error", UpstreamOverloaded),
    call("NotImplementedError", UnsupportedOperation),
    call("unsupported_parameter", ModelCapability),
    input("BadRequestError"),
    input("UnprocessableEntityError"),
    failure("InternalServerError", UpstreamInternal),
    failure("server_error", UpstreamInternal),
    // Models and URLs.
    call("ModelNotFound", ModelNotFound),
    call("model_not_found", ModelNotFound),
    call("model_not_supported", UnsupportedOperation),
    call("UnsupportedOperation", UnsupportedOperation),
    call("InvalidParameter.NotSupportEnableThinking", ModelCapability),
    call("WorkSpaceNotFound", GatewayConfig),
    row("NotFound", ResourceNotFound, Call, &[INPUT]),
    call("BadRequest.ResourceNotExist", ResourceNotFound),
    call("BadRequest.VoiceNotFound", ResourceNotFound),
    call("Conflict", UpstreamConflict),
    // Media.
    media("InvalidParameter.DataInspection", MediaUnreachable),
    media("InvalidURL.Timeout", MediaUnreachable),
    media("InvalidURL.ConnectionRefused", MediaUnreachable),
    media("BadRequest.InputDownloadFailed", MediaUnreachable),
    media("InvalidFile.DownloadFailed", MediaUnreachable),
    media("InvalidURL*", MediaUrl),
    media("InvalidFile.Format", MediaFormat),
    media("InvalidFile.Duration", MediaFormat),
    media("InvalidFile.AudioLengthError", MediaFormat),
    media("InvalidFile.Openerror", MediaFormat),
    media("InvalidFile.OpenError", MediaFormat),
    media("InvalidFile.FPS", MediaFormat),
    media("InvalidImageFormat", MediaFormat),
    media("InvalidImage.FileFormat", MediaFormat),
    media("BadRequest.UnsupportedFileFormat", MediaFormat),
    media("InvalidFile.Size", MediaTooLarge),
    media("BadRequest.TooLarge", MediaTooLarge),
    media("Audio.FileSizeExceed*", MediaTooLarge),
    media("Audio.*", MediaFormat),
    call("InvalidFile*", MediaContent),
    call("InvalidImage*", MediaContent),
    call("InvalidPerson*", MediaContent),
    call("InvalidGarment*", MediaContent),
    call("InvalidInputLength", MediaContent),
    call("BadRequestException", MediaContent),
    // Content inspection.
    call("DataInspectionFailed", ContentBlocked),
    call("data_inspection_failed", ContentBlocked),
    call("IPInfringementSuspect", ContentBlocked),
    call("FaqRuleBlocked", ContentBlocked),
    call("CustomRoleBlocked", ContentBlocked),
    // Applications.
    call("FlowNotPublished", UpstreamApp),
    call("InvokePluginFailed", UpstreamApp),
    call("AppProcessFailed", UpstreamApp),
    call("RetrievalFailed", UpstreamApp),
    call("RetrivalFailed", UpstreamApp),
    // Parameters and input.
    input("InvalidParameter*"),
    input("invalid_parameter_error"),
    input("invalid_request_error"),
    input("invalid_value"),
    input("InvalidSchema*"),
    input("BadRequest*"),
    input("mismatched_model"),
    input("duplicate_custom_id"),
    // Internal failures of DashScope.
    call("InternalError.Timeout", UpstreamTimeout),
    call("RequestTimeOut", UpstreamTimeout),
    call("ResponseTimeout", UpstreamTimeout),
    call("InternalError.FileUpload", UpstreamStorage),
    call("InternalError.Upload", UpstreamStorage),
    failure(INTERNAL, UpstreamInternal),
    failure("internal_error", UpstreamInternal),
    failure("SystemError", UpstreamInternal),
    failure("ModelServiceFailed", UpstreamInternal),
    failure("RewriteFailed", UpstreamInternal),
    call("APIConnectionError", UpstreamInternal),
    call("ClientDisconnect", UpstreamInternal),
    failure("ModelServingError", UpstreamOverloaded),
    call("ModelUnavailable", UpstreamOverloaded),
    row(
        "ServiceUnavailable*",
        UpstreamOverloaded,
        Call,
        &[FAILURE, INPUT, MEDIA],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_reachable() {
        for (at, row) in ROWS.iter().enumerate() {
            let code = row.code.trim_end_matches('*');
            let found = by_code(code, row.status).unwrap();
            assert!(std::ptr::eq(found, &raw const ROWS[at]), "{row:?}");
        }
    }

    /// Every phrase of every list at once, so that the first of each list applies, and each phrase
    /// alone.
    fn messages() -> Vec<String> {
        let lists = LISTS.iter().chain([&QUOTA]).copied().flatten();
        let needles = lists.map(|(says, _)| *says);
        let mut messages: Vec<_> = needles.map(str::to_owned).collect();
        messages.push(messages.join(" "));
        messages
    }

    #[test]
    fn a_phrase_never_widens_the_scope_of_a_code() {
        let width = |scope| match scope {
            Call => 0,
            Model => 1,
            Account => 2,
        };
        let statuses = (100..=599).map(by_status);
        for row in ROWS.iter().copied().chain(statuses) {
            for message in messages() {
                let meaning = row.meaning(&message);
                assert!(
                    width(meaning.scope) <= width(row.scope),
                    "{row:?} {message}"
                );
            }
        }
    }

    #[test]
    fn no_phrase_means_that_a_key_is_refused() {
        for (says, reason) in LISTS.iter().copied().flatten() {
            let of_key = matches!(reason, UpstreamCredential | UpstreamPermission);
            assert!(!of_key, "{says}");
        }
    }
}
