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
pub(super) fn explained<F>(answer: F, limit: usize) -> Answering
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    Box::pin(async move {
        let Ok(response) = answer.await;
        match bare_fault(response.headers(), limit) {
            Some(error) => Err(error),
            None => Ok(response),
        }
    })
}

/// The error of a status without details.
pub(super) fn bare_fault(headers: &HeaderMap, limit: usize) -> Option<Error> {
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
    } else if code == Code::OutOfRange {
        let size = text.split_whitespace().find_map(|word| word.parse().ok());
        too_large(size, limit)
    } else if code == Code::ResourceExhausted {
        too_large(None, limit)
    } else if code == Code::Unimplemented && text.is_empty() {
        no_method()
    } else if code == Code::Unimplemented {
        let message = "unsupported compression; use gzip or zstd";
        Error::new(Reason::UnsupportedOperation, message)
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

fn too_large(size: Option<u64>, limit: usize) -> Error {
    let found = match size {
        Some(size) => format!("the message is {size} bytes, the limit is {limit}"),
        None => format!("the message is larger than the limit of {limit} bytes"),
    };
    let hint = "send large media with MediaService.UploadMedia";
    Error::new(Reason::MessageTooLarge, format!("{found}; {hint}"))
}
