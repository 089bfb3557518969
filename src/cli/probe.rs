//! Detects what kind of server is at an address, after a call has failed.

use std::borrow::Cow;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::Failure;
use super::exit::Exit;
use super::status::is_foreign;

/// Timeout of the detection, which delays the report of a failed call.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The start of an HTTP/2 connection: the preface, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A TLS ClientHello without a host and with one cipher suite: enough for a TLS server to answer,
/// if only with an alert.
const HELLO: &[u8] = b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x03dashgate looks who answers here.\
                       \0\0\x02\xc0\x2f\x01\0\0\0";

/// The port of a gateway whose address has none.
const DEFAULT_PORT: u16 = 50_051;

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// HTTP/2, the protocol of a gateway.
    Http2,
    /// HTTP/1.
    Http1,
    /// TLS.
    Tls,
    /// Another protocol.
    Other,
    /// No response.
    Silent,
    /// No connection.
    Unreachable,
}

/// Adds to a failure which kind of server is at the address, if it is not a gateway.
pub(crate) async fn explained(failure: Failure, address: &str) -> Failure {
    if !failure.transport {
        return failure;
    }
    let address = &*with_port(address);
    let found = match address.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => Found::Http2,
        _ => look(address).await,
    };
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (what, advice) = match found {
        Found::Http1 => ("it uses HTTP/1", None),
        Found::Tls => ("it uses TLS", Some(format!("https://{host}"))),
        Found::Other => ("it uses another protocol", None),
        Found::Silent => ("it does not answer to HTTP/2", None),
        Found::Http2 if is_foreign(&failure.message) => {
            ("it answers to HTTP/2, without gRPC", None)
        }
        Found::Http2 => return failure,
        Found::Unreachable => return gone(failure),
    };
    let place = match found == Found::Tls {
        true => "does not accept plaintext",
        false => "is not a gRPC server",
    };
    let message = format!("{address} {place}: {what}");
    let explained = Failure::unreachable(message);
    let general = match found == Found::Silent {
        true => "check the port of the gateway, and whether it has too many connections",
        false => "check the port of the gateway",
    };
    explained.with_advice(advice.unwrap_or_else(|| general.to_owned()))
}

/// The failure of a server that cannot be reached any more.
fn gone(mut failure: Failure) -> Failure {
    failure.exit = Some(Exit::Unreachable);
    failure
}

/// The same for the first call of a connection.
pub(crate) async fn explained_first(failure: Failure, address: &str) -> Failure {
    let failure = explained(failure, address).await;
    match failure.transport && is_closed_over_tls(&failure, address) {
        true => without_identity(&failure, address),
        false => failure,
    }
}

/// Whether a server closed the connection after the TLS handshake. Its reason may be lost with the
/// connection.
fn is_closed_over_tls(failure: &Failure, address: &str) -> bool {
    let is_secure = address
        .get(..8)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    is_secure && !failure.message.contains("stream error")
}

fn without_identity(failure: &Failure, address: &str) -> Failure {
    Failure::unreachable(format!(
        "{address} closed the connection after the TLS handshake: {}",
        failure.message
    ))
    .with_advice(
        "a gateway that requires a client certificate does this: set DASHGATE_TLS_CERTIFICATE and \
         DASHGATE_TLS_KEY",
    )
}

/// Examines an address without TLS: `host:port`, `http://host:port` or `unix:/path`.
async fn look(address: &str) -> Found {
    match first_bytes(address, PREFACE).await.as_deref() {
        Some([0x15, 3, ..]) => Found::Tls,
        Some(bytes) if bytes.starts_with(b"HTTP/1") => Found::Http1,
        // A SETTINGS frame: its length, then its type.
        Some([_, _, _, 4, ..]) => Found::Http2,
        Some([_, ..]) => Found::Other,
        // It closed the connection or waits, as some TLS servers do when they receive other data.
        Some([]) => match first_bytes(address, HELLO).await.as_deref() {
            Some([0x15 | 0x16, 3, ..]) => Found::Tls,
            Some(bytes) if bytes.starts_with(b"HTTP/1") => Found::Http1,
            Some([_, ..]) => Found::Other,
            Some([]) => Found::Silent,
            None => Found::Unreachable,
        },
        None => Found::Unreachable,
    }
}

/// The first bytes of the response; `None` if the address cannot be reached.
async fn first_bytes(address: &str, words: &[u8]) -> Option<Vec<u8>> {
    if let Some(path) = address.strip_prefix("unix:") {
        #[cfg(unix)]
        {
            let path = path.strip_prefix("//").unwrap_or(path);
            let stream = tokio::net::UnixStream::connect(path).await.ok()?;
            return Some(said(stream, words).await);
        }
        #[cfg(not(unix))]
        return None;
    }
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let connecting = async { TcpStream::connect(&*with_port(host)).await };
    let stream = timeout(LOOK_TIMEOUT, connecting).await.ok()?.ok()?;
    Some(said(stream, words).await)
}

/// Adds the default port to a host or an address that has none.
fn with_port(address: &str) -> Cow<'_, str> {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let is_complete = address.starts_with("unix:") || host.contains(':') && !host.ends_with(']');
    match is_complete {
        true => Cow::Borrowed(address),
        false => Cow::Owned(format!("{address}:{DEFAULT_PORT}")),
    }
}

/// The first bytes of the response to `words`; empty if there is none.
async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) -> Vec<u8> {
    let mut first = [0; 16];
    let talking = async {
        stream.write_all(words).await?;
        stream.read(&mut first).await
    };
    let read = match timeout(LOOK_TIMEOUT, talking).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => 0,
    };
    first.get(..read).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn an_address_without_a_port_gets_that_of_a_gateway() {
        for (given, expected) in [
            ("127.0.0.1", "127.0.0.1:50051"),
            ("gateway", "gateway:50051"),
            ("[::1]", "[::1]:50051"),
            ("gateway:80", "gateway:80"),
            ("http://gateway", "http://gateway:50051"),
            ("http://gateway:80", "http://gateway:80"),
            ("unix:/g.sock", "unix:/g.sock"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }
}
