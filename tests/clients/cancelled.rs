//! The calls of `CancelCall` that a played gateway received. They are not among the calls that it
//! plays: when one arrives is not certain.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use dashgate::grpc::pb::CancelCallRequest;
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::played::Frames;
use super::status::{self, Status};

/// The name of the method.
pub(crate) const METHOD: &str = "CancelCall";
/// The frame of an empty message.
const EMPTY: [u8; 5] = [0; 5];

/// The request ids of the calls that were cancelled, in order.
#[derive(Default)]
pub(crate) struct Cancelled(Mutex<Vec<String>>);

impl Cancelled {
    /// The request ids so far.
    pub(crate) fn ids(&self) -> Vec<String> {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.clone()
    }

    /// Notes a request, and answers it.
    pub(crate) fn answer(&self, body: &[u8]) -> Response<Frames> {
        let message = body.get(EMPTY.len()..).unwrap_or_default();
        let request = CancelCallRequest::decode(message).unwrap_or_default();
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(request.request_id);
        let (sender, receiver) = mpsc::channel::<Result<_, Infallible>>(2);
        let trailers = status::trailers(&Status::default());
        for frame in [
            Frame::data(Bytes::from_static(&EMPTY)),
            Frame::trailers(trailers),
        ] {
            // There is room for both.
            let _sent = sender.try_send(Ok(frame));
        }
        let body = StreamBody::new(ReceiverStream::new(receiver));
        let mut response = Response::new(Frames::Right(body));
        status::content_type(response.headers_mut(), "application/grpc");
        response
    }
}
