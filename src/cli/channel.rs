//! Connects to the address of a gateway.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::ClientTls;

use super::error::{Failure, NO_CLIENT_CERTIFICATE};

/// The default port of a gateway, as in `server.listen`.
const DEFAULT_PORT: u16 = 50_051;

/// Timeout of the connection: two lost packets fit in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of the connection and the TLS handshake together: the library's timeout is for the
/// connection only.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest certificate file; anything larger is a mistake in the path.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// rustls's error for a response that is not TLS.
const NO_TLS: &str = "corrupt message";

/// rustls's error for a certificate of an untrusted authority.
const UNTRUSTED: &str = "UnknownIssuer";

/// tonic's error if ALPN did not negotiate HTTP/2.
const NO_HTTP2: &str = "HTTP/2 was not negotiated";

/// Connects to an address: `host:port`, `http://...`, `https://...` or `unix:/path`.
pub(crate) async fn channel(address: &str, tls: &ClientTls) -> Result<Channel, Failure> {
    let wrong = || {
        Failure::usage(format!("{address:?} is not the address of a server"))
            .with_advice("host:port, http://host:port, https://host:port or unix:/path")
    };
    let (lower, full);
    let address = match address.split_once("://") {
        // Schemes are case-insensitive.
        Some((scheme, rest)) => {
            lower = format!("{}://{rest}", scheme.to_ascii_lowercase());
            lower.as_str()
        }
        None => {
            full = with_port(address);
            &*full
        }
    };
    let uri = match (address.strip_prefix("unix:"), address.split_once("://")) {
        (Some(path), _) => match path.trim_start_matches('/').is_empty() {
            true => return Err(wrong()),
            false => address.to_owned(),
        },
        (None, None) => format!("http://{address}"),
        (None, Some(("http" | "https", _))) => address.to_owned(),
        (None, Some(_)) => return Err(wrong()),
    };
    let secure = uri.starts_with("https://");
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(|_| wrong())?
        .connect_timeout(CONNECT_TIMEOUT);
    if !address.starts_with("unix:") && endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if secure {
        endpoint = endpoint.tls_config(trust(tls)?).map_err(|error| {
            let cause = causes(&error);
            Failure::usage(format!("cannot set up TLS for {address}: {cause}"))
                .with_advice("look at client.tls.ca, client.tls.certificate and client.tls.key")
        })?;
    }
    let connecting = tokio::time::timeout(HANDSHAKE_TIMEOUT, endpoint.connect());
    let connected = connecting.await.map_err(|_| {
        Failure::unreachable(format!(
            "connected to {address}, but it does not answer: no TLS handshake within \
             {HANDSHAKE_TIMEOUT:?}"
        ))
        .with_advice("is the port that of a gateway?")
    })?;
    connected.map_err(|error| unconnected(&error, address, secure))
}

/// Adds the default port to an address that has neither scheme nor port.
pub(crate) fn with_port(address: &str) -> Cow<'_, str> {
    match address.contains([':', '/']) && !address.ends_with(']') {
        true => Cow::Borrowed(address),
        false => Cow::Owned(format!("{address}:{DEFAULT_PORT}")),
    }
}

/// The failure of a connection.
fn unconnected(error: &tonic::transport::Error, address: &str, secure: bool) -> Failure {
    let cause = causes(error);
    if cause.contains(NO_HTTP2) {
        return Failure::unreachable(format!(
            "{address} is not a gRPC server: it supports TLS, but not HTTP/2"
        ));
    }
    if secure && cause.contains(NO_TLS) {
        let plain = address.replacen("https://", "http://", 1);
        return Failure::unreachable(format!(
            "cannot reach {address}: the server does not support TLS"
        ))
        .with_advice(plain);
    }
    if cause.contains(NO_CLIENT_CERTIFICATE) {
        return Failure::without_certificate();
    }
    if cause.contains(UNTRUSTED) {
        return Failure::unreachable(format!(
            "cannot reach {address}: its certificate is of an unknown authority"
        ))
        .with_advice("trust its authority with `--tls-ca FILE`");
    }
    Failure::unreachable(format!("cannot reach {address}: {cause}"))
        .with_advice("`dashgate serve` starts a gateway")
}

fn trust(tls: &ClientTls) -> Result<ClientTlsConfig, Failure> {
    let mut config = match &tls.ca {
        Some(path) => {
            let authorities = Certificate::from_pem(file("client.tls.ca", path)?);
            ClientTlsConfig::new().ca_certificate(authorities)
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(
            file("client.tls.certificate", certificate)?,
            file("client.tls.key", key)?,
        ));
    }
    Ok(match &tls.server_name {
        Some(name) => config.domain_name(name),
        None => config,
    })
}

fn file(key: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > MAX_FILE_BYTES {
            true => Err(io::Error::other("it is larger than 1 MiB")),
            false => Ok(bytes),
        }
    };
    read().map_err(|error| {
        Failure::usage(format!("{key}: cannot read {}: {error}", path.display()))
            .with_advice("give the path of a PEM file")
    })
}

/// The innermost cause: the errors above it only say that connecting failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    async fn failure(address: &str) -> Failure {
        channel(address, &ClientTls::default()).await.unwrap_err()
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_told_before_anything_is_done() {
        for address in ["ftp://host", "http://", "a b", "", "unix:", "unix:///"] {
            assert_eq!(failure(address).await.exit(), Exit::Usage, "{address}");
        }
    }

    #[test]
    fn an_address_without_a_port_gets_that_of_a_gateway() {
        for (given, expected) in [
            ("127.0.0.1", "127.0.0.1:50051"),
            ("gateway", "gateway:50051"),
            ("[::1]", "[::1]:50051"),
            ("gateway:80", "gateway:80"),
            ("http://gateway", "http://gateway"),
            ("unix:/g.sock", "unix:/g.sock"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_with_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        for address in [address.as_str(), "unix:/no/such.sock"] {
            let failure = failure(address).await;
            assert_eq!(failure.exit(), Exit::Unreachable);
            assert!(failure.text().contains(address), "{}", failure.text());
            assert!(failure.text().contains("dashgate serve"));
        }
    }

    #[tokio::test]
    async fn a_plaintext_port_behind_https_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                // Until the other side has read it: a reset could arrive before the data.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let failure = failure(&format!("https://{address}")).await;
        assert_eq!(failure.exit(), Exit::Unreachable);
        let told = failure.text();
        assert!(told.contains("does not support TLS"), "{told}");
        assert!(told.contains(&format!("try: http://{address}")), "{told}");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_with_its_setting() {
        let tls = ClientTls {
            ca: Some("no-such.pem".into()),
            ..ClientTls::default()
        };
        let failure = channel("https://127.0.0.1:1", &tls).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        let told = failure.text();
        assert!(
            told.contains("client.tls.ca: cannot read no-such.pem"),
            "{told}"
        );
    }
}
