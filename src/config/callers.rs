//! Who may call: the settings that decide it, and what may not be left open by accident.

use std::path::PathBuf;

use url::{Host, Url};

use super::environment::Surroundings;
use super::error::Faults;
use super::layers::{Flags, Raw};
use super::server::{Server, Tls};
use super::setting_reader::Checker;
use super::settings::{CallerLimits, Callers, Tokens};
use super::value::{self, Wrong};

/// Reads the path of the file of keys only, so that keys can be made before all else is right.
pub fn load_keys_file(flags: &Flags, around: &dyn Surroundings) -> Result<Option<PathBuf>, Faults> {
    let mut raw = Raw::gather(flags, around);
    raw.faults
        .retain(|fault| fault.key == "config" || fault.key == "callers.keys_file");
    let mut checker = Checker::new(&raw);
    let path = keys_file(&mut checker);
    checker.finish(path)
}

/// Reads the section, for a gateway that listens here.
pub(crate) fn callers(checker: &mut Checker<'_>, server: &Server) -> Callers {
    let callers = Callers {
        keys_file: keys_file(checker),
        pass_through: checker.read("callers.pass_through", value::switch),
        tokens: tokens(checker),
        certificate_uris: checker.read("callers.certificate_uris", value::names),
        max_tracked: checker.count("callers.max_tracked"),
        allow_anyone: checker.read("callers.allow_anyone", value::switch),
        open_reflection: checker.read("callers.open_reflection", value::switch),
        limits: CallerLimits {
            models: checker.read("caller_limits.models", value::names),
            requests_per_minute: checker.count("caller_limits.requests_per_minute"),
            tokens_per_minute: checker.count("caller_limits.tokens_per_minute"),
            max_streams: checker.count("caller_limits.max_streams"),
            tokens_per_day: checker.count("caller_limits.tokens_per_day"),
        },
    };
    if callers.are_asked() && callers.allow_anyone {
        checker.clash(
            "callers.allow_anyone",
            "it contradicts the other settings of callers",
            "remove it, or the other settings of callers",
        );
    }
    let authority = |tls: &Tls| tls.client_ca.is_some();
    if !callers.certificate_uris.is_empty() && !server.tls.as_ref().is_some_and(authority) {
        checker.clash(
            "callers.certificate_uris",
            "no client certificate is requested",
            "set server.tls.client_ca",
        );
    }
    // Without a certificate of the operator's own authority there is no connection.
    let must_show = |tls: &Tls| authority(tls) && !tls.client_optional;
    let is_asked = callers.are_asked() || server.tls.as_ref().is_some_and(must_show);
    if !server.listen.is_loopback() && !is_asked && !callers.allow_anyone {
        checker.clash(
            "server.listen",
            "this address is not loopback, and no credentials are required: anyone could call and \
             spend the DashScope key",
            "set callers.keys_file (`dashgate keys new` creates one), require certificates with \
             server.tls.client_ca, listen on 127.0.0.1, or pass --allow-anyone",
        );
    }
    callers
}

/// Tokens are accepted when their keys are named; then who makes them, and for whom, must be too.
fn tokens(checker: &mut Checker<'_>) -> Option<Tokens> {
    let jwks = checker.read("callers.jwks", jwks);
    let issuer = checker.read("callers.jwt_issuer", value::text);
    let audience = checker.read("callers.jwt_audience", value::names);
    let tokens = Tokens {
        jwks: jwks.clone().unwrap_or_default(),
        issuer: issuer.clone().unwrap_or_default(),
        audience,
        algorithms: checker.read("callers.jwt_algorithms", algorithms),
        clock_skew: checker.duration("callers.jwt_clock_skew"),
        name_claim: checker
            .read("callers.jwt_name_claim", value::text)
            .unwrap_or_default(),
        limits_claim: checker.read("callers.jwt_limits_claim", value::text),
    };
    for (key, there) in [
        ("callers.jwt_issuer", issuer.is_some()),
        ("callers.jwt_audience", !tokens.audience.is_empty()),
    ] {
        if jwks.is_some() && !there {
            let mend = "set the issuer and the audience of accepted tokens";
            checker.clash(key, "callers.jwks needs it, and it is not set", mend);
        } else if jwks.is_none() && there {
            checker.clash(key, "callers.jwks is not set", "set it, or remove this");
        }
    }
    jwks.is_some().then_some(tokens)
}

/// A path or an address. Whoever could change the keys on the way could be anybody.
fn jwks(text: &str) -> Result<Option<String>, Wrong> {
    if text.contains("://") {
        let mend = "write the path of a file, or an address that begins with https://";
        let url = Url::parse(text).map_err(|_| Wrong::new("it is not a URL", mend))?;
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if !(url.scheme() == "https" || url.scheme() == "http" && loopback) {
            return Err(Wrong::new("the key set would be fetched without TLS", mend));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Wrong::new("it has a user or a password", "remove it"));
        }
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn algorithms(text: &str) -> Result<Vec<String>, Wrong> {
    const KNOWN: [&str; 9] = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let names = value::names(text)?;
    if names.is_empty() || !names.iter().all(|name| KNOWN.contains(&name.as_str())) {
        let mend = format!("write some of {}", KNOWN.join(", "));
        return Err(Wrong::new("it has an unsupported algorithm", mend));
    }
    Ok(names)
}

fn keys_file(checker: &mut Checker<'_>) -> Option<PathBuf> {
    checker.read("callers.keys_file", |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::environment::fake::Fake;
    use super::super::load;
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> Option<String> {
        let flags = pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        });
        let loaded = load(&flags, &Fake::default());
        loaded.err().map(|faults| faults.to_string())
    }

    #[test]
    fn an_address_that_others_reach_is_never_open_by_accident() {
        let keys = ("callers.keys_file", "keys.toml");
        let anyone = ("callers.allow_anyone", "true");
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.1.1:1"] {
            let listen = ("server.listen", listen);
            let refused = told(&[listen]).unwrap();
            assert!(refused.contains("server.listen"), "{refused}");
            assert!(refused.contains("--allow-anyone"), "{refused}");
            assert_eq!(told(&[listen, keys]), None);
            assert_eq!(told(&[listen, anyone]), None);
            let both = told(&[listen, keys, anyone]).unwrap();
            assert!(both.contains("remove it"), "{both}");
        }
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert_eq!(told(&[("server.listen", listen)]), None);
        }
    }

    #[test]
    fn certificates_need_an_authority_that_they_are_asked_by() {
        let uris = ("callers.certificate_uris", "spiffe://example.org/*");
        assert!(told(&[uris]).unwrap().contains("server.tls.client_ca"));
        let tls = [
            uris,
            ("server.tls.certificate", "c.pem"),
            ("server.tls.key", "k.pem"),
            ("server.tls.client_ca", "ca.pem"),
            ("server.listen", "0.0.0.0:1"),
        ];
        assert_eq!(told(&tls), None);
        // That they must show one of the authority is enough.
        assert_eq!(told(&tls[1..]), None);
        let optional = ("server.tls.client_certificate", "optional");
        let optional = [&tls[1..], &[optional]].concat();
        assert!(told(&optional).unwrap().contains("server.listen"));
        let without = [tls[1], tls[2], tls[4]];
        assert!(told(&without).unwrap().contains("server.tls.client_ca"));
    }

    #[test]
    fn tokens_need_an_issuer_an_audience_and_keys_that_come_protected() {
        let right = [
            ("callers.jwks", "https://id.example/keys"),
            ("callers.jwt_issuer", "https://id.example"),
            ("callers.jwt_audience", "dashgate"),
        ];
        assert_eq!(told(&right), None);
        for (at, (key, _)) in right.iter().enumerate() {
            let mut less = right.to_vec();
            less.remove(at);
            let faults = told(&less).unwrap();
            assert!(faults.contains("callers.j"), "{key}: {faults}");
        }
        for (key, wrong) in [
            ("callers.jwks", "http://id.example/keys"),
            ("callers.jwks", "https://user:canary@id.example/keys"),
            ("callers.jwks", "ftp://id.example/keys"),
            ("callers.jwt_algorithms", "HS256"),
            ("callers.jwt_algorithms", "none"),
            ("callers.jwt_algorithms", "RS256,ES999"),
        ] {
            let mut more = right.to_vec();
            more.push((key, wrong));
            assert!(told(&more).unwrap().contains(key), "{wrong}");
        }
        for jwks in [
            "keys.json",
            "http://127.0.0.1:1/keys",
            "http://[::1]:1/keys",
        ] {
            let mut more = right.to_vec();
            more.push(("callers.jwks", jwks));
            assert_eq!(told(&more), None, "{jwks}");
        }
    }

    #[test]
    fn the_file_of_keys_is_found_whatever_else_is_wrong() {
        let around = Fake::default()
            .variable("DASHGATE_SERVER_LISTEN", "wrong")
            .variable("DASHGATE_CALLERS_KEYS_FILE", "keys.toml");
        let path = load_keys_file(&Flags::default(), &around).unwrap();
        assert_eq!(path, Some("keys.toml".into()));
        let none = load_keys_file(&Flags::default(), &Fake::default()).unwrap();
        assert_eq!(none, None);
    }
}
