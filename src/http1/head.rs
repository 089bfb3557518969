//! Writes the head of a request, and parses the head of a response. Does no I/O.

use std::io::Write as _;
use std::mem::MaybeUninit;

use super::headers::Headers;

/// The maximum number of response headers.
const MAX_HEADERS: usize = 128;

/// The maximum length of a response head. DashScope's are well below one KiB.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The status of a response after which another protocol follows.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The head of a request. It contains an API key and has no `Debug`.
#[derive(Clone)]
pub struct Request {
    text: Vec<u8>,
}

/// A value that is not valid in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeaderValue;

impl Request {
    /// Begins with the lines that many requests share: see [`Request::post`].
    pub fn from_lines(lines: &[u8]) -> Self {
        // The lines of one call: key, workspace, trace, length.
        const ROOM: usize = 512;
        let mut text = Vec::with_capacity(lines.len() + ROOM);
        text.extend_from_slice(lines);
        Self { text }
    }

    /// The first lines of a POST to this path of this host.
    pub fn post(path: &str, host: &str) -> Self {
        Self::new("POST", path, host)
    }

    /// The first lines of a request with this method to this path of this host.
    pub fn new(method: &'static str, path: &str, host: &str) -> Self {
        let line = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        Self {
            text: line.into_bytes(),
        }
    }

    /// The first lines of a request to this path of this host that asks for a WebSocket.
    pub fn upgrade(path: &str, host: &str) -> Self {
        let line = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n"
        );
        Self {
            text: line.into_bytes(),
        }
    }

    /// Adds a header.
    pub fn line(&mut self, name: &'static str, value: &str) -> Result<(), InvalidHeaderValue> {
        // The rule of `http::HeaderValue`, without its copy.
        let fits = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if !value.bytes().all(fits) {
            return Err(InvalidHeaderValue);
        }
        for part in [name, ": ", value, "\r\n"] {
            self.text.extend_from_slice(part.as_bytes());
        }
        Ok(())
    }

    /// Adds `content-length` and ends the head.
    pub fn end(&mut self, length: usize) {
        // Writing to a vector does not fail.
        let _ = write!(self.text, "content-length: {length}\r\n\r\n");
    }

    /// Ends the head of a request without a body.
    pub(super) fn end_without_body(&mut self) {
        self.text.extend_from_slice(b"\r\n");
    }

    /// The lines so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

/// The head of a response.
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// Whether the connection is reusable after the body.
    pub keep_alive: bool,
}

impl Head {
    /// Whether it is an interim response (1xx), which another head follows.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && !self.switches_protocols()
    }

    /// Whether another protocol follows.
    pub(super) fn switches_protocols(&self) -> bool {
        self.status == SWITCHING_PROTOCOLS
    }
}

/// Parses the head of a response, and returns its length. `None` if it is incomplete.
pub fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    let mut found = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        bytes,
        &mut found,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("the headers are too long"),
        Err(_) => return Err("the headers are invalid"),
    };
    let mut headers = Headers::with_capacity(answer.headers.len(), length);
    for header in answer.headers.iter() {
        headers.add(header.name, header.value);
    }
    let status = answer.code.unwrap_or_default();
    match status {
        100..=599 => {}
        _ => return Err("the status is not one of HTTP"),
    }
    let head = Head {
        status,
        keep_alive: answer.version == Some(1) && !says_close(&headers),
        headers,
    };
    Ok(Some((head, length)))
}

fn says_close(headers: &Headers) -> bool {
    headers
        .all("connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_head_is_encoded() {
        let mut request = Request::post("/api", "h:80");
        request.line("authorization", "Bearer k").unwrap();
        assert_eq!(request.line("x", "a\r\nb"), Err(InvalidHeaderValue));
        assert_eq!(request.line("x", "a\0b"), Err(InvalidHeaderValue));
        request.line("x", "a\tb é").unwrap();
        request.end(1_230);
        let expected = "POST /api HTTP/1.1\r\nhost: h:80\r\nauthorization: Bearer k\r\n\
                        x: a\tb é\r\ncontent-length: 1230\r\n\r\n";
        assert_eq!(request.as_bytes(), expected.as_bytes());
    }

    #[test]
    fn a_head_is_parsed_once_complete() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\nX-A: 2\r\n\r\nabc";
        for cut in 0..text.len() - 3 {
            assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let (head, length) = read(text).unwrap().unwrap();
        assert_eq!((head.status, length), (200, text.len() - 3));
        assert!(head.headers.all("x-a").eq([b"1", b"2"]));
        assert!(head.keep_alive);
    }

    #[test]
    fn keep_alive_follows_version_and_headers() {
        let keeps = |text: &str| read(text.as_bytes()).unwrap().unwrap().0.keep_alive;
        assert!(keeps("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nconnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\n"));
    }

    #[test]
    fn invalid_heads_are_rejected() {
        for text in [
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 000 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_HEAD));
        assert!(read(long.as_bytes()).is_err());
        let many = format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_HEADERS + 1)
        );
        assert!(read(many.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_input_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[b"HTTP/1.1 200 OK\r\n", &*bytes].concat());
        }
    }
}
