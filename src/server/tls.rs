//! TLS of the server: its certificate, the client CAs, and their reload when files change.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Reason};
use crate::regular_file;

/// The ALPN protocols: HTTP/2 for gRPC and gRPC-Web, HTTP/1.1 for gRPC-Web.
const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];

/// The ALPN name of HTTP/2.
pub(super) const HTTP2: &[u8] = b"h2";

/// The maximum size of a certificate or key file, enough for some hundred authorities; anything
/// larger is a mistake in the path.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The files, and how they are used.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The CAs of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether client certificates are optional.
    pub client_optional: bool,
    /// The timeout of a handshake.
    pub handshake_timeout: Duration,
    /// The interval of checks for changed files.
    pub reload_interval: Duration,
}

/// The TLS configuration of new connections.
pub struct Tls {
    settings: TlsConfig,
    current: watch::Sender<TlsAcceptor>,
    /// Detects changed files without keeping a copy of the key.
    hasher: RandomState,
    first: u64,
}

/// The contents of the files.
#[derive(Hash)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    pub fn load(settings: TlsConfig) -> Result<Self, Error> {
        let contents = read(&settings)?;
        let acceptor = acceptor(&settings, &contents)?;
        let hasher = RandomState::new();
        Ok(Self {
            first: hasher.hash_one(&contents),
            current: watch::Sender::new(acceptor),
            settings,
            hasher,
        })
    }

    /// The acceptor of the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.borrow().clone()
    }

    /// The timeout of a handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.settings.handshake_timeout
    }

    /// Checks the files periodically, and never returns. Inconsistent files change nothing, and are
    /// logged once. Contents are compared: an update may preserve the modification time, or replace
    /// a link.
    pub async fn keep_fresh(&self) {
        let mut seen = self.first;
        let mut told = None;
        let mut ticks = tokio::time::interval(self.settings.reload_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let settings = self.settings.clone();
            let contents = tokio::task::spawn_blocking(move || read(&settings)).await;
            let Ok(contents) = contents else { continue };
            let print = contents.as_ref().ok().map(|c| self.hasher.hash_one(c));
            if print == Some(seen) {
                told = None;
                continue;
            }
            match contents.and_then(|contents| acceptor(&self.settings, &contents)) {
                Ok(acceptor) => {
                    tracing::info!("TLS certificate reloaded");
                    self.current.send_replace(acceptor);
                    seen = print.unwrap_or(seen);
                    told = None;
                }
                // A partial update looks like an error; the next check finds the rest.
                Err(error) => {
                    if told.as_ref() != Some(&print) {
                        tracing::warn!(%error, "TLS certificate reload failed, keeping current \
                            certificate");
                    }
                    told = Some(print);
                }
            }
        }
    }
}

fn read(settings: &TlsConfig) -> Result<Contents, Error> {
    let file = |key: &str, path: &Path| {
        bytes(path).map_err(|error| {
            let message = format!("{key}: cannot read {}: {error}", path.display());
            Error::new(Reason::GatewayConfig, message)
        })
    };
    let client_ca = settings.client_ca.as_deref();
    Ok(Contents {
        certificate: file("server.tls.certificate", &settings.certificate)?,
        key: file("server.tls.key", &settings.key)?,
        client_ca: match client_ca {
            Some(path) => Some(file("server.tls.client_ca", path)?),
            None => None,
        },
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular_file::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

fn acceptor(settings: &TlsConfig, contents: &Contents) -> Result<TlsAcceptor, Error> {
    let wrong = |key: &str, path: &Path, problem: &str| {
        let message = format!("{key}: {} {problem}", path.display());
        Error::new(Reason::GatewayConfig, message)
    };
    let chain = certificates(&contents.certificate).ok_or_else(|| {
        wrong(
            "server.tls.certificate",
            &settings.certificate,
            "has no PEM certificate",
        )
    })?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key)
        .map_err(|_| wrong("server.tls.key", &settings.key, "has no PEM private key"))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let broken = |error: rustls::Error| {
        Error::new(Reason::GatewayConfig, "TLS cannot be set up").with_source(error)
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(broken)?;
    let builder = match (&contents.client_ca, &settings.client_ca) {
        (Some(pem), Some(path)) => {
            let wrong = |problem| wrong("server.tls.client_ca", path, problem);
            let mut roots = RootCertStore::empty();
            let listed = certificates(pem).ok_or_else(|| wrong("has no PEM certificate"))?;
            for authority in listed {
                roots
                    .add(authority)
                    .map_err(|_| wrong("has a certificate that is not a CA certificate"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match settings.client_optional {
                true => verifier.allow_unauthenticated(),
                false => verifier,
            };
            let verifier = verifier.build().map_err(|_| wrong("cannot be used"))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let problem = "and the certificate do not match, or are of an unsupported type";
        wrong("server.tls.key", &settings.key, problem).with_source(error)
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The certificates in a PEM text; `None` if it has none, or an invalid one.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|certificates| !certificates.is_empty())
}
