//! Who is asked: the address and the key, which several settings decide together.

use std::io;
use std::path::Path;

use url::Url;

use crate::net::host::is_loopback;
use crate::secret::Secret;

use super::environment::Surroundings;
use super::error::Origin;
use super::layers::Typed;
use super::region;
use super::setting_reader::Checker;
use super::settings::Endpoint;
use super::value::{self, Wrong};

/// The word for the DashScope inside this process.
const EMBEDDED: &str = "embedded";
/// Where DashScope's SDKs look for a key below the home folder.
const HOME_KEY_FILE: &str = ".dashscope/api_key";
/// No key of DashScope's is near this long; a file that is, is another file.
const MAX_KEY_BYTES: usize = 4096;

/// Finds the address and the key. Faults go to the checker; what is returned then is not used.
pub(crate) fn endpoint(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Endpoint {
    if checker.raw.typed("upstream.accounts_file").is_some() {
        // The file names them all; a key that lies about elsewhere must not matter.
        return Endpoint::Embedded;
    }
    let url = checker.raw.typed("upstream.url").cloned();
    if url.as_ref().is_some_and(|url| url.text == EMBEDDED) {
        return Endpoint::Embedded;
    }
    let faults = checker.faults();
    let key = api_key(checker, around);
    let address = address(checker, url.as_ref());
    match (key, address) {
        (Some(api_key), Some(base_url)) => Endpoint::Remote { base_url, api_key },
        (None, _) if url.is_none() => Endpoint::Embedded,
        (None, Some(_)) if checker.faults() == faults => {
            checker.fault(
                "upstream.api_key",
                Origin::Default,
                Wrong::new(
                    "a DashScope URL is set, but no key",
                    "set DASHSCOPE_API_KEY; an emulator accepts any key that begins with sk-",
                ),
            );
            Endpoint::Embedded
        }
        (_, _) => Endpoint::Embedded,
    }
}

fn address(checker: &mut Checker<'_>, url: Option<&Typed>) -> Option<String> {
    let region = checker.raw.typed("upstream.region").cloned();
    let workspace = checker.raw.typed("upstream.workspace").cloned();
    if let Some(region) = &region
        && let Err(wrong) = region::known(&region.text)
    {
        checker.quote("upstream.region", region, wrong);
        return None;
    }
    let (key, origin, read) = match url {
        Some(url) => {
            let plaintext = checker.read("upstream.allow_plaintext", value::switch);
            let read = base_url(&url.text, plaintext);
            ("upstream.url", url.origin.clone(), read)
        }
        None => {
            let name = region.as_ref().map(|region| region.text.as_str());
            let workspace = workspace.as_ref().map(|typed| typed.text.as_str());
            let origin = region.as_ref().map(|region| region.origin.clone());
            (
                "upstream.region",
                origin.unwrap_or(Origin::Default),
                region::base_url(name, workspace),
            )
        }
    };
    // A URL is never quoted: people put passwords into them.
    read.map_err(|wrong| checker.fault(key, origin, wrong)).ok()
}

/// Checks a base URL. The key goes over it, so it is encrypted or stays on this machine, unless
/// plaintext is allowed.
pub(crate) fn base_url(text: &str, plaintext: bool) -> Result<String, Wrong> {
    let example = "write it as in https://dashscope.aliyuncs.com/api/v1, or embedded";
    let url = Url::parse(text).map_err(|_| Wrong::new("it is not a URL", example))?;
    if !url.username().is_empty() || url.password().is_some() {
        let mend = "remove it; the key has its own setting, upstream.api_key";
        return Err(Wrong::new("it has a user or a password", mend));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new(
            "it has a query or a fragment",
            "give the base only, up to /api/v1",
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Wrong::new("it names no host", example));
    }
    if let Some(wrong) = of_another_interface(&url) {
        return Err(wrong);
    }
    match url.scheme() {
        "https" => {}
        "http" if plaintext || is_loopback(&url) => {}
        "http" => {
            let problem = "the key would go over the network unencrypted";
            let mend = "use https, or set upstream.allow_plaintext if the network is safe";
            return Err(Wrong::new(problem, mend));
        }
        _ => return Err(Wrong::new("it is neither https nor http", example)),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A URL of DashScope that is known not to be the base of the interface that is used. DashScope
/// answers 404 without a word there.
fn of_another_interface(url: &Url) -> Option<Wrong> {
    let path = url.path().trim_end_matches('/');
    let mend = "give the base of DashScope's own interface, which ends with /api/v1";
    if path.ends_with("/api/v1") {
        return None;
    }
    if path.split('/').any(|part| part == "compatible-mode") {
        let problem = "it is the OpenAI-compatible interface, which has other requests";
        return Some(Wrong::new(problem, mend));
    }
    if path.contains("/services/") {
        return Some(Wrong::new("it is the URL of one service", mend));
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let is_dashscope = host.contains("dashscope") && host.ends_with(".aliyuncs.com");
    is_dashscope.then(|| Wrong::new("its path is not that of DashScope's own interface", mend))
}

/// The key: named, or in a file. The higher source wins, and in one source the key before the file.
fn api_key(checker: &mut Checker<'_>, around: &dyn Surroundings) -> Option<Secret> {
    let named = checker.raw.typed("upstream.api_key").cloned();
    let path = checker.raw.typed("upstream.api_key_file").cloned();
    let rank = |typed: &Option<Typed>| typed.as_ref().map(|typed| typed.origin.rank());
    if let Some(named) = named
        && Some(named.origin.rank()) >= rank(&path)
    {
        return checked(checker, "upstream.api_key", named.origin, &named.text);
    }
    let key = "upstream.api_key_file";
    if let Some(path) = path {
        return match around.file(Path::new(&path.text)) {
            Ok(text) => checked(checker, key, path.origin, &text),
            Err(error) => {
                let wrong = Wrong::new(format!("it cannot be read: {error}"), "check the path");
                checker.quote(key, &path, wrong);
                None
            }
        };
    }
    let home = around.variable("HOME").ok().flatten()?;
    let path = Path::new(&home).join(HOME_KEY_FILE);
    match around.file(&path) {
        Ok(text) => checked(checker, key, Origin::File(path), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let problem = format!("it cannot be read: {error}");
            let mend = "make it readable, or set DASHSCOPE_API_KEY";
            checker.fault(key, Origin::File(path), Wrong::new(problem, mend));
            None
        }
    }
}

/// Checks that a key can be a header's value.
fn checked(checker: &mut Checker<'_>, key: &str, origin: Origin, text: &str) -> Option<Secret> {
    let read = api_key_of(text);
    read.map_err(|wrong| checker.fault(key, origin, wrong)).ok()
}

/// A key, without the space around it.
pub(crate) fn api_key_of(text: &str) -> Result<Secret, Wrong> {
    let text = text.trim();
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.is_empty() && text.len() <= MAX_KEY_BYTES && graphic {
        return Ok(Secret::new(text));
    }
    let mend = "copy it again from DashScope's console, without quotes or spaces";
    Err(Wrong::new("it is not a key", mend))
}

#[cfg(test)]
mod tests {
    use super::base_url;

    #[test]
    fn a_base_url_is_encrypted_or_on_loopback() {
        for (text, expected) in [
            (
                "https://d.example/api/v1/",
                Some("https://d.example/api/v1"),
            ),
            (
                "http://127.0.0.1:8089/api/v1",
                Some("http://127.0.0.1:8089/api/v1"),
            ),
            ("http://[::1]:1/", Some("http://[::1]:1")),
            ("http://localhost:1/x", Some("http://localhost:1/x")),
            ("http://d.example/api/v1", None),
            ("http://127.0.0.1.evil.example/", None),
            ("https://user:canary@d.example/", None),
            ("https://d.example/?key=canary", None),
            ("ftp://d.example/", None),
            ("embeded", None),
            ("https://dashscope.aliyuncs.com/compatible-mode/v1", None),
            ("https://dashscope-intl.aliyuncs.com/", None),
            ("https://cn-hongkong.dashscope.aliyuncs.com./v1", None),
            (
                "https://d.example/services/compatible-mode/api/v1",
                Some("https://d.example/services/compatible-mode/api/v1"),
            ),
            (
                "https://d.example/api/v1/services/aigc/multimodal-generation/generation",
                None,
            ),
            ("https://d.example", Some("https://d.example")),
        ] {
            let read = base_url(text, false);
            if let Err(wrong) = &read {
                assert!(!format!("{wrong:?}").contains("canary"));
            }
            assert_eq!(read.ok().as_deref(), expected, "{text}");
        }
        for (text, allowed) in [
            ("http://d.example/api/v1", true),
            ("http://[fd00::1]:8089/api/v1", true),
            ("http://user:canary@d.example/", false),
            ("ftp://d.example/", false),
        ] {
            assert_eq!(base_url(text, true).is_ok(), allowed, "{text}");
        }
    }
}
