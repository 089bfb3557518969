//! The target of a client: the forms that are accepted, and the address that they stand for.

use crate::error::Error;

/// The target if neither the program nor `DASHGATE_ADDR` sets one.
pub(crate) const DEFAULT_TARGET: &str = "127.0.0.1:50051";

/// The port of a host without one.
const DEFAULT_PORT: u16 = 50051;
/// The port of an `https://` host without one.
const HTTPS_PORT: u16 = 443;

/// The forms of a target.
const FORMS: &str = "host:port, http://host:port, https://host:port, dns:///host:port, unix:/path";

/// The address of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `http://host:port`, `https://host:port` or `unix:/path`.
    pub(crate) uri: String,
    /// Whether it is `https://`.
    pub(crate) is_https: bool,
    /// Whether the scheme is the target's own, and not the default.
    pub(crate) has_scheme: bool,
}

impl Address {
    /// Whether it is the path of a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        self.uri.starts_with("unix:")
    }

    /// The path of a Unix socket.
    pub(crate) fn socket(&self) -> Option<String> {
        let path = self.uri.strip_prefix("unix:")?;
        Some(path.strip_prefix("//").unwrap_or(path).to_owned())
    }

    /// The address over TLS, for a target that names no scheme.
    pub(crate) fn over_tls(mut self) -> Self {
        if let Some(rest) = self.uri.strip_prefix("http://") {
            self.uri = format!("https://{rest}");
        }
        self
    }
}

/// Parses a target.
pub(crate) fn parse(target: &str) -> Result<Address, Error> {
    address(target).ok_or_else(|| invalid(target))
}

/// The error of a target that is not accepted.
pub(crate) fn invalid(target: &str) -> Error {
    if target.contains('@') && !target.starts_with("unix:") {
        return Error::of_argument("the target has a name or a password: use api_key");
    }
    Error::of_argument(format!("{target:?} is no target; one is {FORMS}"))
}

fn address(target: &str) -> Option<Address> {
    if let Some(path) = target.strip_prefix("unix:") {
        // What follows two slashes is an authority, which there is none of.
        let authority = path.strip_prefix("//");
        let is_empty = path.trim_start_matches('/').is_empty();
        if is_empty || authority.is_some_and(|rest| !rest.starts_with('/')) {
            return None;
        }
        return Some(Address {
            uri: target.to_owned(),
            is_https: false,
            has_scheme: true,
        });
    }
    // gRPC's own syntax, for a name or one address.
    for prefix in ["dns:///", "dns:", "ipv4:", "ipv6:"] {
        if let Some(rest) = target.strip_prefix(prefix) {
            return plaintext(rest);
        }
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return plaintext(target);
    };
    let is_https = scheme.eq_ignore_ascii_case("https");
    if !is_https && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (scheme, port) = match is_https {
        true => ("https", HTTPS_PORT),
        false => ("http", DEFAULT_PORT),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    Some(Address {
        uri: format!("{scheme}://{}", with_port(host, port)?),
        is_https,
        has_scheme: true,
    })
}

fn plaintext(host: &str) -> Option<Address> {
    Some(Address {
        uri: format!("http://{}", with_port(host, DEFAULT_PORT)?),
        is_https: false,
        has_scheme: false,
    })
}

/// The host with its port, or with this one. `None` if it is neither.
fn with_port(host: &str, default: u16) -> Option<String> {
    let is_special = |letter: char| letter.is_whitespace() || ",/@?#".contains(letter);
    if host.is_empty() || host.contains(is_special) {
        return None;
    }
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(format!("[{host}]:{default}"));
    }
    let after_brackets = host.rfind(']').map_or(0, |end| end + 1);
    match host.get(after_brackets..)?.split_once(':') {
        None => Some(format!("{host}:{default}")),
        Some((_, port)) => {
            port.parse::<u16>().ok()?;
            Some(host.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_or_refused() {
        for (target, expected) in [
            ("h:1", Some("http://h:1")),
            ("h", Some("http://h:50051")),
            ("localhost", Some("http://localhost:50051")),
            ("http://h", Some("http://h:50051")),
            ("http://h:1/", Some("http://h:1")),
            ("https://h", Some("https://h:443")),
            ("HTTPS://h:1", Some("https://h:1")),
            ("unix:/run/s", Some("unix:/run/s")),
            ("dns:///h:1", Some("http://h:1")),
            ("dns:///h", Some("http://h:50051")),
            ("dns:h:1", Some("http://h:1")),
            ("ipv4:10.0.0.1:1", Some("http://10.0.0.1:1")),
            ("ipv4:10.0.0.1", Some("http://10.0.0.1:50051")),
            ("ipv6:[::1]:1", Some("http://[::1]:1")),
            ("ipv6:[::1]", Some("http://[::1]:50051")),
            ("ipv6:::1", Some("http://[::1]:50051")),
            ("[::1]", Some("http://[::1]:50051")),
            ("", None),
            ("h:", None),
            ("h:99999", None),
            ("h:http", None),
            ("unix:", None),
            ("unix:///", None),
            ("unix://h", None),
            ("unix:///run/s", Some("unix:///run/s")),
            ("a b", None),
            ("http://h/path", None),
            ("dns:///", None),
            ("dns://server/h:1", None),
            ("ipv4:10.0.0.1:1,10.0.0.2:1", None),
            ("xds:///h:1", None),
            ("ftp://h:1", None),
        ] {
            let uri = address(target).map(|address| address.uri);
            assert_eq!(uri.as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn an_error_has_no_password_of_a_target() {
        for target in ["me:secret@h:1", "http://secret@h", "dns:///me:secret@h"] {
            let error = parse(target).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn tls_replaces_only_the_default_scheme() {
        let over_tls = |target| parse(target).unwrap().over_tls().uri;
        assert_eq!(over_tls("h"), "https://h:50051");
        assert_eq!(over_tls("https://h"), "https://h:443");
        assert_eq!(over_tls("unix:/run/s"), "unix:/run/s");
    }
}
