//! The address and API key of the upstream, which several settings determine together.

use std::io;
use std::path::Path;

use url::Url;

use crate::net::host::is_loopback;
use crate::secret::Secret;

use super::environment::Environment;
use super::error::Origin;
use super::layers::ConfiguredValue;
use super::region;
use super::setting_reader::SettingReader;
use super::settings::ServerKind;
use super::value::{self, ValueError};

/// Where DashScope's SDKs look for a key, relative to the home directory.
const HOME_KEY_FILE: &str = ".dashscope/api_key";
/// The largest key file, in bytes: real keys are far shorter, so a larger file is the wrong one.
const MAX_KEY_BYTES: usize = 4096;

/// The base URL of DashScope.
pub(crate) fn address(
    reader: &mut SettingReader<'_>,
    url: Option<&ConfiguredValue>,
) -> Option<String> {
    let region = reader.raw.configured("upstream.region").cloned();
    let workspace = reader.raw.configured("upstream.workspace").cloned();
    if let Some(region) = &region
        && let Err(wrong) = region::known(&region.text)
    {
        reader.report_value("upstream.region", region, wrong);
        return None;
    }
    let (key, origin, read) = match url {
        Some(url) => {
            let plaintext = reader.read("upstream.allow_plaintext", value::switch);
            let read = base_url(&url.text, plaintext);
            ("upstream.url", url.origin.clone(), read)
        }
        None => {
            let name = region.as_ref().map(|region| region.text.as_str());
            let workspace = workspace
                .as_ref()
                .map(|configured| configured.text.as_str());
            let origin = region.as_ref().map(|region| region.origin.clone());
            (
                "upstream.region",
                origin.unwrap_or(Origin::Default),
                region::base_url(name, workspace),
            )
        }
    };
    // A URL is never quoted: it may contain a password.
    read.map_err(|wrong| reader.report(key, origin, wrong)).ok()
}

/// Validates a base URL. The API key is sent to it, so it must use TLS or a loopback host, unless
/// plaintext is allowed.
pub(crate) fn base_url(text: &str, plaintext: bool) -> Result<String, ValueError> {
    let example = "write it as in https://dashscope.aliyuncs.com/api/v1, or embedded";
    let url = Url::parse(text).map_err(|_| ValueError::new("it is not a URL", example))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong_prefix(url.scheme()));
    }
    check_host(&url, example, plaintext)?;
    if let Some(wrong) = belongs_to_another_api(&url) {
        return Err(wrong);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The error of what is before the first colon and is no scheme. It is not quoted: it may be a key.
fn wrong_prefix(scheme: &str) -> ValueError {
    if let Some(kind) = ServerKind::named(scheme) {
        let problem = "the kind of server is not followed by a URL, or not expected here";
        let name = kind.name();
        let fix = format!(
            "write it as in {name}:http://127.0.0.1:8000/v1; in an accounts file, write the URL \
             alone and upstream = \"{name}\""
        );
        return ValueError::new(problem, fix);
    }
    let problem = "it begins with neither https, http nor a kind of server";
    let kinds = ServerKind::ALL.map(|kind| format!("{}:", kind.name()));
    let fix = format!(
        "write it as in https://dashscope.aliyuncs.com/api/v1 or vllm:http://127.0.0.1:8000/v1; \
         the kinds of servers are {}",
        kinds.join(", ")
    );
    ValueError::new(problem, fix)
}

/// Validates all but the path of a base URL.
pub(crate) fn check_host(url: &Url, example: &str, plaintext: bool) -> Result<(), ValueError> {
    if !url.username().is_empty() || url.password().is_some() {
        let fix = "remove it; the key has its own setting, upstream.api_key";
        return Err(ValueError::new("it has a user or a password", fix));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ValueError::new(
            "it has a query or a fragment",
            "give the base only",
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(ValueError::new("it names no host", example));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if plaintext || is_loopback(url) => Ok(()),
        "http" => {
            let problem = "the key and all content would go over the network unencrypted";
            let fix = "use https, or set upstream.allow_plaintext if the network is safe";
            Err(ValueError::new(problem, fix))
        }
        _ => Err(ValueError::new("it is neither https nor http", example)),
    }
}

/// Recognises a URL of DashScope that belongs to another API, where DashScope would answer 404
/// without an explanation.
fn belongs_to_another_api(url: &Url) -> Option<ValueError> {
    let path = url.path().trim_end_matches('/');
    let fix = "give the base of DashScope's own interface, which ends with /api/v1";
    if path.ends_with("/api/v1") {
        return None;
    }
    if path.split('/').any(|part| part == "compatible-mode") {
        let problem = "it is the OpenAI-compatible interface, which has other requests";
        let fix = "write dashscope-compatible: before it, or give the base of DashScope's own \
                   interface, which ends with /api/v1";
        return Some(ValueError::new(problem, fix));
    }
    if path.contains("/services/") {
        return Some(ValueError::new("it is the URL of one service", fix));
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let is_dashscope = host.contains("dashscope") && host.ends_with(".aliyuncs.com");
    is_dashscope.then(|| ValueError::new("its path is not that of DashScope's own interface", fix))
}

/// The key, directly or from a file. The source of higher precedence applies; within one source,
/// the key before the file.
pub(crate) fn api_key(
    reader: &mut SettingReader<'_>,
    environment: &dyn Environment,
) -> Option<Secret> {
    let configured_names = reader.raw.configured("upstream.api_key").cloned();
    let path = reader.raw.configured("upstream.api_key_file").cloned();
    let rank = |configured: &Option<ConfiguredValue>| {
        configured
            .as_ref()
            .map(|configured| configured.origin.rank())
    };
    if let Some(configured_names) = configured_names
        && Some(configured_names.origin.rank()) >= rank(&path)
    {
        return checked(
            reader,
            "upstream.api_key",
            configured_names.origin,
            &configured_names.text,
        );
    }
    let key = "upstream.api_key_file";
    if let Some(path) = path {
        return key_in_file(environment, Path::new(&path.text))
            .map_err(|wrong| reader.report_value(key, &path, wrong))
            .ok();
    }
    let home = environment.variable("HOME").ok().flatten()?;
    let path = Path::new(&home).join(HOME_KEY_FILE);
    match environment.file(&path) {
        Ok(text) => checked(reader, key, Origin::File(path), &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let problem = format!("it cannot be read: {error}");
            let fix = "make it readable, or set DASHSCOPE_API_KEY";
            reader.report(key, Origin::File(path), ValueError::new(problem, fix));
            None
        }
    }
}

/// Checks that a key is a valid header value.
fn checked(
    reader: &mut SettingReader<'_>,
    key: &str,
    origin: Origin,
    text: &str,
) -> Option<Secret> {
    let read = parse_api_key(text);
    read.map_err(|wrong| reader.report(key, origin, wrong)).ok()
}

/// Reads the key in a file.
pub(crate) fn key_in_file(
    environment: &dyn Environment,
    path: &Path,
) -> Result<Secret, ValueError> {
    let text = environment.file(path).map_err(|error| {
        let problem = format!("it cannot be read: {error}");
        ValueError::new(problem, "check the path")
    })?;
    parse_api_key(&text)
}

/// Parses a key, trimmed.
pub(crate) fn parse_api_key(text: &str) -> Result<Secret, ValueError> {
    let text = text.trim();
    let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.is_empty() && text.len() <= MAX_KEY_BYTES && graphic {
        return Ok(Secret::new(text));
    }
    let fix = "copy it again, without quotes or spaces";
    Err(ValueError::new("it is not a key", fix))
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

    #[test]
    fn an_unknown_prefix_is_answered_with_the_known_ones() {
        for text in [
            "vlm:http://127.0.0.1:8000/v1",
            "localhost:8000/v1",
            "ftp://d.example/",
        ] {
            let wrong = base_url(text, true).unwrap_err();
            for kind in ["vllm:", "sglang-omni:", "dashscope-compatible:"] {
                assert!(wrong.fix.contains(kind), "{text}: {wrong:?}");
            }
        }
        // The kind is known, and its place is wrong.
        for text in ["vllm://127.0.0.1:8000/v1", "vllm:http://127.0.0.1:8000/v1"] {
            let wrong = base_url(text, true).unwrap_err();
            assert!(
                wrong.fix.contains("vllm:http://127.0.0.1:8000/v1"),
                "{wrong:?}"
            );
            assert!(wrong.fix.contains("upstream = \"vllm\""), "{wrong:?}");
        }
        // A key in place of a URL is not repeated.
        let wrong = base_url("sk-canary:x", true).unwrap_err();
        assert!(!format!("{wrong:?}").contains("canary"), "{wrong:?}");
    }
}
