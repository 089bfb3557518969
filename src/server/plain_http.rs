//! Rejects requests that are not gRPC, with an HTTP status and an explanation.

use std::pin::Pin;
use std::time::Duration;

use bytes::Buf as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;

/// How long a request that will be rejected is read. Legitimate clients do not send for longer.
const HEARD_FOR: Duration = Duration::from_secs(1);

/// How much of it is read: any form that a browser or a scanner sends.
const MAX_HEARD: usize = 1 << 20;

/// The response to a request that is not gRPC; `None` for gRPC.
pub fn other_protocols<B>(request: &Request<B>) -> Option<Response<Body>> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    if request.method() != Method::POST {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let mut response = explanation(status, "this is a gRPC server; all its calls are POST");
        let post = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, post);
        if request.method() == Method::HEAD {
            // RFC 9110, 9.3.2: without content. Over HTTP/2 the library would send it.
            *response.body_mut() = Body::empty();
        }
        Some(response)
    } else if !kind.is_some_and(is_grpc) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let said = "this is a gRPC server; it takes application/grpc over HTTP/2, and \
                    application/grpc-web+proto or application/grpc-web-text";
        Some(explanation(status, said))
    } else if request.version() < Version::HTTP_2 {
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        let said = "gRPC needs HTTP/2; over HTTP/1.1 there is gRPC-Web";
        Some(explanation(status, said))
    } else {
        None
    }
}

fn is_grpc(kind: &[u8]) -> bool {
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

/// Reads a request to its end before it is rejected: a client that is still sending may see a
/// broken connection instead of the response. Boxed, because it is rare and must not enlarge calls.
pub fn hear_out<B>(mut body: B) -> Pin<Box<dyn Future<Output = ()> + Send>>
where
    B: http_body::Body + Unpin + Send + 'static,
    B::Data: Send,
{
    let heard = async move {
        let mut left = MAX_HEARD;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.remaining());
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    Box::pin(async {
        // A longer one is rejected without its rest.
        let _ = tokio::time::timeout(HEARD_FOR, heard).await;
    })
}

/// A response with one sentence.
pub fn explanation(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(format!("{sentence}\n"))));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
