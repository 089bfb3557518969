//! How DashScope and other hosts are reached: proxies and authorities, by settings and by the
//! environment variables that other programs share.

use std::path::Path;

use crate::net::Network;
use crate::net::proxy::{Bypass, Proxies, Proxy};
use crate::net::roots::Roots;

use super::environment::Surroundings;
use super::error::Origin;
use super::setting_reader::Checker;
use super::value::{self, Wrong};

/// The settings.
const PROXY: &str = "upstream.proxy";
const NO_PROXY: &str = "upstream.no_proxy";
const CA: &str = "upstream.tls.ca";

/// Words that `upstream.proxy` takes beside a URL.
const ENVIRONMENT: &str = "environment";
const NONE: &str = "none";

/// The variables of each kind; one in small letters stands above the other, as for curl.
const FOR_HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const FOR_HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const FOR_ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];
const FOR_NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Reads all of it. Faults go to the checker.
pub(crate) fn network(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Network {
    Network {
        proxies: proxies(checker, around),
        roots: roots(checker, around),
    }
}

fn proxies(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Proxies {
    let text = checker.read(PROXY, |text| Ok(text.to_owned()));
    let mut proxies = match text.as_str() {
        NONE => return Proxies::default(),
        ENVIRONMENT | "" => from_environment(checker, around),
        text => {
            let origin = checker.raw.typed(PROXY).map(|typed| typed.origin.clone());
            let proxy = read(checker, text, &origin.unwrap_or(Origin::Default));
            Proxies {
                http: proxy.clone(),
                https: proxy,
                loopback: true,
                ..Proxies::default()
            }
        }
    };
    proxies.bypass = bypass(checker, around);
    proxies
}

fn from_environment(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Proxies {
    let mut of = |names: [&'static str; 2]| {
        let named = first(around, names).or_else(|| first(around, FOR_ALL));
        named.and_then(|(name, text)| read(checker, &text, &Origin::Variable(name)))
    };
    Proxies {
        http: of(FOR_HTTP),
        https: of(FOR_HTTPS),
        ..Proxies::default()
    }
}

/// A proxy's URL. It is never quoted: it may hold a password.
fn read(checker: &mut Checker<'_>, text: &str, origin: &Origin) -> Option<Proxy> {
    let wrong = |(problem, mend): (&str, &str)| {
        let mend = format!("{mend}, or set upstream.proxy to none");
        checker.fault(PROXY, origin.clone(), Wrong::new(problem, mend));
    };
    Proxy::parse(text).map_err(wrong).ok()
}

fn bypass(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Bypass {
    let named = checker.read(NO_PROXY, |text| {
        let mut bypass = Bypass::default();
        match value::names(text)?.iter().find(|entry| !bypass.add(entry)) {
            None => Ok(bypass),
            Some(entry) => Err(Wrong::new(
                format!("{entry:?} is not a host"),
                "write hosts, .suffixes, addresses, networks as in 10.0.0.0/8, or *",
            )),
        }
    });
    match checker.raw.typed(NO_PROXY) {
        Some(_) => named,
        None => {
            let text = first(around, FOR_NONE).map(|(_, text)| text);
            Bypass::parse(&text.unwrap_or_default())
        }
    }
}

/// The first of these variables that is set. What is not UTF-8 is no proxy of anybody's.
fn first(around: &dyn Surroundings, names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let text = around.variable(name).ok().flatten()?;
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some((name, text))
    })
}

fn roots(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Roots {
    let system = checker.read("upstream.tls.system_roots", value::switch);
    let Some(typed) = checker.raw.typed(CA).cloned() else {
        if !system && checker.raw.typed("upstream.tls.system_roots").is_some() {
            checker.clash(
                "upstream.tls.system_roots",
                "no certificate authority would be trusted",
                "set upstream.tls.ca too",
            );
        }
        return Roots::default();
    };
    let read = around
        .file(Path::new(&typed.text))
        .map_err(|error| format!("it cannot be read: {error}"))
        .and_then(|pem| Roots::parse(&pem, !system).map_err(str::to_owned));
    read.unwrap_or_else(|problem| {
        let mend = "give a file of certificates as PEM";
        checker.quote(CA, &typed, Wrong::new(problem, mend));
        Roots::default()
    })
}

/// What `upstream.proxy` comes to, without passwords.
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

/// Which variables of the environment the proxies come from, where no setting names one.
pub(crate) fn proxy_origin(around: &dyn Surroundings) -> String {
    let name = |names| first(around, names).or_else(|| first(around, FOR_ALL));
    match [FOR_HTTPS, FOR_HTTP].map(|names| name(names).map(|(name, _)| name)) {
        [None, None] => Origin::Default.to_string(),
        [Some(https), Some(http)] if https != http => format!("variables {https} and {http}"),
        [Some(name), _] | [None, Some(name)] => Origin::Variable(name).to_string(),
    }
}

/// The hosts that the environment keeps from the proxy, and the variable that says so.
pub(crate) fn no_proxy(around: &dyn Surroundings) -> Option<(String, String)> {
    let (name, hosts) = first(around, FOR_NONE)?;
    Some((hosts, Origin::Variable(name).to_string()))
}

#[cfg(test)]
mod tests {
    use crate::config::environment::fake::Fake;
    use crate::config::{Flags, load, show};

    fn line(world: &Fake, key: &str) -> String {
        let shown = show(&Flags::default(), world).unwrap();
        let line = shown.lines().find(|line| line.starts_with(key));
        line.unwrap().to_owned()
    }

    fn through(world: &Fake, url: &str) -> Option<String> {
        let settings = load(&Flags::default(), world).unwrap();
        let proxies = settings.upstream.network.proxies;
        proxies.of(&url.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn the_environment_is_obeyed_unless_a_setting_stands_above_it() {
        let (a, b, c) = (
            "http://a.example:1",
            "http://b.example:2",
            "http://c.example:3",
        );
        let world = Fake::default;
        assert_eq!(through(&world(), "https://d.example"), None);
        for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            let world = world().variable(name, a);
            let found = through(&world, "https://d.example");
            assert_eq!(found.as_deref(), Some(a), "{name}");
            assert_eq!(through(&world, "https://127.0.0.1"), None);
        }
        let world = || {
            Fake::default()
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
            assert_eq!(through(&world(), url).as_deref(), expected, "{url}");
        }
        let small = world().variable("https_proxy", c);
        assert_eq!(through(&small, "https://d.example").as_deref(), Some(c));
        let off = world().variable("DASHGATE_UPSTREAM_PROXY", "none");
        assert_eq!(through(&off, "https://d.example"), None);
        let own = world().variable("DASHGATE_UPSTREAM_PROXY", c);
        assert_eq!(through(&own, "https://d.example").as_deref(), Some(c));
        assert_eq!(through(&own, "http://127.0.0.1").as_deref(), Some(c));
        assert_eq!(through(&own, "https://x.example"), None);
        let all = own.variable("DASHGATE_UPSTREAM_NO_PROXY", "localhost");
        assert_eq!(through(&all, "https://x.example").as_deref(), Some(c));
        assert_eq!(through(&all, "http://localhost"), None);
    }

    #[test]
    fn what_is_no_proxy_is_a_fault_and_no_password_is_shown() {
        for (name, text) in [
            ("HTTPS_PROXY", "ftp://user:canary@p.example"),
            ("DASHGATE_UPSTREAM_PROXY", "ftp://user:canary@p.example"),
            (
                "DASHGATE_UPSTREAM_PROXY",
                "http://user:canary@p.example:99999",
            ),
            ("DASHGATE_UPSTREAM_NO_PROXY", "10.0.0.0/99"),
        ] {
            let world = Fake::default().variable(name, text);
            let faults = load(&Flags::default(), &world).unwrap_err().to_string();
            assert!(
                faults.contains(name) && !faults.contains("canary"),
                "{faults}"
            );
        }
        let world = Fake::default().variable("HTTPS_PROXY", "http://user:canary@p.example:1");
        let told = "upstream.proxy = http://p.example:1 for https, none for http  \
                    # variable HTTPS_PROXY";
        assert_eq!(line(&world, "upstream.proxy"), told);
        let world = world
            .variable("all_proxy", "http://all.example:1")
            .variable("no_proxy", "a.example");
        let told = line(&world, "upstream.proxy");
        assert!(
            told.ends_with("# variables HTTPS_PROXY and all_proxy"),
            "{told}"
        );
        let told = "upstream.no_proxy = a.example  # variable no_proxy";
        assert_eq!(line(&world, "upstream.no_proxy"), told);
        let world =
            Fake::default().variable("DASHGATE_UPSTREAM_PROXY", "http://user:canary@p.example:1");
        let told = "upstream.proxy = http://p.example:1  # variable DASHGATE_UPSTREAM_PROXY";
        assert_eq!(line(&world, "upstream.proxy"), told);
        let settings = load(&Flags::default(), &world).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
        assert_eq!(
            line(&Fake::default(), "upstream.proxy"),
            "upstream.proxy = none  # default"
        );
        let typed = Flags::default().with("--set", "upstream.proxy", Some("http://u:canary@p:1"));
        let faults = load(&typed, &Fake::default()).unwrap_err().to_string();
        assert!(faults.contains("can see command lines"), "{faults}");
        assert!(!faults.contains("canary"), "{faults}");
        let typed = Flags::default().with("--set", "upstream.proxy", Some("http://p:1"));
        assert!(load(&typed, &Fake::default()).is_ok());
    }

    #[test]
    fn authorities_come_from_a_file_beside_or_instead_of_the_machines() {
        let pem = rcgen::generate_simple_self_signed(["a.example".to_owned()]);
        let pem = pem.unwrap().cert.pem();
        let world = || Fake::default().file("ca.pem", &pem).file("empty", "");
        let named = |file: &str| world().variable("DASHGATE_UPSTREAM_TLS_CA", file);
        let roots = |world: &Fake| {
            let settings = load(&Flags::default(), world).map_err(|faults| faults.to_string())?;
            Ok::<_, String>(format!("{:?}", settings.upstream.network.roots))
        };
        let own = roots(&named("ca.pem")).unwrap();
        assert_eq!(own, "Roots { own: 1, only_own: false }");
        let only = |world: Fake| world.variable("DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS", "false");
        let alone = roots(&only(named("ca.pem"))).unwrap();
        assert_eq!(alone, "Roots { own: 1, only_own: true }");
        for (world, expected) in [
            (only(world()), "no certificate authority would be trusted"),
            (named("missing"), "it cannot be read"),
            (named("empty"), "it has no certificate"),
        ] {
            let faults = roots(&world).unwrap_err();
            assert!(faults.contains(expected), "{faults}");
        }
    }
}
