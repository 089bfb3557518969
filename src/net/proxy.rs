//! Which connections use a proxy, by the rules of the usual environment variables.
//!
//! The matcher of `hyper-util` does not support ports, does not apply `*` to IP addresses, and
//! ignores a proxy that it cannot parse; so the rules are implemented here, and given to `reqwest`
//! as well.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use url::{Host, Url};

use crate::secret::Secret;

use super::host::is_loopback;

/// What is wrong with the URL of a proxy, and how to fix it. Never quotes the URL.
pub type InvalidProxy = (&'static str, &'static str);

/// The hint in errors about proxy URLs.
const EXAMPLE: &str = "write it as in http://proxy.example:3128";

/// SOCKS 5 with host names.
const SOCKS: &str = "socks5h";

/// The default port of a SOCKS proxy.
const SOCKS_PORT: u16 = 1080;

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The URL without user and password.
    url: Url,
    credentials: Option<(String, Secret)>,
}

/// Which connections use which proxy. By default none does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxy for `http` hosts.
    pub http: Option<Proxy>,
    /// The proxy for `https` hosts.
    pub https: Option<Proxy>,
    /// Hosts that are connected to directly.
    pub bypass: Bypass,
    /// Whether hosts on loopback are connected to through the proxy.
    pub loopback: bool,
}

/// Hosts that are connected to without a proxy, as in `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A name and its subdomains.
    Domain(String),
    /// An address and the length of its prefix.
    Network(IpAddr, u8),
}

impl Proxy {
    /// Parses the URL of a proxy. Without a scheme it is `http`.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        // Host names are resolved by the SOCKS proxy (`socks5h`): behind one, the machine often
        // cannot. The library that receives the URL distinguishes only by that scheme.
        let whole = match whole.strip_prefix("socks5://") {
            Some(rest) => format!("{SOCKS}://{rest}"),
            None => whole,
        };
        let mut url = Url::parse(&whole).map_err(|_| ("it is not a URL", EXAMPLE))?;
        match url.scheme() {
            "http" | "https" => {}
            SOCKS if url.port().is_some() => {}
            SOCKS => {
                // Fails only for URLs without a host, which the next line rejects.
                let _ = url.set_port(Some(SOCKS_PORT));
            }
            _ => return Err(("its scheme is not http, https or socks5", EXAMPLE)),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(("it names no host", EXAMPLE));
        }
        if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
            return Err(("it has more than a host and a port", EXAMPLE));
        }
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        let credentials =
            (!user.is_empty() || !password.is_empty()).then(|| (user, Secret::new(password)));
        // Both fail only for URLs without a host, which these schemes require.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, credentials })
    }

    /// The URL, without user and password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is a SOCKS proxy and not an HTTP proxy.
    pub fn is_socks(&self) -> bool {
        self.url.scheme() == SOCKS
    }

    /// Whether connections to it use TLS.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it forwards requests for this URL, instead of opening a tunnel to its host.
    pub fn forwards(&self, url: &Url) -> bool {
        url.scheme() == "http" && !self.is_socks()
    }

    /// User and password, if configured.
    pub fn credentials(&self) -> Option<(&str, &Secret)> {
        let (user, password) = self.credentials.as_ref()?;
        Some((user, password))
    }

    /// The value of `Proxy-Authorization`, if credentials are configured.
    pub fn authorization(&self) -> Option<Secret> {
        let (user, password) = self.credentials.as_ref()?;
        let pair = format!("{user}:{}", password.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        Some(Secret::new(format!("Basic {encoded}")))
    }

    /// The URL with user and password, for libraries that expect them there.
    pub(super) fn with_credentials(&self) -> Url {
        let mut url = self.url.clone();
        if let Some((user, password)) = &self.credentials {
            // They are percent-encoded by the setters, which fail only for URLs without a host.
            let _ = url.set_username(user);
            let _ = url.set_password(Some(password.expose()));
        }
        url
    }
}

/// Host and port, for errors and logs.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        let port = self.url.port_or_known_default().unwrap_or_default();
        write!(f, "{}://{host}:{port}", self.url.scheme())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.to_string()).finish()
    }
}

impl Proxies {
    /// The proxy of this URL, if it uses one.
    pub fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            _ => self.http.as_ref(),
        }?;
        let direct = !self.loopback && is_loopback(url) || self.bypass.contains(url);
        (!direct).then_some(proxy)
    }

    /// The same configuration without a proxy for hosts on loopback.
    pub(super) fn without_loopback(&self) -> Self {
        Self {
            loopback: false,
            ..self.clone()
        }
    }
}

impl Bypass {
    /// Adds an entry of `NO_PROXY`: `*`, a name with its subdomains (optionally prefixed with a dot
    /// or `*.`), an IP address, or a network as in `10.0.0.0/8`; all but the last optionally with a
    /// port. Returns `false` for any other entry, which is ignored.
    pub fn add(&mut self, entry: &str) -> bool {
        let rule = rule(entry.trim());
        let read = rule.is_some();
        self.0.extend(rule);
        read
    }

    /// Parses a list separated by commas or spaces. Invalid entries are ignored, as in other
    /// programs that read the variable.
    pub fn parse(text: &str) -> Self {
        let mut bypass = Self::default();
        let separates = |letter: char| letter == ',' || letter.is_ascii_whitespace();
        for entry in text.split(separates).filter(|entry| !entry.is_empty()) {
            bypass.add(entry);
        }
        bypass
    }

    fn contains(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        let Some(host) = url.host() else {
            return false;
        };
        self.0.iter().any(|rule| {
            let fits = match (&rule.hosts, &host) {
                (Hosts::All, _) => true,
                (Hosts::Domain(suffix), Host::Domain(name)) => is_below(name, suffix),
                (Hosts::Network(network, bits), Host::Ipv4(address)) => {
                    is_inside((*address).into(), *network, *bits)
                }
                (Hosts::Network(network, bits), Host::Ipv6(address)) => {
                    is_inside(address.to_canonical(), *network, *bits)
                }
                (Hosts::Domain(_), _) | (Hosts::Network(..), Host::Domain(_)) => false,
            };
            fits && rule.port.is_none_or(|only| port == Some(only))
        })
    }
}

fn rule(entry: &str) -> Option<Rule> {
    if let Some((address, bits)) = entry.split_once('/') {
        let address: IpAddr = bare(address).parse().ok()?;
        let bits = bits.parse().ok()?;
        let fits = bits <= if address.is_ipv4() { 32 } else { 128 };
        let hosts = Hosts::Network(address, bits);
        return fits.then_some(Rule { hosts, port: None });
    }
    if let Ok(address) = bare(entry).parse() {
        return Some(Rule {
            hosts: one(address),
            port: None,
        });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let hosts = match bare(host).parse() {
        Ok(address) => one(address),
        Err(_) if host == "*" => Hosts::All,
        Err(_) => {
            let name = host.strip_prefix('*').unwrap_or(host);
            let name = name.trim_matches('.').to_ascii_lowercase();
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            // An internationalized name is compared in its ASCII form.
            let name = match name.bytes().all(letter) {
                true => name,
                false => match Host::parse(&name).ok()? {
                    Host::Domain(name) => name,
                    Host::Ipv4(_) | Host::Ipv6(_) => return None,
                },
            };
            (!name.is_empty()).then_some(Hosts::Domain(name))?
        }
    };
    Some(Rule { hosts, port })
}

fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or(host)
}

fn one(address: IpAddr) -> Hosts {
    let address = address.to_canonical();
    Hosts::Network(address, if address.is_ipv4() { 32 } else { 128 })
}

fn is_below(name: &str, suffix: &str) -> bool {
    let name = name.trim_end_matches('.');
    let rest = name.strip_suffix(suffix);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_inside(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let rest = width - u32::from(bits);
    let differ: u128 = one ^ other;
    differ.checked_shr(rest).unwrap_or(0) == 0
}

/// Percent-decoded text. Invalid encodings are kept as they are.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let byte = after
            .get(1..3)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let length = match byte {
            Some(byte) => {
                bytes.push(byte);
                3
            }
            None => {
                bytes.push(b'%');
                1
            }
        };
        rest = after.get(length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn common_spellings_of_a_proxy_are_parsed() {
        for (text, expected, authorization) in [
            ("http://p.example:3128", "http://p.example:3128", None),
            ("p.example:3128", "http://p.example:3128", None),
            ("10.0.0.1:8080/", "http://10.0.0.1:8080", None),
            ("http://p.example", "http://p.example:80", None),
            ("https://p.example", "https://p.example:443", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            (
                "http://Aladdin:open%20sesame@p.example:1",
                "http://p.example:1",
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            (
                "u:p%40%3a@p.example:1",
                "http://p.example:1",
                Some("Basic dTpwQDo="),
            ),
            (
                "http://u@p.example:1",
                "http://p.example:1",
                Some("Basic dTo="),
            ),
            ("socks5://p.example", "socks5h://p.example:1080", None),
            (
                "socks5h://u:p@[::1]:9",
                "socks5h://[::1]:9",
                Some("Basic dTpw"),
            ),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), expected, "{text}");
            let given = proxy.authorization();
            assert_eq!(given.as_ref().map(Secret::expose), authorization, "{text}");
        }
        for text in [
            "",
            "socks4://p.example:1080",
            "socks5://:1080",
            "ftp://p.example",
            "http://",
            "http://p.example:99999",
            "http://p.example/path",
            "http://p.example/?q",
        ] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let proxy = Proxy::parse("http://user:canary@p.example:1").unwrap();
        let shown = format!("{proxy} {proxy:?} {}", proxy.url());
        assert!(!shown.contains("canary"), "{shown}");
        let given = proxy.with_credentials();
        assert_eq!(given.as_str(), "http://user:canary@p.example:1/");
        let socks = Proxy::parse("socks5://user:p%40@p.example").unwrap();
        let given = socks.with_credentials();
        assert_eq!(given.as_str(), "socks5h://user:p%40@p.example:1080");
        let odd = Proxy::parse("http://u%3a:p%40%2f@p.example:1").unwrap();
        let given = odd.with_credentials();
        assert_eq!(decoded(given.password().unwrap()), "p@/");
        assert_eq!(decoded(given.username()), "u:");
    }

    #[test]
    fn no_proxy_takes_names_suffixes_addresses_networks_and_ports() {
        for (list, target, bypassed) in [
            ("*", "https://a.example/", true),
            ("*", "https://10.1.2.3/", true),
            ("*", "https://[2001:db8::1]/", true),
            ("a.example", "https://a.example/", true),
            ("a.example", "https://A.Example./", true),
            ("a.example", "https://b.a.example/", true),
            ("a.example", "https://ba.example/", false),
            (".a.example", "https://a.example/", true),
            (".a.example", "https://b.a.example/", true),
            ("*.a.example", "https://b.a.example/", true),
            ("A.EXAMPLE", "https://b.a.example/", true),
            ("a.example:443", "https://a.example/", true),
            ("a.example:8443", "https://a.example/", false),
            ("a.example:8443", "https://a.example:8443/", true),
            ("b.example, a.example", "https://a.example/", true),
            ("b.example a.example", "https://a.example/", true),
            ("10.0.0.1", "https://10.0.0.1/", true),
            ("10.0.0.1", "https://10.0.0.10/", false),
            ("10.0.0.1:443", "https://10.0.0.1/", true),
            ("10.0.0.1:80", "https://10.0.0.1/", false),
            ("10.0.0.0/8", "https://10.9.9.9/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("0.0.0.0/0", "https://11.0.0.1/", true),
            ("10.0.0.1/33", "https://10.0.0.1/", false),
            ("10.0.0.0/8", "https://[::ffff:10.1.1.1]/", true),
            ("fd00::/8", "https://[fd00::7]/", true),
            ("fd00::/8", "https://[fe80::7]/", false),
            ("::1", "https://[::1]/", true),
            ("[::1]:443", "https://[::1]/", true),
            ("[::1]:80", "https://[::1]/", false),
            ("::/0", "https://[2001:db8::1]/", true),
            ("", "https://a.example/", false),
            ("ünicode.example", "https://xn--nicode-2ya.example/", true),
            ("a b/c,a.example", "https://a.example/", true),
        ] {
            let contains = Bypass::parse(list).contains(&url(target));
            assert_eq!(contains, bypassed, "{list:?} {target}");
        }
    }

    #[test]
    fn loopback_bypasses_the_proxy_by_default() {
        let proxy = Proxy::parse("http://p.example:1").ok();
        let mut proxies = Proxies {
            http: proxy.clone(),
            https: proxy,
            ..Proxies::default()
        };
        for target in ["http://127.0.0.1/", "https://[::1]/", "http://localhost:1/"] {
            assert_eq!(proxies.of(&url(target)), None, "{target}");
        }
        assert!(proxies.of(&url("https://a.example/")).is_some());
        proxies.loopback = true;
        assert!(proxies.of(&url("http://127.0.0.1/")).is_some());
        let beside = proxies.without_loopback();
        assert_eq!(beside.of(&url("http://127.0.0.1/")), None);
        proxies.https = None;
        assert_eq!(proxies.of(&url("https://a.example/")), None);
    }
}
