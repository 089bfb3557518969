//! CORS: which web pages may call.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::body::Body;

use super::plain_http;

/// The response headers that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "grpc-status, grpc-message, grpc-status-details-bin, grpc-retry-pushback-ms, x-request-id, \
     x-dashscope-request-id, dashgate-resumable",
);

/// How long a browser may cache a preflight response. Chromium's maximum.
const REMEMBERED: HeaderValue = HeaderValue::from_static("7200");

/// The maximum length of the header names that are echoed to a page.
const MAX_NAMES: usize = 1024;

/// The web origins that may call.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Allows these origins and no others; `*` is any.
    pub fn new(origins: Vec<String>) -> Self {
        Self(origins)
    }

    /// Whether a request may be processed. One without an origin does not come from a page.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN) {
            None => true,
            Some(origin) => self
                .0
                .iter()
                .any(|one| one == "*" || origin == one.as_str()),
        }
    }

    /// The response to a preflight request, if the request is one.
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let headers = request.headers();
        let asked = request.method() == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asked {
            return None;
        }
        if !self.allow(headers) {
            return Some(refusal());
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let granted = response.headers_mut();
        if let Some(origin) = headers.get(header::ORIGIN) {
            self.grant(origin.clone(), granted);
        }
        let methods = HeaderValue::from_static("POST");
        granted.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        granted.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
        // Metadata have any name, and an allowed page may send any.
        if let Some(names) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS)
            && names.len() <= MAX_NAMES
        {
            granted.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        Some(response)
    }

    /// Adds the headers that permit the page to read the response.
    pub fn grant(&self, origin: HeaderValue, answered: &mut HeaderMap) {
        answered.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answered.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        answered.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// The response for a page that may not call. Its script cannot read it; developers see the text in
/// the browser's tools.
pub fn refusal() -> Response<Body> {
    plain_http::explanation(
        StatusCode::FORBIDDEN,
        "origin not allowed: the operator can add it to server.allowed_origins",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(origin: Option<&str>, method: &str) -> Request<()> {
        let mut request = Request::builder().method(method);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-mine")
            .body(())
            .unwrap()
    }

    #[test]
    fn pages_are_allowed_by_name_and_programs_are_no_pages() {
        let some = Origins::new(vec!["https://a.example".to_owned()]);
        let all = Origins::new(vec!["*".to_owned()]);
        for (origins, origin, allowed) in [
            (&some, None, true),
            (&some, Some("https://a.example"), true),
            (&some, Some("https://a.example.evil"), false),
            (&some, Some("http://a.example"), false),
            (&some, Some("null"), false),
            (&all, Some("https://b.example"), true),
            (&Origins::default(), Some("https://a.example"), false),
            (&Origins::default(), None, true),
        ] {
            let request = request(origin, "POST");
            assert_eq!(origins.allow(request.headers()), allowed, "{origin:?}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_was_asked_for() {
        let origins = Origins::new(vec!["https://a.example".to_owned()]);
        let question = request(Some("https://a.example"), "OPTIONS");
        let answer = origins.preflight(&question).unwrap();
        assert_eq!(answer.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "content-type,x-mine"),
            ("access-control-max-age", "7200"),
            ("vary", "origin"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        let other = request(Some("https://b.example"), "OPTIONS");
        let answer = origins.preflight(&other).unwrap();
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
        assert!(origins.preflight(&request(None, "POST")).is_none());
    }
}
