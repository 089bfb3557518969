//! Connects to a gateway, and explains why it cannot.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use dashgate_client::{Client, Error, Tls};
use tokio::time::Instant;

use crate::config::ClientTls;
use crate::secret::Secret;

use super::error::{Failure, NO_CLIENT_CERTIFICATE};
use super::probe;

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
pub(crate) async fn connect(
    address: &str,
    api_key: Option<&Secret>,
    tls: &ClientTls,
) -> Result<Client, Failure> {
    let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
    let is_secure = scheme.eq_ignore_ascii_case("https");
    let mut builder = Client::builder()
        .target(address)
        .configure_endpoint(|endpoint| endpoint.connect_timeout(CONNECT_TIMEOUT));
    if let Some(key) = api_key {
        builder = builder.api_key(key.expose());
    }
    if is_secure {
        builder = builder.tls(of_settings(tls)?);
    }
    let client = builder.build().map_err(|error| unusable(&error, address))?;
    let begun = Instant::now();
    let connecting = tokio::time::timeout(HANDSHAKE_TIMEOUT, client.connect());
    let connected = connecting.await.map_err(|_| {
        Failure::unreachable(format!(
            "connected to {address}, but it does not answer: no TLS handshake within \
             {HANDSHAKE_TIMEOUT:?}"
        ))
        .with_advice("is the port that of a gateway?")
    })?;
    match connected {
        Ok(()) => Ok(client),
        Err(error) if error.source().is_none() && begun.elapsed() >= CONNECT_TIMEOUT => {
            Err(silent(address, CONNECT_TIMEOUT))
        }
        Err(error) => Err(unconnected(&error, address, is_secure).await),
    }
}

/// The failure of a server that accepts connections and does not respond.
pub(crate) fn silent(address: &str, waited: Duration) -> Failure {
    Failure::unreachable(format!(
        "connected to {address}, but it does not answer as a gRPC server: nothing came within \
         {waited:?}"
    ))
    .with_advice("is the port that of a gateway?")
}

/// The failure of settings that a client does not accept.
fn unusable(error: &Error, address: &str) -> Failure {
    // Only certificates have a cause.
    if error.source().is_some() {
        let cause = innermost(error);
        return Failure::usage(format!("cannot set up TLS for {address}: {cause}"))
            .with_advice("look at client.tls.ca, client.tls.certificate and client.tls.key");
    }
    Failure::usage(error.message())
}

/// The failure of a connection.
async fn unconnected(error: &Error, address: &str, is_secure: bool) -> Failure {
    // The server has closed the connection at once.
    if error.source().is_none() {
        let message = format!("connected to {address}, but it does not answer as a gRPC server");
        let mut failure = Failure::unreachable(message);
        failure.transport = true;
        return probe::explained(failure, address).await;
    }
    let cause = innermost(error);
    if cause.contains(NO_HTTP2) {
        return Failure::unreachable(format!(
            "{address} is not a gRPC server: it supports TLS, but not HTTP/2"
        ));
    }
    if is_secure && cause.contains(NO_TLS) {
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

fn of_settings(settings: &ClientTls) -> Result<Tls, Failure> {
    let mut tls = Tls::new();
    if let Some(path) = &settings.ca {
        tls = tls.ca_certificates(file("client.tls.ca", path)?);
    }
    if let Some((certificate, key)) = &settings.identity {
        tls = tls.client_certificate(
            file("client.tls.certificate", certificate)?,
            file("client.tls.key", key)?,
        );
    }
    Ok(match &settings.server_name {
        Some(name) => tls.server_name(name),
        None => tls,
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
fn innermost(error: &dyn StdError) -> String {
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
        let connected = connect(address, None, &ClientTls::default()).await;
        connected.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_told_before_anything_is_done() {
        for address in ["ftp://host", "http://", "a b", "", "unix:", "unix:///"] {
            assert_eq!(failure(address).await.exit(), Exit::Usage, "{address}");
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
        let connected = connect("https://127.0.0.1:1", None, &tls).await;
        let failure = connected.unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        let told = failure.text();
        assert!(
            told.contains("client.tls.ca: cannot read no-such.pem"),
            "{told}"
        );
    }
}
