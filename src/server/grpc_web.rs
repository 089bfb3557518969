//! gRPC-Web: the same calls for clients that cannot read HTTP trailers, such as browsers.
//!
//! It differs in the content type, in the trailers, which are one more frame of the body, and in a
//! form in which the whole body is base64. The router handles everything else.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

/// The flag of the frame with the trailers.
const TRAILERS: u8 = 0x80;

/// The encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Unencoded.
    Binary,
    /// Base64.
    Text,
}

impl Form {
    /// The encoding of a request; `None` if it is not gRPC-Web.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let rest = kind.strip_prefix(b"application/grpc-web")?;
        let (form, rest) = match rest.strip_prefix(b"-text") {
            Some(rest) => (Self::Text, rest),
            None => (Self::Binary, rest),
        };
        let known = rest.is_empty() || rest.starts_with(b";") || rest.starts_with(b"+proto");
        known.then_some(form)
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        })
    }
}

/// Converts a gRPC-Web request to gRPC. Its form stays in the extensions.
pub fn unwrap(request: Request<Incoming>, form: Option<Form>) -> Request<WebRequest> {
    let mut request = request.map(|body| WebRequest {
        body,
        text: (form == Some(Form::Text)).then(Decoder::default),
    });
    if let Some(form) = form {
        request.extensions_mut().insert(form);
        let grpc = HeaderValue::from_static("application/grpc+proto");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
        *request.version_mut() = Version::HTTP_2;
    }
    request
}

/// Converts a gRPC response to gRPC-Web. Trailers in the headers stay there: both protocols report
/// an error without messages that way.
pub fn wrap<B>(response: Response<B>, form: Option<Form>) -> Response<WebResponse<B>> {
    let mut response = response.map(|body| WebResponse { body, form });
    if let Some(form) = form
        && response.status().is_success()
    {
        let kind = form.content_type();
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// The body of a request.
pub struct WebRequest {
    body: Incoming,
    text: Option<Decoder>,
}

/// Why a body is invalid.
#[derive(Debug)]
pub enum BodyError {
    /// It was interrupted.
    Gone,
    /// It is not base64.
    NotText,
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gone => "the body is truncated",
            Self::NotText => "the body is not base64",
        })
    }
}

impl std::error::Error for BodyError {}

impl http_body::Body for WebRequest {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let Some(decoder) = &mut this.text else {
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyError::Gone)));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(text) => Some(match decoder.decode(&text) {
                    Some(bytes) => Ok(Frame::data(bytes)),
                    None => Err(BodyError::NotText),
                }),
                // HTTP trailers have no meaning here.
                Err(_) => None,
            },
            Some(Err(_)) => Some(Err(BodyError::Gone)),
            None if decoder.is_done() => None,
            None => Some(Err(BodyError::NotText)),
        })
    }

    fn is_end_stream(&self) -> bool {
        // A text that ends in the middle of a group has to be reported.
        self.text.as_ref().is_none_or(Decoder::is_done) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.text {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

/// Decodes base64 incrementally, from pieces of any size, each of which may be padded.
#[derive(Default)]
struct Decoder {
    /// The characters of an incomplete group.
    rest: Vec<u8>,
}

impl Decoder {
    fn decode(&mut self, text: &[u8]) -> Option<Bytes> {
        let mut letters = std::mem::take(&mut self.rest);
        letters.extend_from_slice(text);
        let (groups, rest) = letters.as_chunks::<4>();
        self.rest = rest.to_vec();
        let mut bytes = Vec::with_capacity(groups.len() * 3);
        // A padded group ends a separately encoded piece.
        for run in groups.split_inclusive(|group| group.ends_with(b"=")) {
            STANDARD.decode_vec(run.as_flattened(), &mut bytes).ok()?;
        }
        Some(bytes.into())
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }
}

/// The body of a response.
pub struct WebResponse<B> {
    body: B,
    form: Option<Form>,
}

impl<B> http_body::Body for WebResponse<B>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match (frame, self.form) {
            (Some(Ok(frame)), Some(form)) => Some(Ok(framed(frame, form))),
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.form {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

fn framed(frame: Frame<Bytes>, form: Form) -> Frame<Bytes> {
    let bytes = match frame.into_data() {
        Ok(bytes) => bytes,
        Err(frame) => match frame.into_trailers() {
            Ok(trailers) => last(&trailers),
            Err(other) => return other,
        },
    };
    Frame::data(match form {
        Form::Binary => bytes,
        Form::Text => STANDARD.encode(bytes).into(),
    })
}

/// The trailers as the last frame of a body.
fn last(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b":", value.as_bytes(), b"\r\n"] {
            text.put_slice(part);
        }
    }
    let mut frame = BytesMut::with_capacity(5 + text.len());
    frame.put_u8(TRAILERS);
    // The limits on metadata keep it far below four gigabytes.
    frame.put_u32(u32::try_from(text.len()).unwrap_or_default());
    frame.put_slice(&text);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grpc_web_forms_are_recognized_by_their_content_type() {
        for (kind, expected) in [
            ("application/grpc-web", Some(Form::Binary)),
            ("application/grpc-web+proto", Some(Form::Binary)),
            ("application/grpc-web;charset=utf-8", Some(Form::Binary)),
            ("application/grpc-web-text", Some(Form::Text)),
            ("application/grpc-web-text+proto", Some(Form::Text)),
            ("application/grpc-web+json", None),
            ("application/grpc-website", None),
            ("application/grpc", None),
            ("application/json", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            assert_eq!(Form::of(&headers), expected, "{kind}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), None);
    }

    #[test]
    fn trailers_are_a_frame_of_lines() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(&last(&trailers)[..], b"\x80\0\0\0\x0fgrpc-status:0\r\n");
    }

    #[test]
    fn data_that_is_not_base64_is_reported() {
        for (pieces, whole) in [
            (&["AAAA"][..], true),
            (&["AA==AA=="], true),
            (&["A", "A=", "=AAAA"], true),
            (&["AA="], false),
            (&["A===", ""], false),
            (&["=AAA"], false),
            (&["AA A"], false),
        ] {
            let mut decoder = Decoder::default();
            let read = pieces
                .iter()
                .all(|piece| decoder.decode(piece.as_bytes()).is_some());
            assert_eq!(read && decoder.is_done(), whole, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn base64_says_the_same_wherever_it_is_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            size in 1usize..9,
        ) {
            let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
            let mut decoder = Decoder::default();
            let mut bytes = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                bytes.extend(decoder.decode(piece).unwrap());
            }
            prop_assert!(decoder.is_done());
            prop_assert_eq!(bytes, parts.concat());
        }
    }
}
