//! Converts an error to the detail [`pb::CallFailure`] of its status.

use prost::Message;
use prost_types::Any;

use crate::error::Error;

use super::pb;
use super::usage::usage;

/// The maximum length of a model name in a status. Names are shorter than a hundred bytes; a longer
/// one does not exist, and the caller sent it.
const MAX_MODEL: usize = 256;

/// The detail of an error. If it does not fit into `room` bytes, its usage has only the counts with
/// a field.
pub(super) fn detail(error: &Error, room: usize) -> Any {
    let mut failure = call_failure(error);
    for shrink in [drop_extra, drop_texts] {
        if failure.encoded_len() > room
            && let Some(usage) = &mut failure.usage
        {
            shrink(usage);
        }
    }
    Any {
        type_url: pb::CALL_FAILURE.to_owned(),
        value: failure.encode_to_vec(),
    }
}

fn call_failure(error: &Error) -> pb::CallFailure {
    let reason = pb::ErrorReason::from_str_name(error.reason().name());
    let model = error.model().filter(|model| model.len() <= MAX_MODEL);
    let mut failure = pb::CallFailure {
        reason: reason.unwrap_or_default().into(),
        output_started: error.output_started(),
        attempts: i32::try_from(error.attempts()).unwrap_or(i32::MAX),
        usage: error.usage().map(|used| usage(used)),
        model: model.unwrap_or_default().to_owned(),
        upstream_request_id: error.upstream_request_id().to_owned(),
        ..pb::CallFailure::default()
    };
    if let Some(upstream) = error.upstream() {
        failure.upstream_code.clone_from(&upstream.code);
        let http_status = Some(i32::from(upstream.http_status));
        failure.upstream_http_status = http_status.filter(|status| *status > 0);
    }
    failure
}

fn drop_extra(usage: &mut pb::Usage) {
    usage.extra = None;
}

fn drop_texts(usage: &mut pb::Usage) {
    usage.cache_type = None;
    let details = [
        &mut usage.input_tokens_details,
        &mut usage.output_tokens_details,
        &mut usage.prompt_tokens_details,
    ];
    for details in details.into_iter().flatten() {
        details.cache_type = None;
    }
    let plugins = usage.plugins.as_mut();
    if let Some(search) = plugins.and_then(|plugins| plugins.search.as_mut()) {
        search.strategy = None;
    }
}
