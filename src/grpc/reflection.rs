//! Errors of reflection. The library's statuses have no details, and a request that cannot be read
//! ends its response as if it were complete; here they become errors of the gateway.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_reflection::pb::{v1, v1alpha};
use tower::util::BoxCloneSyncService;

use crate::error::{Error, Reason};

use super::explained::bare_fault;
use super::{metadata_keys, pb, status};

/// The maximum message of reflection: the name of a symbol or a file.
pub(super) const REFLECTION_BYTES: usize = 64 * 1024;

/// The service of one version.
pub(super) type Reflection = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The services of v1 and v1alpha.
pub(super) fn services() -> Result<(Reflection, Reflection), Error> {
    let broken =
        |error| Error::new(Reason::GatewayBug, "the schema cannot be reflected").with_source(error);
    // Each of the two knows only itself; it needs the other's descriptors, so that both list both.
    let builder = |other| {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(other)
            // For debuggers that decode the details of a status.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let of_v1 = builder(v1alpha::FILE_DESCRIPTOR_SET);
    let of_v1 = of_v1.build_v1().map_err(broken)?;
    let of_v1 = of_v1.max_decoding_message_size(REFLECTION_BYTES);
    let of_v1alpha = builder(v1::FILE_DESCRIPTOR_SET);
    let of_v1alpha = of_v1alpha.build_v1alpha().map_err(broken)?;
    let of_v1alpha = of_v1alpha.max_decoding_message_size(REFLECTION_BYTES);
    Ok((
        BoxCloneSyncService::new(of_v1),
        BoxCloneSyncService::new(of_v1alpha),
    ))
}

/// What is known of the requests of one call.
#[derive(Default)]
struct Seen {
    /// Whether all of them were read.
    ended: bool,
    /// Why no more can be received.
    failed: Option<Status>,
}

/// The requests of one call, as seen by its response.
#[derive(Clone)]
pub(super) struct Requests {
    seen: Arc<Mutex<Seen>>,
}

impl Requests {
    /// The requests in this body.
    pub(super) fn of<B>(body: B) -> (Self, Body)
    where
        B: HttpBody<Data = Bytes, Error = Status> + Send + Unpin + 'static,
    {
        let seen = Seen {
            ended: body.is_end_stream(),
            ..Seen::default()
        };
        let requests = Self {
            seen: Arc::new(Mutex::new(seen)),
        };
        let body = RequestBody {
            body,
            requests: requests.clone(),
        };
        (requests, Body::new(body))
    }

    /// The body of the response to them, whose errors have details.
    pub(super) fn explain(self, body: Body, request_id: Arc<str>) -> Body {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut()
                && let Some(status) = self.status(trailers, &request_id)
            {
                let mut explained = HeaderMap::new();
                // Its values are ASCII, as those of every status are.
                let _ = status.add_header(&mut explained);
                *trailers = explained;
            }
            frame
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status instead of the one in these trailers; `None` if that is right.
    fn status(&self, trailers: &HeaderMap, request_id: &str) -> Option<Status> {
        if trailers.contains_key(metadata_keys::GRPC_STATUS_DETAILS) {
            return None;
        }
        let found = Status::from_header_map(trailers)?;
        let code = found.code();
        let error = if code == Code::Ok {
            let mut seen = self.lock();
            if seen.ended {
                return None;
            }
            if let Some(status) = seen.failed.take() {
                return Some(status);
            }
            unread()
        } else if code == Code::NotFound {
            let message = "reflection knows no such symbol or file; list the services";
            Error::new(Reason::ResourceNotFound, message)
        } else if code == Code::InvalidArgument {
            Error::field("message_request", "is not set; ask for a service or a file")
        } else {
            bare_fault(trailers)?
        };
        let error = error.with_source(found.message());
        Some(status::status(&error, request_id, false))
    }
}

/// The error of a request that the library could not read.
fn unread() -> Error {
    let message = "the message is not valid protobuf of its type";
    Error::new(Reason::MalformedMessage, message)
}

/// The body of the requests.
struct RequestBody<B> {
    body: B,
    requests: Requests,
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            // Trailers are the last.
            Some(Ok(frame)) if frame.is_data() => {}
            Some(Ok(_)) | None => self.requests.lock().ended = true,
            Some(Err(status)) => self.requests.lock().failed = Some(status.clone()),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        // Its end is to be seen.
        false
    }
}
