//! The settings of the front door: where it listens, whom it lets in, what it bears.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::setting_reader::Checker;
use super::value::{self, Wrong};

/// The front door.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Server {
    pub listen: Address,
    pub tls: Option<Tls>,
    pub allowed_origins: Vec<String>,
    pub max_request_bytes: usize,
    pub max_chunk_bytes: usize,
    pub max_metadata_bytes: usize,
    pub threads: usize,
    pub max_in_flight: usize,
    pub caller_share_percent: u32,
    pub max_partial_requests: usize,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    pub max_streams_per_connection: u32,
    pub max_connection_age: Duration,
    pub max_connection_age_grace: Duration,
    pub max_connection_idle: Duration,
    pub min_ping_interval: Duration,
    pub handshake_timeout: Duration,
    pub header_timeout: Duration,
    pub request_body_timeout: Duration,
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
    pub heartbeat_after: Duration,
    pub core_dumps: bool,
}

/// TLS at the front door. The files are not read here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    /// Whether a caller without a certificate is let in all the same.
    pub client_optional: bool,
    pub handshake_timeout: Duration,
    pub reload_interval: Duration,
}

/// Reads the section of the server.
pub(crate) fn server(checker: &mut Checker<'_>) -> Server {
    let listen = checker.read("server.listen", |text| value::address(text).map(Some));
    let local = listen.as_ref().is_none_or(Address::is_loopback);
    let delayed = checker.raw.typed("server.drain_delay").is_some();
    let drain_delay = checker.duration("server.drain_delay");
    Server {
        // One that is wrong is a fault by now, and nothing listens there.
        listen: listen.unwrap_or_else(|| Address::Unix(PathBuf::new())),
        tls: tls(checker),
        allowed_origins: checker.read("server.allowed_origins", origins),
        max_request_bytes: checker.size("server.max_request_bytes"),
        max_chunk_bytes: checker.size("server.max_chunk_bytes"),
        max_metadata_bytes: checker.size("server.max_metadata_bytes"),
        threads: checker.count("server.threads"),
        max_in_flight: checker.count("server.max_in_flight"),
        caller_share_percent: checker.count("server.caller_share_percent"),
        max_partial_requests: checker.count("server.max_partial_requests"),
        max_connections: checker.count("server.max_connections"),
        max_connections_per_address: checker.count("server.max_connections_per_address"),
        max_streams_per_connection: checker.count("server.max_streams_per_connection"),
        max_connection_age: checker.duration("server.max_connection_age"),
        max_connection_age_grace: checker.duration("server.max_connection_age_grace"),
        max_connection_idle: checker.duration("server.max_connection_idle"),
        min_ping_interval: checker.duration("server.min_ping_interval"),
        handshake_timeout: checker.duration("server.handshake_timeout"),
        header_timeout: checker.duration("server.header_timeout"),
        request_body_timeout: checker.duration("server.request_body_timeout"),
        drain_delay: match delayed || !local {
            true => drain_delay,
            false => Duration::ZERO,
        },
        drain_timeout: checker.duration("server.drain_timeout"),
        heartbeat_after: checker.duration("server.heartbeat_after"),
        core_dumps: checker.read("server.core_dumps", value::switch),
    }
}

fn tls(checker: &mut Checker<'_>) -> Option<Tls> {
    let certificate = checker.path("server.tls.certificate");
    let key = checker.path("server.tls.key");
    let client_ca = checker.path("server.tls.client_ca");
    let said = checker.raw.typed("server.tls.client_certificate").is_some();
    let client_optional = checker.read("server.tls.client_certificate", |text| match text {
        "" | "required" => Ok(false),
        "optional" => Ok(true),
        _ => Err(Wrong::new("it is neither", "write required or optional")),
    });
    let handshake_timeout = checker.duration("server.tls.handshake_timeout");
    let reload_interval = checker.duration("server.tls.reload_interval");
    // Whoever writes "required" must not get less.
    if said && client_ca.is_none() {
        let problem = "client certificates cannot be verified";
        checker.clash(
            "server.tls.client_certificate",
            problem,
            "set server.tls.client_ca",
        );
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls {
            certificate,
            key,
            client_ca,
            client_optional,
            handshake_timeout,
            reload_interval,
        }),
        (Some(_), None) => {
            let problem = "a certificate needs its key";
            checker.clash("server.tls.certificate", problem, "set server.tls.key too");
            None
        }
        (None, Some(_)) => {
            let problem = "a key needs its certificate";
            checker.clash("server.tls.key", problem, "set server.tls.certificate too");
            None
        }
        (None, None) => {
            if client_ca.is_some() {
                let mend = "set server.tls.certificate and server.tls.key too";
                let problem = "client certificates require TLS";
                checker.clash("server.tls.client_ca", problem, mend);
            }
            None
        }
    }
}

/// `https://app.example.com,http://localhost:5173`, or `*`.
fn origins(text: &str) -> Result<Vec<String>, Wrong> {
    let mend = "write https://host or http://host:port, separated by commas, or * alone";
    let origins = value::names(text)?;
    for origin in &origins {
        let host = origin.split_once("://").map_or("", |(scheme, host)| {
            match ["http", "https"].contains(&scheme) {
                true => host,
                false => "",
            }
        });
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/*?#@".contains(&byte);
        let written = host.bytes().all(plain) && host == host.to_ascii_lowercase();
        if origin != "*" && (host.is_empty() || !written) {
            return Err(Wrong::new(format!("{origin:?} is not an origin"), mend));
        }
    }
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(Wrong::new("* is every origin already", mend));
    }
    Ok(origins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::fake::Fake;
    use crate::config::layers::Flags;
    use crate::config::load;

    fn read(pairs: &[(&str, &str)]) -> Result<Server, String> {
        let flags = pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        });
        let loaded = load(&flags, &Fake::default());
        loaded
            .map(|all| all.server)
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn tls_is_whole_or_not_there() {
        let pair = [
            ("server.tls.certificate", "c.pem"),
            ("server.tls.key", "k.pem"),
        ];
        let ca = ("server.tls.client_ca", "a.pem");
        let may = ("server.tls.client_certificate", "optional");
        let must = ("server.tls.client_certificate", "required");
        assert_eq!(read(&[]).unwrap().tls, None);
        let tls = read(&pair).unwrap().tls.unwrap();
        assert_eq!((tls.client_ca, tls.client_optional), (None, false));
        let tls = read(&[pair[0], pair[1], ca]).unwrap().tls.unwrap();
        assert!(tls.client_ca.is_some() && !tls.client_optional);
        let tls = read(&[pair[0], pair[1], ca, may]).unwrap().tls.unwrap();
        assert!(tls.client_optional);
        for (pairs, expected) in [
            (&pair[..1], "set server.tls.key too"),
            (&pair[1..], "set server.tls.certificate too"),
            (&[ca], "require TLS"),
            (&[pair[0], pair[1], must], "set server.tls.client_ca"),
            (&[may], "set server.tls.client_ca"),
        ] {
            let told = read(pairs).unwrap_err();
            assert!(told.contains(expected), "{expected} in {told}");
        }
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for (text, expected) in [
            ("", Some(0)),
            ("*", Some(1)),
            ("https://a.example,http://localhost:5173", Some(2)),
            ("https://a.example/", None),
            ("https://A.example", None),
            ("a.example", None),
            ("ftp://a.example", None),
            ("https://", None),
            ("https://*.example", None),
            ("*,https://a.example", None),
        ] {
            let read = origins(text).ok().map(|origins| origins.len());
            assert_eq!(read, expected, "{text}");
        }
    }
}
