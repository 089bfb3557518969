//! Validation of the `Host` header of the admin port.
//!
//! A web page can resolve a name of its own to an address of this machine, and then send requests
//! to this port as if it were its own server (DNS rebinding). The browser sends that name in
//! `Host`.

use std::net::IpAddr;

use http::Request;
use http::header::HOST;

/// Allows every name.
const ANY: &str = "*";

/// Whether the host of a request is an IP address, a loopback name, or one of these names. A
/// request without a host is allowed: browsers always send one.
pub(super) fn is_allowed<B>(request: &Request<B>, names: &[String]) -> bool {
    let of_uri = request.uri().host().map(str::as_bytes);
    let of_headers = request.headers().get_all(HOST).into_iter();
    let mut hosts = of_headers.map(http::HeaderValue::as_bytes).chain(of_uri);
    hosts.all(|host| std::str::from_utf8(host).is_ok_and(|host| is_known(host, names)))
}

fn is_known(host: &str, names: &[String]) -> bool {
    let host = without_port(host);
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if bare.unwrap_or(host).parse::<IpAddr>().is_ok() {
        return true;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let listed = |name: &String| name == ANY || name.eq_ignore_ascii_case(&host);
    host == "localhost" || host.ends_with(".localhost") || names.iter().any(listed)
}

/// The host without its port. An IPv6 address before a port is in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            match name.contains(':') && !name.ends_with(']') {
                true => host,
                false => name,
            }
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_loopback_are_allowed_and_other_names_if_listed() {
        let names = ["gateway.internal".to_owned()];
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9464", true),
            ("10.1.2.3:9464", true),
            ("[::1]:9464", true),
            ("[::1]", true),
            ("::1", true),
            ("localhost", true),
            ("LOCALHOST:9464", true),
            ("localhost.:9464", true),
            ("a.localhost", true),
            ("gateway.internal:9464", true),
            ("Gateway.Internal", true),
            ("evil.example", false),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("evil-localhost", false),
            ("127.0.0.1.evil.example", false),
            ("127.0.0.1@evil.example", false),
            ("x.gateway.internal", false),
            ("", false),
            ("admin", false),
        ] {
            let request = Request::get("/").header(HOST, host).body(()).unwrap();
            assert_eq!(is_allowed(&request, &names), expected, "{host:?}");
            let any = [ANY.to_owned()];
            assert!(is_allowed(&request, &any), "{host:?}");
        }
        assert!(is_allowed(&Request::get("/").body(()).unwrap(), &names));
        let absolute = Request::get("http://evil.example/metrics")
            .header(HOST, "127.0.0.1")
            .body(())
            .unwrap();
        assert!(!is_allowed(&absolute, &names));
    }
}
