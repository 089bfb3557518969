//! Settings of the server: addresses, TLS, limits.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::setting_reader::SettingReader;
use super::value::{self, ValueError};

/// Settings of the server.
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

/// TLS settings of the server. The files are not read here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "every field is a key of the table")]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    /// Whether a connection without a client certificate is accepted.
    pub client_optional: bool,
    pub handshake_timeout: Duration,
    pub reload_interval: Duration,
}

/// Reads the section of the server.
pub(crate) fn server(reader: &mut SettingReader<'_>) -> Server {
    let listen = reader.read("server.listen", |text| value::address(text).map(Some));
    let local = listen.as_ref().is_none_or(Address::is_loopback);
    let delayed = reader.raw.configured("server.drain_delay").is_some();
    let drain_delay = reader.duration("server.drain_delay");
    Server {
        // An invalid address has been recorded as an error, so nothing will listen on it.
        listen: listen.unwrap_or_else(|| Address::Unix(PathBuf::new())),
        tls: tls(reader),
        allowed_origins: reader.read("server.allowed_origins", origins),
        max_request_bytes: reader.size("server.max_request_bytes"),
        max_chunk_bytes: reader.size("server.max_chunk_bytes"),
        max_metadata_bytes: reader.size("server.max_metadata_bytes"),
        threads: reader.count("server.threads"),
        max_in_flight: reader.count("server.max_in_flight"),
        caller_share_percent: reader.count("server.caller_share_percent"),
        max_partial_requests: reader.count("server.max_partial_requests"),
        max_connections: reader.count("server.max_connections"),
        max_connections_per_address: reader.count("server.max_connections_per_address"),
        max_streams_per_connection: reader.count("server.max_streams_per_connection"),
        max_connection_age: reader.duration("server.max_connection_age"),
        max_connection_age_grace: reader.duration("server.max_connection_age_grace"),
        max_connection_idle: reader.duration("server.max_connection_idle"),
        min_ping_interval: reader.duration("server.min_ping_interval"),
        handshake_timeout: reader.duration("server.handshake_timeout"),
        header_timeout: reader.duration("server.header_timeout"),
        request_body_timeout: reader.duration("server.request_body_timeout"),
        drain_delay: match delayed || !local {
            true => drain_delay,
            false => Duration::ZERO,
        },
        drain_timeout: reader.duration("server.drain_timeout"),
        heartbeat_after: reader.duration("server.heartbeat_after"),
        core_dumps: reader.read("server.core_dumps", value::switch),
    }
}

fn tls(reader: &mut SettingReader<'_>) -> Option<Tls> {
    let certificate = reader.path("server.tls.certificate");
    let key = reader.path("server.tls.key");
    let client_ca = reader.path("server.tls.client_ca");
    let said = reader
        .raw
        .configured("server.tls.client_certificate")
        .is_some();
    let client_optional = reader.read("server.tls.client_certificate", |text| match text {
        "" | "required" => Ok(false),
        "optional" => Ok(true),
        _ => Err(ValueError::new(
            "it is neither",
            "write required or optional",
        )),
    });
    let handshake_timeout = reader.duration("server.tls.handshake_timeout");
    let reload_interval = reader.duration("server.tls.reload_interval");
    // "required" without an authority must not silently be less.
    if said && client_ca.is_none() {
        let problem = "client certificates cannot be verified";
        reader.conflict(
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
            reader.conflict("server.tls.certificate", problem, "set server.tls.key too");
            None
        }
        (None, Some(_)) => {
            let problem = "a key needs its certificate";
            reader.conflict("server.tls.key", problem, "set server.tls.certificate too");
            None
        }
        (None, None) => {
            if client_ca.is_some() {
                let fix = "set server.tls.certificate and server.tls.key too";
                let problem = "client certificates require TLS";
                reader.conflict("server.tls.client_ca", problem, fix);
            }
            None
        }
    }
}

/// `https://app.example.com,http://localhost:5173`, or `*`.
fn origins(text: &str) -> Result<Vec<String>, ValueError> {
    let fix = "write https://host or http://host:port, separated by commas, or * alone";
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
            return Err(ValueError::new(format!("{origin:?} is not an origin"), fix));
        }
    }
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(ValueError::new("* is every origin already", fix));
    }
    Ok(origins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::fake::FakeEnvironment;
    use crate::config::layers::Flags;
    use crate::config::load;

    fn read(pairs: &[(&str, &str)]) -> Result<Server, String> {
        let flags = pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        });
        let loaded = load(&flags, &FakeEnvironment::default());
        loaded
            .map(|all| all.server)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn tls_needs_certificate_and_key() {
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
    fn origins_have_the_form_that_browsers_send() {
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
