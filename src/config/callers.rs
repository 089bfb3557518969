//! Settings of authentication, and the checks against a gateway that is left open by accident.

use std::path::PathBuf;

use url::{Host, Url};

use super::environment::Environment;
use super::error::ConfigErrors;
use super::layers::{Flags, RawSettings};
use super::server::{Server, Tls};
use super::setting_reader::SettingReader;
use super::settings::{CallerLimits, Callers, TokenSettings};
use super::value::{self, ValueError};

/// Reads only the path of the key file, so that keys can be created while other settings are
/// invalid.
pub fn load_keys_file(
    flags: &Flags,
    environment: &dyn Environment,
) -> Result<Option<PathBuf>, ConfigErrors> {
    let mut raw = RawSettings::gather(flags, environment);
    raw.errors
        .retain(|error| error.key == "config" || error.key == "callers.keys_file");
    let mut reader = SettingReader::new(&raw);
    let path = keys_file(&mut reader);
    reader.finish(path)
}

/// Reads the section, for a gateway with this `server` section.
pub(crate) fn callers(reader: &mut SettingReader<'_>, server: &Server) -> Callers {
    let callers = Callers {
        keys_file: keys_file(reader),
        pass_through: reader.read("callers.pass_through", value::switch),
        tokens: tokens(reader),
        certificate_uris: reader.read("callers.certificate_uris", value::names),
        max_tracked: reader.count("callers.max_tracked"),
        allow_anyone: reader.read("callers.allow_anyone", value::switch),
        open_reflection: reader.read("callers.open_reflection", value::switch),
        limits: CallerLimits {
            models: reader.read("caller_limits.models", value::names),
            requests_per_minute: reader.count("caller_limits.requests_per_minute"),
            tokens_per_minute: reader.count("caller_limits.tokens_per_minute"),
            max_streams: reader.count("caller_limits.max_streams"),
            tokens_per_day: reader.count("caller_limits.tokens_per_day"),
            audio_seconds_per_day: reader.count("caller_limits.audio_seconds_per_day"),
        },
    };
    if callers.require_authentication() && callers.allow_anyone {
        reader.conflict(
            "callers.allow_anyone",
            "it contradicts the other settings of callers",
            "remove it, or the other settings of callers",
        );
    }
    let authority = |tls: &Tls| tls.client_ca.is_some();
    if !callers.certificate_uris.is_empty() && !server.tls.as_ref().is_some_and(authority) {
        reader.conflict(
            "callers.certificate_uris",
            "no client certificate is requested",
            "set server.tls.client_ca",
        );
    }
    // Without a certificate from the configured authority, no connection is established.
    let must_show = |tls: &Tls| authority(tls) && !tls.client_optional;
    let is_asked = callers.require_authentication() || server.tls.as_ref().is_some_and(must_show);
    if !server.listen.is_loopback() && !is_asked && !callers.allow_anyone {
        reader.conflict(
            "server.listen",
            "this address is not loopback, and no credentials are required: anyone could call and \
             spend the DashScope key",
            "set callers.keys_file (`dashgate keys new` creates one), require certificates with \
             server.tls.client_ca, listen on 127.0.0.1, or pass --allow-anyone",
        );
    }
    callers
}

/// Tokens are accepted if a key set is configured, which requires an issuer and an audience.
fn tokens(reader: &mut SettingReader<'_>) -> Option<TokenSettings> {
    let jwks = reader.read("callers.jwks", jwks);
    let issuer = reader.read("callers.jwt_issuer", value::text);
    let audience = reader.read("callers.jwt_audience", value::names);
    let tokens = TokenSettings {
        jwks: jwks.clone().unwrap_or_default(),
        issuer: issuer.clone().unwrap_or_default(),
        audience,
        algorithms: reader.read("callers.jwt_algorithms", algorithms),
        clock_skew: reader.duration("callers.jwt_clock_skew"),
        name_claim: reader
            .read("callers.jwt_name_claim", value::text)
            .unwrap_or_default(),
        limits_claim: reader.read("callers.jwt_limits_claim", value::text),
    };
    for (key, there) in [
        ("callers.jwt_issuer", issuer.is_some()),
        ("callers.jwt_audience", !tokens.audience.is_empty()),
    ] {
        if jwks.is_some() && !there {
            let fix = "set the issuer and the audience of accepted tokens";
            reader.conflict(key, "callers.jwks needs it, and it is not set", fix);
        } else if jwks.is_none() && there {
            reader.conflict(key, "callers.jwks is not set", "set it, or remove this");
        }
    }
    jwks.is_some().then_some(tokens)
}

/// A path or a URL. Keys fetched without TLS could be replaced on the way.
fn jwks(text: &str) -> Result<Option<String>, ValueError> {
    if text.contains("://") {
        let fix = "write the path of a file, or an address that begins with https://";
        let url = Url::parse(text).map_err(|_| ValueError::new("it is not a URL", fix))?;
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if !(url.scheme() == "https" || url.scheme() == "http" && loopback) {
            return Err(ValueError::new(
                "the key set would be fetched without TLS",
                fix,
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ValueError::new("it has a user or a password", "remove it"));
        }
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn algorithms(text: &str) -> Result<Vec<String>, ValueError> {
    const KNOWN: [&str; 9] = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let names = value::names(text)?;
    if names.is_empty() || !names.iter().all(|name| KNOWN.contains(&name.as_str())) {
        let fix = format!("write some of {}", KNOWN.join(", "));
        return Err(ValueError::new("it has an unsupported algorithm", fix));
    }
    Ok(names)
}

fn keys_file(reader: &mut SettingReader<'_>) -> Option<PathBuf> {
    reader.read("callers.keys_file", |text| {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::environment::fake::FakeEnvironment;
    use super::super::load;
    use super::*;

    fn error_of(pairs: &[(&str, &str)]) -> Option<String> {
        let flags = pairs.iter().fold(Flags::default(), |flags, (key, value)| {
            flags.with("--set", key, Some(*value))
        });
        let loaded = load(&flags, &FakeEnvironment::default());
        loaded.err().map(|errors| errors.to_string())
    }

    #[test]
    fn a_reachable_address_requires_authentication_or_consent() {
        let keys = ("callers.keys_file", "keys.toml");
        let anyone = ("callers.allow_anyone", "true");
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.1.1:1"] {
            let listen = ("server.listen", listen);
            let refused = error_of(&[listen]).unwrap();
            assert!(refused.contains("server.listen"), "{refused}");
            assert!(refused.contains("--allow-anyone"), "{refused}");
            assert_eq!(error_of(&[listen, keys]), None);
            assert_eq!(error_of(&[listen, anyone]), None);
            let both = error_of(&[listen, keys, anyone]).unwrap();
            assert!(both.contains("remove it"), "{both}");
        }
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
            assert_eq!(error_of(&[("server.listen", listen)]), None);
        }
    }

    #[test]
    fn certificate_uris_require_a_client_authority() {
        let uris = ("callers.certificate_uris", "spiffe://example.org/*");
        assert!(error_of(&[uris]).unwrap().contains("server.tls.client_ca"));
        let tls = [
            uris,
            ("server.tls.certificate", "c.pem"),
            ("server.tls.key", "k.pem"),
            ("server.tls.client_ca", "ca.pem"),
            ("server.listen", "0.0.0.0:1"),
        ];
        assert_eq!(error_of(&tls), None);
        // A required certificate of the authority is enough.
        assert_eq!(error_of(&tls[1..]), None);
        let optional = ("server.tls.client_certificate", "optional");
        let optional = [&tls[1..], &[optional]].concat();
        assert!(error_of(&optional).unwrap().contains("server.listen"));
        let without = [tls[1], tls[2], tls[4]];
        assert!(error_of(&without).unwrap().contains("server.tls.client_ca"));
    }

    #[test]
    fn tokens_require_an_issuer_an_audience_and_protected_keys() {
        let right = [
            ("callers.jwks", "https://id.example/keys"),
            ("callers.jwt_issuer", "https://id.example"),
            ("callers.jwt_audience", "dashgate"),
        ];
        assert_eq!(error_of(&right), None);
        for (at, (key, _)) in right.iter().enumerate() {
            let mut less = right.to_vec();
            less.remove(at);
            let errors = error_of(&less).unwrap();
            assert!(errors.contains("callers.j"), "{key}: {errors}");
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
            assert!(error_of(&more).unwrap().contains(key), "{wrong}");
        }
        for jwks in [
            "keys.json",
            "http://127.0.0.1:1/keys",
            "http://[::1]:1/keys",
        ] {
            let mut more = right.to_vec();
            more.push(("callers.jwks", jwks));
            assert_eq!(error_of(&more), None, "{jwks}");
        }
    }

    #[test]
    fn the_key_file_is_found_despite_other_errors() {
        let environment = FakeEnvironment::default()
            .variable("DASHGATE_SERVER_LISTEN", "wrong")
            .variable("DASHGATE_CALLERS_KEYS_FILE", "keys.toml");
        let path = load_keys_file(&Flags::default(), &environment).unwrap();
        assert_eq!(path, Some("keys.toml".into()));
        let none = load_keys_file(&Flags::default(), &FakeEnvironment::default()).unwrap();
        assert_eq!(none, None);
    }
}
