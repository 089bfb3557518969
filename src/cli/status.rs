//! Converts the error of a call to a failure.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::Reason;
use crate::grpc::status_code;

use super::error::{Detail, Failure, Field, NO_CLIENT_CERTIFICATE};
use super::message_json::fields;
use super::schema::Schema;
use super::usage_words;

impl From<dashgate_client::Error> for Failure {
    fn from(error: dashgate_client::Error) -> Self {
        // Those of arguments, such as a file that cannot be read, are of no call.
        if error.code() == Code::InvalidArgument && error.request_id().is_empty() {
            return Self::usage(error.message());
        }
        let mut failure = Self::from(error.status().clone());
        failure.output_started = error.output_started();
        if let Some(usage) = error.usage() {
            failure.used = usage_words::words(usage).unwrap_or_default();
            failure.usage = Some(fields(&Schema::read(), "Usage", usage));
        }
        if error.raw_reason() == "DEADLINE_EXCEEDED" && error.attempts().is_none() {
            failure = failure.with_advice("set a longer timeout: `--timeout 5m`");
        }
        if failure.request_id.is_empty() {
            error.request_id().clone_into(&mut failure.request_id);
        }
        failure
    }
}

/// A status without what is known of a call.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let known = status.get_error_details();
        let header = |name: &str| {
            let value = status.metadata().get(name);
            let text = value.and_then(|value| value.to_str().ok());
            text.unwrap_or_default().to_owned()
        };
        let mut failure = Self::failed(status_code::name(status.code()), status.message());
        failure.request_id = header("x-request-id");
        failure.upstream_request_id = header("x-dashscope-request-id");
        failure.retry_after_ms = header("grpc-retry-pushback-ms").parse().ok();
        if let Some(retry) = known.retry_info().and_then(|info| info.retry_delay) {
            failure.retry_after_ms = i64::try_from(retry.as_millis()).ok();
        }
        if let Some(request) = known.request_info()
            && failure.request_id.is_empty()
        {
            failure.request_id.clone_from(&request.request_id);
        }
        for field in known.bad_request().iter().flat_map(|b| &b.field_violations) {
            failure.fields.push(Field {
                field: field.field.clone(),
                description: field.description.clone(),
            });
        }
        if let Some(info) = known.error_info() {
            failure.reason.clone_from(&info.reason);
            failure.details = details(&info.metadata, &failure);
        }
        if let Some(advice) = advice(&failure.reason) {
            failure.advice.push(advice.to_owned());
        }
        for quota in known.quota_failure().iter().flat_map(|q| &q.violations) {
            failure.advice.push(quota.description.clone());
        }
        for link in known.help().iter().flat_map(|help| &help.links) {
            failure
                .advice
                .push(format!("{}: {}", link.description, link.url));
        }
        explain_transport(&mut failure, &status);
        failure
    }
}

/// A status without a reason was created by the gRPC library: its cause is more specific.
fn explain_transport(failure: &mut Failure, status: &Status) {
    if !failure.reason.is_empty() {
        return;
    }
    failure.transport = status.source().is_some() || is_foreign(&failure.message);
    let mut cause = status.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !failure.message.contains(&words) {
            let _ = write!(failure.message, ": {words}");
        }
        cause = error.source();
    }
    if failure.message.contains(NO_CLIENT_CERTIFICATE) {
        *failure = Failure::without_certificate();
        return;
    }
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal => {
            let advice = "check the gateway: `dashgate health`";
            failure.advice.push(advice.to_owned());
        }
        Code::Unimplemented => {
            let advice = "check that this is a dashgate gateway of the same version";
            failure.advice.push(advice.to_owned());
        }
        // The library cancels a call when its connection breaks.
        Code::Cancelled if failure.transport && !failure.message.contains("Timeout expired") => {
            let advice = "check the gateway: `dashgate health`";
            failure.advice.push(advice.to_owned());
        }
        Code::Cancelled | Code::DeadlineExceeded => {
            let advice = "set a longer timeout: `--timeout 5m`";
            failure.advice.push(advice.to_owned());
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss
        | Code::Unauthenticated => {}
    }
}

/// Whether the gRPC library received an HTTP/2 response that is not from a gRPC server.
pub(crate) fn is_foreign(message: &str) -> bool {
    message.contains("grpc-status header missing") || message.contains("invalid compression flag")
}

/// Advice for users who run the gateway themselves.
fn advice(reason: &str) -> Option<&'static str> {
    let is = |one: Reason| one.name() == reason;
    if is(Reason::UpstreamDns) || is(Reason::UpstreamConnect) || is(Reason::UpstreamTls) {
        Some("`dashgate config show` prints the base URL (upstream.url)")
    } else if is(Reason::UpstreamCredential) {
        Some("check DASHSCOPE_API_KEY and its region, or upstream.openai.api_key of an own server")
    } else if is(Reason::ModelNotFound) {
        Some("choose another model with `--model`")
    } else if is(Reason::GatewayConfig) {
        Some("check upstream.url: DashScope's ends with /api/v1, other servers' with /v1")
    } else if is(Reason::Unauthenticated) {
        Some("set DASHGATE_API_KEY to a valid key; `dashgate keys new` creates one")
    } else {
        None
    }
}

/// Further metadata of the error, in a fixed order, without what is shown elsewhere.
fn details(metadata: &HashMap<String, String>, failure: &Failure) -> Vec<Detail> {
    let known = [&failure.request_id, &failure.upstream_request_id];
    let mut details: Vec<_> = metadata
        .iter()
        .filter(|(_, value)| !value.is_empty() && !known.contains(value))
        .map(|(name, value)| Detail {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    details.sort_by(|a, b| a.name.cmp(&b.name));
    details
}
