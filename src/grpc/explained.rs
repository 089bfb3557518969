//! Replaces statuses made by tonic with errors of the gateway.

use std::convert::Infallible;

use http::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::error::{Error, Reason};

use super::metadata_keys;
use super::service::Answering;

/// The error of a call of an unknown method.
pub(super) fn no_method() -> Error {
    Error::new(Reason::UnknownMethod, "the service has no such method")
}

/// The response of a service; statuses made by tonic become errors, so that they get details.
pub(super) fn explained<F>(answer: F) -> Answering
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    Box::pin(async move {
        let Ok(response) = answer.await;
        match bare_fault(response.headers()) {
            Some(error) => Err(error),
            None => Ok(response),
        }
    })
}

/// The error of a status without details.
pub(super) fn bare_fault(headers: &HeaderMap) -> Option<Error> {
    // The headers of a successful response have none.
    if !headers.contains_key(metadata_keys::GRPC_STATUS)
        || headers.contains_key(metadata_keys::GRPC_STATUS_DETAILS)
    {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let (code, text) = (status.code(), status.message());
    let error = if code == Code::Ok {
        return None;
    } else if code == Code::Unimplemented {
        no_method()
    } else if code == Code::Aborted {
        Error::new(Reason::RequestBodyTimeout, "the caller disconnected")
    } else {
        Error::new(
            Reason::MalformedMessage,
            "the message is not valid protobuf of its type",
        )
    };
    Some(error.with_source(text))
}
