//! What is not gRPC is told so, in HTTP's own words and with a sentence for whoever reads it.

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use tonic::body::Body;

/// Refuses a request that is not gRPC.
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

/// An answer of one sentence.
pub fn explanation(status: StatusCode, sentence: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(format!("{sentence}\n"))));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
