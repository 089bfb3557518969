//! The hosts that callers may use in URLs of media.
//!
//! DashScope fetches the URLs in a call. Callers must not reach private hosts through it: the
//! metadata service of a cloud, an internal network, this machine. A URL is rejected if any parser
//! could read it as private: IPv4 in any base or inside IPv6, names in any script, users before an
//! `@`. The addresses of public names are for DashScope to check, because only DashScope resolves
//! them.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::chat::call::Prompt;
use crate::chat::live_session::{SessionChanges, TurnDetection};
use crate::chat::media::Source;
use crate::chat::plain_url::split_host;
use crate::error::Error;
use crate::relay::routes::matches;

use super::error_location::place;
use super::texts::all_texts;

/// Suffixes of names that public DNS does not resolve, or that resolve to an address in the name.
const PRIVATE_ENDS: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "svc",
    "home.arpa",
    "nip.io",
    "sslip.io",
    "xip.io",
    "localtest.me",
    "lvh.me",
    "metadata.tencentyun.com",
];

const DESCRIPTION: &str = "names a private or local host, or a user: DashScope must not fetch it; \
                           send the file as data, or contact the operator (upstream.private_hosts)";

/// Rejects a prompt with a private host, unless it is allowed by configuration or is DashScope's
/// own.
pub(in crate::relay) fn check(
    prompt: &Prompt,
    allowed: &[String],
    is_upstream: impl Fn(&str, u16) -> bool,
) -> Result<(), Error> {
    let may_name = |uri: &str| !is_http(uri) || is_allowed(uri, allowed, &is_upstream);
    let refused = |field: String| Err(Error::field(field, DESCRIPTION));
    for (i, turn) in prompt.turns.iter().enumerate() {
        for (j, part) in turn.parts.iter().enumerate() {
            let at = |rest: &str| format!("conversation.messages[{i}].content[{j}].{rest}");
            for (k, medium) in part.body.media().enumerate() {
                if let Source::Uri(uri) = &medium.source
                    && !may_name(uri)
                {
                    return refused(at(&place(&part.body, k)));
                }
            }
            if !all_texts(&part.extra, &may_name) {
                return refused(at("extra"));
            }
        }
        if !all_texts(&turn.extra, &may_name) {
            return refused(format!("conversation.messages[{i}].extra"));
        }
    }
    match all_texts(&prompt.options.extra_parameters, &may_name) {
        true => Ok(()),
        false => refused("options.extra_parameters".to_owned()),
    }
}

/// Rejects the configuration of a live session below this path, or a change of it, with a private
/// host.
pub(in crate::relay) fn check_changes(
    changes: &SessionChanges,
    path: &str,
    allowed: &[String],
    is_upstream: impl Fn(&str, u16) -> bool,
) -> Result<(), Error> {
    let may_name = |uri: &str| !is_http(uri) || is_allowed(uri, allowed, &is_upstream);
    if let Some(TurnDetection::SmartTurn(smart)) = &changes.turn_detection
        && let Some(i) = smart
            .voiceprint_audio_uris
            .iter()
            .position(|uri| !may_name(uri))
    {
        let field = "turn_detection.smart_turn.voiceprint_audio_uris";
        return Err(Error::field(format!("{path}.{field}[{i}]"), DESCRIPTION));
    }
    match all_texts(&changes.extra, &may_name) {
        true => Ok(()),
        false => Err(Error::field(format!("{path}.extra_session"), DESCRIPTION)),
    }
}

fn is_http(uri: &str) -> bool {
    let uri = uri.trim_start();
    let has = |scheme: &str| {
        uri.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    has("http:") || has("https:")
}

fn is_allowed(uri: &str, allowed: &[String], is_upstream: &impl Fn(&str, u16) -> bool) -> bool {
    if let Some((name, _)) = split_host(uri) {
        return !is_private_name(name) || may_be_private(name, allowed);
    }
    let Some((url, host)) = read(uri) else {
        return false;
    };
    let has_user =
        !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@');
    let (name, private) = match &host {
        Host::Ipv4(address) => (address.to_string(), !is_global_v4(*address)),
        Host::Ipv6(address) => (address.to_string(), !is_global_v6(*address)),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let private = is_private_name(&name);
            (name, private)
        }
    };
    if !has_user && !private || may_be_private(&name, allowed) {
        return true;
    }
    let port = url.port_or_known_default().unwrap_or_default();
    !has_user && is_upstream(url.host_str().unwrap_or_default(), port)
}

fn may_be_private(name: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|pattern| matches(pattern, name))
}

/// The part between `//` and the path.
fn authority(uri: &str) -> &str {
    let rest = uri.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// A URL parsed by the URL standard, if no other parser could read it differently.
fn read(uri: &str) -> Option<(Url, Host<String>)> {
    let (_, rest) = uri.split_once("://")?;
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if rest.starts_with('/') || uri.contains(is_odd) {
        return None;
    }
    let url = Url::parse(uri).ok()?;
    let host = url.host()?.to_owned();
    Some((url, host))
}

fn is_private_name(name: &str) -> bool {
    let last = name.as_bytes().last();
    let ends = |end: &&str| {
        // The last character distinguishes most of them.
        let rest = match end.as_bytes().last() == last {
            true => name.strip_suffix(*end),
            false => None,
        };
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.bytes().any(|b| b == b'.') || PRIVATE_ENDS.iter().any(ends)
}

/// Whether an address is global: in none of the special ranges of RFC 6890.
fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b) {
        (0 | 10 | 127, _) | (224.., _) => true,
        (100, 64..=127) | (169, 254) | (172, 16..=31) => true,
        (192, 0) => c == 0 || c == 2,
        (192, 88) => c == 99,
        (192, 168) | (198, 18 | 19) => true,
        (198, 51) => c == 100,
        (203, 0) => c == 113,
        _ => false,
    };
    !special
}

/// The same for IPv6: in the global range, without an embedded IPv4 address that is not global.
fn is_global_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_global_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // NAT64, and 6to4: the embedded address is the one that is reached.
        (0x64, 0xff9b) => [c, d, e, f] == [0; 4] && inner(g, h),
        (0x2002, _) => inner(b, c),
        // Teredo, benchmarks, overlay networks, documentation.
        (0x2001, 0..=0x1ff | 0xdb8) => false,
        (0x3fff, 0..=0xfff) => false,
        (0x2000..=0x3fff, _) => true,
        // IPv4-mapped or IPv4-compatible.
        (0, 0) if [c, d, e] == [0; 3] && (f == 0xffff || f == 0) && (g, h) != (0, 0) => {
            f == 0xffff && inner(g, h)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::document::{Document, Object};
    use crate::chat::media::{Image, Medium};
    use crate::chat::message::{Body, Role, Turn};

    proptest::proptest! {
        #[test]
        fn x11_a_host_that_is_split_off_is_that_of_the_complete_parser(
            uri in concat!(
                "https?://[a-z0-9.:@xn%/?#\\\\A-Z-]{0,24}",
                "|https?://(xn--|[a-z0-9-]{0,6}\\.){0,4}[a-z0-9x]{0,4}[/?#:]?",
            )
        ) {
            if let Some((host, _)) = split_host(&uri) {
                let parsed = Url::parse(&uri);
                let parsed = parsed.as_ref().ok().and_then(Url::host);
                assert_eq!(parsed, Some(Host::Domain(host)), "{uri}");
            }
        }
    }

    fn allowed(uri: &str, allowed: &[&str]) -> bool {
        let allowed: Vec<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        is_allowed(uri, &allowed, &|host, port| {
            (host, port) == ("127.0.0.1", 8089)
        })
    }

    /// Private hosts in every spelling.
    fn private_hosts() -> Vec<String> {
        let mut hosts: Vec<String> = include_str!("private_hosts.txt")
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(str::to_owned)
            .collect();
        let addresses = [
            [127, 0, 0, 1],
            [10, 1, 2, 3],
            [172, 16, 0, 1],
            [172, 31, 255, 255],
            [192, 168, 1, 1],
            [169, 254, 169, 254],
            [100, 100, 100, 200],
            [0, 0, 0, 0],
        ];
        for address in addresses {
            let [a, b, c, d] = address;
            let number = u32::from_be_bytes(address);
            let rest = u32::from_be_bytes([0, b, c, d]);
            let low = u32::from_be_bytes([0, 0, c, d]);
            let dotted = Ipv4Addr::from(address);
            let [high, bottom] = [number >> 16, number & 0xffff];
            hosts.extend([
                format!("{dotted}"),
                format!("{dotted}."),
                format!("{number}"),
                format!("{number:#x}"),
                format!("0{number:o}"),
                format!("{a}.{rest}"),
                format!("{a}.{b}.{low}"),
                format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
                format!("{a}.{b}.{c}.{d:#x}"),
                format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
                format!("[::ffff:{dotted}]"),
                format!("[::{dotted}]"),
                format!("[0:0:0:0:0:ffff:{high:x}:{bottom:x}]"),
                format!("[64:ff9b::{high:x}:{bottom:x}]"),
                format!("[2002:{high:x}:{bottom:x}::1]"),
                format!("%3{a}", a = a % 10),
            ]);
            let wide = |c: char| match c.to_digit(10) {
                Some(digit) => char::from_u32(0xff10 + digit).unwrap(),
                None => '\u{3002}',
            };
            hosts.push(dotted.to_string().chars().map(wide).collect());
            let encoded = |c: char| format!("%{:02x}", u32::from(c));
            hosts.push(dotted.to_string().chars().map(encoded).collect());
        }
        hosts
    }

    #[test]
    fn x11_a_private_host_is_refused_in_every_spelling() {
        let hosts = private_hosts();
        assert!(hosts.len() > 150, "{}", hosts.len());
        for host in hosts {
            for uri in [
                format!("http://{host}/a.wav"),
                format!("HTTPS://{host}:8080/a.wav?b#c"),
                format!("http://{host}"),
            ] {
                assert!(!allowed(&uri, &[]), "{uri}");
            }
        }
    }

    #[test]
    fn x11_what_readers_could_take_for_another_host_is_refused() {
        for uri in [
            "http://user@x.test/a",
            "http://user:word@x.test/a",
            "http://@x.test/a",
            "http://x.test@127.0.0.1/a",
            "http://127.0.0.1@x.test/a",
            "http://x.test\\@127.0.0.1/a",
            "http:/127.0.0.1/a",
            "http:127.0.0.1/a",
            "http:///127.0.0.1/a",
            "http:\\\\127.0.0.1/a",
            "http://x.test\t.evil/a",
            "http://x.\n127.0.0.1/a",
            " http://127.0.0.1/a",
            "http://[::1/a",
            "http://[fe80::1%25eth0]/a",
            "http://",
            "http://x.test:99999/",
        ] {
            assert!(!allowed(uri, &[]), "{uri:?}");
        }
    }

    #[test]
    fn public_hosts_and_those_that_the_operator_lists_may_be_named() {
        for uri in [
            "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav",
            "http://x.test:8080/a?b=c@d#e",
            "https://8.8.8.8/a",
            "https://[2606:4700:4700::1111]/a",
            "https://[::ffff:8.8.8.8]/a",
            "https://[64:ff9b::808:808]/a",
            "https://例え.テスト/a",
            "https://xn--r8jz45g.xn--zckzah/a",
            "https://X.Test./a",
            "https://my-local.example.com/a",
            "https://100.63.0.1/a",
            "https://172.32.0.1/a",
        ] {
            assert!(allowed(uri, &[]), "{uri}");
        }
        assert!(allowed("http://10.0.0.7/a", &["10.0.0.*"]));
        assert!(allowed("http://0xa000007/a", &["10.0.0.7"]));
        assert!(allowed("http://media.internal/a", &["*.internal"]));
        assert!(allowed("http://u:w@x.test/a", &["x.test"]));
        assert!(!allowed("http://10.0.1.7/a", &["10.0.0.*"]));
        // DashScope's own host, which is the emulator on this machine.
        assert!(allowed("http://127.0.0.1:8089/samples/a.wav", &[]));
        assert!(!allowed("http://u@127.0.0.1:8089/samples/a.wav", &[]));
        assert!(!allowed("http://127.0.0.1:8090/samples/a.wav", &[]));
    }

    #[test]
    fn the_field_is_named_wherever_the_address_stands() {
        let image = |uri: &str| {
            Body::Image(Image {
                medium: Medium {
                    mime_type: String::new(),
                    source: Source::Uri(uri.to_owned()),
                },
                min_pixels: None,
                max_pixels: None,
                enable_rotate: None,
            })
        };
        let mut turn = Turn::new(Role::User);
        turn.parts = vec![
            image("oss://10.0.0.1/a").into(),
            image("http://10.0.0.1/a").into(),
        ];
        let mut prompt = Prompt {
            model: "m".into(),
            turns: vec![turn],
            tools: Vec::new(),
            tool_choice: None,
            options: Box::default(),
        };
        let field = |prompt: &Prompt| {
            let error = check(prompt, &[], |_, _| false).unwrap_err();
            error.violations()[0].field.clone()
        };
        assert_eq!(
            field(&prompt),
            "conversation.messages[0].content[1].image.uri"
        );
        prompt.turns[0].parts.pop();
        assert!(check(&prompt, &[], |_, _| false).is_ok());
        let hidden = Object(vec![(
            "file".to_owned(),
            Document::List(vec![Document::String("HTTP://10.0.0.1/a".to_owned())]),
        )]);
        prompt.options.extra_parameters = hidden.clone();
        assert_eq!(field(&prompt), "options.extra_parameters");
        prompt.turns[0].parts[0].extra = hidden;
        assert_eq!(field(&prompt), "conversation.messages[0].content[0].extra");
    }
}
