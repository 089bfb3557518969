//! Requests before they are decoded: their checks, and the refusal of those that are not read.

use std::sync::Arc;

use http::Request;

use crate::error::{Error, Reason};
use crate::memory::CallMemory;
use crate::relay::Relay;
use crate::server::plain_http;

use super::body_limits::{Caller, Limits};
use super::body_timeout::Clocked;
use super::call_context::CallContext;
use super::request_body::RequestBody;
use super::service::Answering;
use super::{metadata_keys, status, unpack};

/// Checks the body of a request before it is decoded. Boxed, because tonic moves a request from
/// layer to layer.
pub(super) fn checked<B>(
    request: Request<B>,
    limits: Limits,
    memory: &CallMemory,
    context: &CallContext,
    report: Option<Relay>,
) -> Request<Box<RequestBody<B>>> {
    let caller = Caller {
        method: context.method_name(),
        request_id: Arc::clone(&context.request_id),
        report,
        arrived: context.at,
    };
    let (encoding, memory) = (context.encoding, memory.clone());
    request.map(|body| Box::new(RequestBody::new(body, encoding, limits, memory, caller)))
}

/// The response to a call whose messages are in an encoding that is not supported: as the
/// specification asks, it says which ones are.
pub(super) fn unsupported_encoding(request: Request<Clocked>, request_id: Arc<str>) -> Answering {
    Box::pin(async move {
        plain_http::hear_out(request.into_body()).await;
        let message = "unsupported grpc-encoding; use gzip, zstd or identity";
        let error = Error::new(Reason::UnsupportedOperation, message);
        let mut response = status::status(&error, &request_id, false).into_http();
        let headers = response.headers_mut();
        headers.insert(metadata_keys::GRPC_ACCEPT_ENCODING, unpack::ACCEPTED);
        Ok(response)
    })
}

/// The error of a call whose message is discarded. It is read to its end, because data for a stream
/// that was reset counts against its connection, and callers of a full gateway are legitimate.
pub(super) fn refused(request: Request<Clocked>, error: Error) -> Answering {
    Box::pin(async move {
        plain_http::hear_out(request.into_body()).await;
        Err(error)
    })
}
