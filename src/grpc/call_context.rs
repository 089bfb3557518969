//! The context of a call before its first message: arrival time, request id, deadline, and the
//! metadata that the gateway uses.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::callers::Identity;
use crate::callers::credentials::{CredentialBytes, Credentials};
use crate::chat::call::{Connection, Passing};
use crate::error::{Error, Reason};
use crate::telemetry::call_report::Report;
use crate::telemetry::trace;

use super::config::GrpcConfig;
use super::metadata_keys;
use super::method::Method;
use super::unpack::Encoding;
use crate::server::call_clock::CallClock;

/// The maximum length of a request id. Enough for two UUIDs and a prefix.
pub const MAX_REQUEST_ID: usize = 128;

/// The maximum length of a value that is forwarded to DashScope.
const MAX_PASSED_VALUE: usize = 512;

/// The context of a call before its first message.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// When its headers were read.
    pub at: Instant,
    /// The method that is called; `None` if the gateway has no such method.
    pub method: Option<Method>,
    /// The compression of its messages.
    pub(super) encoding: Encoding,
    /// The clock of its response.
    pub clock: Arc<CallClock>,
    /// The caller's timeout of the whole call.
    pub timeout: Option<Duration>,
    /// The request id in `x-request-id`, or a generated one.
    pub request_id: Arc<str>,
    /// The caller. Anonymous until identified.
    pub identity: Identity,
    /// Metadata that are forwarded to DashScope.
    pub passing: Passing,
}

impl CallContext {
    /// Reads the headers of a call that arrived when this clock began.
    pub fn read(
        headers: &HeaderMap,
        settings: &GrpcConfig,
        clock: Arc<CallClock>,
    ) -> Result<Box<Self>, (Arc<str>, Error)> {
        let known = Known::of(headers);
        let given = known.request_id.and_then(|name| name.to_str().ok());
        let given = given.filter(|name| is_request_id(name));
        let request_id = given.map_or_else(new_request_id, Arc::from);
        match read(&known, settings) {
            Ok((timeout, passing)) => Ok(Box::new(Self {
                at: clock.began(),
                method: None,
                encoding: Encoding::Identity,
                clock,
                timeout,
                request_id,
                identity: Identity::default(),
                passing,
            })),
            Err(error) => Err((request_id, error)),
        }
    }

    /// The report of this call, as far as it is known.
    pub fn report(&self) -> Report {
        Report {
            caller: self.identity.name().cloned(),
            trace_id: trace::trace_id(self.passing.traceparent.as_deref()).to_owned(),
            ..Report::new(&self.request_id, self.method_name())
        }
    }

    /// The name of the method within its service; empty if the gateway has no such method.
    pub fn method_name(&self) -> &'static str {
        self.method.map_or("", Method::name)
    }

    /// The timeout of the call.
    pub fn timeout(&self, default: Duration, settings: &GrpcConfig) -> Duration {
        self.timeout.unwrap_or(default).min(settings.max_timeout)
    }
}

/// The metadata that the gateway uses, found in one pass, and the size of all.
#[derive(Default)]
struct Known<'a> {
    size: usize,
    request_id: Option<&'a HeaderValue>,
    timeout: Option<&'a HeaderValue>,
    workspace: Option<&'a HeaderValue>,
    data_inspection: Option<&'a HeaderValue>,
    traceparent: Option<&'a HeaderValue>,
    tracestate: Option<&'a HeaderValue>,
}

impl<'a> Known<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut known = Self::default();
        for (name, value) in headers {
            known.size += name.as_str().len() + value.len() + 32;
            let slot = match name.as_str() {
                "x-request-id" => &mut known.request_id,
                "grpc-timeout" => &mut known.timeout,
                WORKSPACE => &mut known.workspace,
                DATA_INSPECTION => &mut known.data_inspection,
                "traceparent" => &mut known.traceparent,
                "tracestate" => &mut known.tracestate,
                _ => continue,
            };
            // The first of several values applies.
            slot.get_or_insert(value);
        }
        known
    }
}

const WORKSPACE: &str = "x-dashscope-workspace";
const DATA_INSPECTION: &str = "x-dashscope-data-inspection";

fn read(known: &Known<'_>, settings: &GrpcConfig) -> Result<(Option<Duration>, Passing), Error> {
    let limit = settings.max_metadata_bytes;
    if known.size > limit {
        let size = known.size;
        let message = format!("the metadata are {size} bytes, the limit is {limit}; send less");
        return Err(Error::new(Reason::MetadataTooLarge, message));
    }
    let timeout = match known.timeout {
        Some(value) => Some(parse_timeout(value.as_bytes()).ok_or_else(bad_timeout)?),
        None => None,
    };
    Ok((timeout, passing(known)?))
}

fn bad_timeout() -> Error {
    Error::field(
        "metadata.grpc-timeout",
        "must be one to eight digits and a unit of H, M, S, m, u or n, for example 30S",
    )
}

/// Parses `grpc-timeout` as the gRPC specification defines it.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let mut amount = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        amount = amount * 10 + u64::from(digit - b'0');
    }
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

fn passing(known: &Known<'_>) -> Result<Passing, Error> {
    let value = |name: &str, value: Option<&HeaderValue>| match value {
        None => Ok(None),
        Some(value) => match value.to_str() {
            Ok(text) if text.len() <= MAX_PASSED_VALUE => Ok(Some(text.to_owned())),
            _ => Err(Error::field(
                format!("metadata.{name}"),
                format!("must be printable ASCII of at most {MAX_PASSED_VALUE} bytes"),
            )),
        },
    };
    Ok(Passing {
        api_key: None,
        workspace: value(WORKSPACE, known.workspace)?,
        data_inspection: value(DATA_INSPECTION, known.data_inspection)?,
        // An invalid trace context is no reason to reject a call.
        traceparent: value("", known.traceparent).unwrap_or_default(),
        tracestate: value("", known.tracestate).unwrap_or_default(),
    })
}

/// The credentials of a call.
pub fn credentials<'a>(headers: &'a HeaderMap, connection: &'a Connection) -> Credentials<'a> {
    let shown = |name: HeaderName| {
        headers
            .get(name)
            .map(|value| CredentialBytes(value.as_bytes()))
    };
    Credentials {
        authorization: shown(AUTHORIZATION),
        api_key: shown(metadata_keys::X_API_KEY),
        uris: connection
            .peer
            .as_ref()
            .map_or(&[], |peer| peer.uri_sans.as_slice()),
        origin: connection.origin,
    }
}

/// Whether a text is valid as a request id.
pub fn is_request_id(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_REQUEST_ID && name.bytes().all(|b| b.is_ascii_graphic())
}

/// Generates a request id.
pub fn new_request_id() -> Arc<str> {
    let uuid = uuid::Uuid::new_v4().hyphenated();
    let mut letters = uuid::Uuid::encode_buffer();
    Arc::from(&*uuid.encode_lower(&mut letters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timeouts_are_read_as_the_specification_writes_them() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("4m", Some(Duration::from_millis(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1 S", None),
            ("1s", None),
            ("1SS", None),
            ("٣S", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_timeout_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse_timeout(&bytes);
        }
    }
}
