//! How DashScope and other hosts are reached: proxies and root certificates, from settings and from
//! the environment variables that other programs share.

use std::path::Path;

use crate::net::Network;
use crate::net::proxy::{Bypass, Proxies, Proxy};
use crate::net::roots::Roots;

use super::environment::Environment;
use super::error::Origin;
use super::setting_reader::SettingReader;
use super::value::{self, ValueError};

/// Keys of the settings.
const PROXY: &str = "upstream.proxy";
const NO_PROXY: &str = "upstream.no_proxy";
const CA: &str = "upstream.tls.ca";

/// Values of `upstream.proxy` other than a URL.
const ENVIRONMENT: &str = "environment";
const NONE: &str = "none";

/// The variables of each kind; lower case takes precedence, as in curl.
const HTTPS_VARIABLES: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const HTTP_VARIABLES: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const ALL_VARIABLES: [&str; 2] = ["all_proxy", "ALL_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Reads the section. Errors go to the reader.
pub(crate) fn network(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Network {
    Network {
        proxies: proxies(reader, environment),
        roots: roots(reader, environment),
    }
}

fn proxies(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Proxies {
    let text = reader.read(PROXY, |text| Ok(text.to_owned()));
    let mut proxies = match text.as_str() {
        NONE => return Proxies::default(),
        ENVIRONMENT | "" => from_environment(reader, environment),
        text => {
            let origin = reader
                .raw
                .configured(PROXY)
                .map(|configured| configured.origin.clone());
            let proxy = read(reader, text, &origin.unwrap_or(Origin::Default));
            Proxies {
                http: proxy.clone(),
                https: proxy,
                loopback: true,
                ..Proxies::default()
            }
        }
    };
    proxies.bypass = bypass(reader, environment);
    proxies
}

fn from_environment(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Proxies {
    let mut of = |names: [&'static str; 2]| {
        let configured_names =
            first(environment, names).or_else(|| first(environment, ALL_VARIABLES));
        configured_names.and_then(|(name, text)| read(reader, &text, &Origin::Variable(name)))
    };
    Proxies {
        http: of(HTTP_VARIABLES),
        https: of(HTTPS_VARIABLES),
        ..Proxies::default()
    }
}

/// The URL of a proxy. It is never quoted: it may contain a password.
fn read(reader: &mut SettingReader<'_>, text: &str, origin: &Origin) -> Option<Proxy> {
    let wrong = |(problem, fix): (&str, &str)| {
        let fix = format!("{fix}, or set upstream.proxy to none");
        reader.report(PROXY, origin.clone(), ValueError::new(problem, fix));
    };
    Proxy::parse(text).map_err(wrong).ok()
}

fn bypass(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Bypass {
    let configured_names = reader.read(NO_PROXY, |text| {
        let mut bypass = Bypass::default();
        match value::names(text)?.iter().find(|entry| !bypass.add(entry)) {
            None => Ok(bypass),
            Some(entry) => Err(ValueError::new(
                format!("{entry:?} is not a host"),
                "write hosts, .suffixes, addresses, networks as in 10.0.0.0/8, or *",
            )),
        }
    });
    match reader.raw.configured(NO_PROXY) {
        Some(_) => configured_names,
        None => {
            let text = first(environment, NO_PROXY_VARIABLES).map(|(_, text)| text);
            Bypass::parse(&text.unwrap_or_default())
        }
    }
}

/// The first of these variables that is set. A value that is not UTF-8 is ignored.
fn first(
    environment: &dyn Environment,
    names: [&'static str; 2],
) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let text = environment.variable(name).ok().flatten()?;
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some((name, text))
    })
}

fn roots(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Roots {
    let system = reader.read("upstream.tls.system_roots", value::switch);
    let Some(configured) = reader.raw.configured(CA).cloned() else {
        if !system && reader.raw.configured("upstream.tls.system_roots").is_some() {
            reader.conflict(
                "upstream.tls.system_roots",
                "no certificate authority would be trusted",
                "set upstream.tls.ca too",
            );
        }
        return Roots::default();
    };
    let read = environment
        .file(Path::new(&configured.text))
        .map_err(|error| format!("it cannot be read: {error}"))
        .and_then(|pem| Roots::parse(&pem, !system).map_err(str::to_owned));
    read.unwrap_or_else(|problem| {
        let fix = "give a file of certificates as PEM";
        reader.report_value(CA, &configured, ValueError::new(problem, fix));
        Roots::default()
    })
}

/// The effective value of `upstream.proxy`, without passwords.
pub(crate) fn shown(network: &Network) -> String {
    let proxies = &network.proxies;
    match (&proxies.https, &proxies.http) {
        (None, None) => "none".to_owned(),
        (Some(https), Some(http)) if https == http => https.to_string(),
        (https, http) => {
            let one = |name: &str, proxy: &Option<Proxy>| match proxy {
                Some(proxy) => format!("{proxy} for {name}"),
                None => format!("none for {name}"),
            };
            format!("{}, {}", one("https", https), one("http", http))
        }
    }
}

/// The environment variables that set the proxies, if no setting does.
pub(crate) fn proxy_origin(environment: &dyn Environment) -> String {
    let name = |names| first(environment, names).or_else(|| first(environment, ALL_VARIABLES));
    match [HTTPS_VARIABLES, HTTP_VARIABLES].map(|names| name(names).map(|(name, _)| name)) {
        [None, None] => Origin::Default.to_string(),
        [Some(https), Some(http)] if https != http => format!("variables {https} and {http}"),
        [Some(name), _] | [None, Some(name)] => Origin::Variable(name).to_string(),
    }
}

/// The hosts that the environment excludes from the proxy, and the variable.
pub(crate) fn no_proxy(environment: &dyn Environment) -> Option<(String, String)> {
    let (name, hosts) = first(environment, NO_PROXY_VARIABLES)?;
    Some((hosts, Origin::Variable(name).to_string()))
}

#[cfg(test)]
mod tests {
    use crate::config::environment::fake::FakeEnvironment;
    use crate::config::{Flags, load, show};

    fn line(environment: &FakeEnvironment, key: &str) -> String {
        let shown = show(&Flags::default(), environment).unwrap();
        let line = shown.lines().find(|line| line.starts_with(key));
        line.unwrap().to_owned()
    }

    fn through(environment: &FakeEnvironment, url: &str) -> Option<String> {
        let settings = load(&Flags::default(), environment).unwrap();
        let proxies = settings.upstream.network.proxies;
        proxies.of(&url.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn settings_override_the_proxies_of_the_environment() {
        let (a, b, c) = (
            "http://a.example:1",
            "http://b.example:2",
            "http://c.example:3",
        );
        let environment = FakeEnvironment::default;
        assert_eq!(through(&environment(), "https://d.example"), None);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            let environment = environment().variable(name, a);
            let found = through(&environment, "https://d.example");
            assert_eq!(found.as_deref(), Some(a), "{name}");
            assert_eq!(through(&environment, "https://127.0.0.1"), None);
        }
        let environment = || {
            FakeEnvironment::default()
                .variable("HTTPS_PROXY", a)
                .variable("HTTP_PROXY", b)
                .variable("ALL_PROXY", "no proxy at all")
                .variable("NO_PROXY", "x.example,10.0.0.0/8")
        };
        for (url, expected) in [
            ("https://d.example", Some(a)),
            ("http://d.example", Some(b)),
            ("https://x.example", None),
            ("http://10.1.1.1", None),
        ] {
            assert_eq!(through(&environment(), url).as_deref(), expected, "{url}");
        }
        let small = environment().variable("https_proxy", c);
        assert_eq!(through(&small, "https://d.example").as_deref(), Some(c));
        let off = environment().variable("DASHGATE_UPSTREAM_PROXY", "none");
        assert_eq!(through(&off, "https://d.example"), None);
        let own = environment().variable("DASHGATE_UPSTREAM_PROXY", c);
        assert_eq!(through(&own, "https://d.example").as_deref(), Some(c));
        assert_eq!(through(&own, "http://127.0.0.1").as_deref(), Some(c));
        assert_eq!(through(&own, "https://x.example"), None);
        let all = own.variable("DASHGATE_UPSTREAM_NO_PROXY", "localhost");
        assert_eq!(through(&all, "https://x.example").as_deref(), Some(c));
        assert_eq!(through(&all, "http://localhost"), None);
    }

    #[test]
    fn an_invalid_proxy_is_an_error_without_its_password() {
        for (name, text) in [
            ("HTTPS_PROXY", "ftp://user:canary@p.example"),
            ("DASHGATE_UPSTREAM_PROXY", "ftp://user:canary@p.example"),
            (
                "DASHGATE_UPSTREAM_PROXY",
                "http://user:canary@p.example:99999",
            ),
            ("DASHGATE_UPSTREAM_NO_PROXY", "10.0.0.0/99"),
        ] {
            let environment = FakeEnvironment::default().variable(name, text);
            let errors = load(&Flags::default(), &environment)
                .unwrap_err()
                .to_string();
            assert!(
                errors.contains(name) && !errors.contains("canary"),
                "{errors}"
            );
        }
        let environment =
            FakeEnvironment::default().variable("HTTPS_PROXY", "http://user:canary@p.example:1");
        let told = "upstream.proxy = http://p.example:1 for https, none for http  \
                    # variable HTTPS_PROXY";
        assert_eq!(line(&environment, "upstream.proxy"), told);
        let environment = environment
            .variable("all_proxy", "http://all.example:1")
            .variable("no_proxy", "a.example");
        let told = line(&environment, "upstream.proxy");
        assert!(
            told.ends_with("# variables HTTPS_PROXY and all_proxy"),
            "{told}"
        );
        let told = "upstream.no_proxy = a.example  # variable no_proxy";
        assert_eq!(line(&environment, "upstream.no_proxy"), told);
        let environment = FakeEnvironment::default()
            .variable("DASHGATE_UPSTREAM_PROXY", "http://user:canary@p.example:1");
        let told = "upstream.proxy = http://p.example:1  # variable DASHGATE_UPSTREAM_PROXY";
        assert_eq!(line(&environment, "upstream.proxy"), told);
        let settings = load(&Flags::default(), &environment).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        assert_eq!(
            line(&FakeEnvironment::default(), "upstream.proxy"),
            "upstream.proxy = none  # default"
        );
        let configured =
            Flags::default().with("--set", "upstream.proxy", Some("http://u:canary@p:1"));
        let errors = load(&configured, &FakeEnvironment::default())
            .unwrap_err()
            .to_string();
        assert!(errors.contains("can see command lines"), "{errors}");
        assert!(!errors.contains("canary"), "{errors}");
        let configured = Flags::default().with("--set", "upstream.proxy", Some("http://p:1"));
        assert!(load(&configured, &FakeEnvironment::default()).is_ok());
    }

    #[test]
    fn root_certificates_extend_or_replace_those_of_the_system() {
        let pem = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        let pem = pem.unwrap().cert.pem();
        let environment = || {
            FakeEnvironment::default()
                .file("ca.pem", &pem)
                .file("empty", "")
        };
        let configured_names =
            |file: &str| environment().variable("DASHGATE_UPSTREAM_TLS_CA", file);
        let roots = |environment: &FakeEnvironment| {
            let settings =
                load(&Flags::default(), environment).map_err(|errors| errors.to_string())?;
            Ok::<_, String>(format!("{:?}", settings.upstream.network.roots))
        };
        let own = roots(&configured_names("ca.pem")).unwrap();
        assert_eq!(own, "Roots { own: 1, only_own: false }");
        let only = |environment: FakeEnvironment| {
            environment.variable("DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS", "false")
        };
        let alone = roots(&only(configured_names("ca.pem"))).unwrap();
        assert_eq!(alone, "Roots { own: 1, only_own: true }");
        for (environment, expected) in [
            (
                only(environment()),
                "no certificate authority would be trusted",
            ),
            (configured_names("missing"), "it cannot be read"),
            (configured_names("empty"), "it has no certificate"),
        ] {
            let errors = roots(&environment).unwrap_err();
            assert!(errors.contains(expected), "{errors}");
        }
    }
}
