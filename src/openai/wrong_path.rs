//! Responses of servers that do not have the path of a request: the base URL is wrong.

use crate::dashscope::errors::words;
use crate::error::{Error, Reason};

/// The error of a response to the path of a self-hosted server, which has no other resources than
/// models: a path that it does not have, or redirects, is an error of the configuration.
pub(super) fn of_path(error: Error) -> Error {
    let Some(upstream) = error.upstream() else {
        return error;
    };
    let names_model = || {
        let message = upstream.message.expose().to_ascii_lowercase();
        message.contains("model")
    };
    let reason = match (upstream.http_status, error.reason()) {
        (404, Reason::ResourceNotFound) if names_model() => Reason::ModelNotFound,
        (404, Reason::ResourceNotFound)
        | (300..=399, Reason::UpstreamProtocol)
        | (405, Reason::UpstreamRejected) => Reason::GatewayConfig,
        _ => return error,
    };
    Error::new(reason, words(reason))
        .with_sent(error.sent())
        .with_upstream(upstream.clone())
}
