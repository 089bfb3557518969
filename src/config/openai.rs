//! OpenAI-style servers as upstreams: the prefix of a URL, and the key.

use std::path::Path;

use url::Url;

use crate::secret::Secret;

use super::environment::Environment;
use super::setting_reader::SettingReader;
use super::settings::ServerKind;
use super::upstream;
use super::value::ValueError;

/// The setting of the key. DashScope's key is never sent to another server.
const API_KEY: &str = "upstream.openai.api_key";
/// The setting of the file with the key.
const API_KEY_FILE: &str = "upstream.openai.api_key_file";

/// Separates `vllm:http://host/v1` into the kind of server and the URL. `None` for a URL alone.
pub(crate) fn prefixed(text: &str) -> Option<(ServerKind, &str)> {
    let (name, url) = text.split_once(':')?;
    if url.starts_with("//") {
        return None;
    }
    ServerKind::named(name).map(|kind| (kind, url))
}

/// Validates the base URL of an OpenAI-style server.
pub(crate) fn base_url(
    kind: ServerKind,
    text: &str,
    plaintext: bool,
) -> Result<String, ValueError> {
    let example = format!("write it as in {}:http://127.0.0.1:8000/v1", kind.name());
    let url = Url::parse(text).map_err(|_| ValueError::new("it is not a URL", example.clone()))?;
    upstream::check_host(&url, &example, plaintext)?;
    let path = url.path().trim_end_matches('/');
    if path.is_empty() {
        let problem = "it has no path, and such servers have their interface below one";
        return Err(ValueError::new(problem, example));
    }
    if path.ends_with("/chat/completions") {
        let problem = "it is the URL of one method";
        return Err(ValueError::new(problem, "end it before /chat/completions"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The key of such a server, if one is configured. Errors go to the reader.
pub(crate) fn api_key(
    reader: &mut SettingReader<'_>,
    environment: &dyn Environment,
    kind: ServerKind,
) -> Option<Secret> {
    match kind {
        ServerKind::DashScopeCompatible => upstream::api_key(reader, environment),
        ServerKind::OpenAi | ServerKind::Vllm | ServerKind::Sglang | ServerKind::SglangOmni => {
            own_key(reader, environment)
        }
    }
}

fn own_key(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Option<Secret> {
    if let Some(configured) = reader.raw.configured(API_KEY).cloned() {
        let key = upstream::parse_api_key(&configured.text);
        return key
            .map_err(|wrong| reader.report(API_KEY, configured.origin, wrong))
            .ok();
    }
    let path = reader.raw.configured(API_KEY_FILE).cloned()?;
    let key = upstream::key_in_file(environment, Path::new(&path.text));
    key.map_err(|wrong| reader.report_value(API_KEY_FILE, &path, wrong))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_the_kind_of_server() {
        for (text, expected) in [
            (
                "vllm:http://h:8000/v1",
                Some((ServerKind::Vllm, "http://h:8000/v1")),
            ),
            (
                "openai:https://h/v1",
                Some((ServerKind::OpenAi, "https://h/v1")),
            ),
            (
                "sglang-omni:http://h/v1",
                Some((ServerKind::SglangOmni, "http://h/v1")),
            ),
            ("https://h/api/v1", None),
            ("openai://h/v1", None),
            ("other:http://h/v1", None),
            ("embedded", None),
        ] {
            assert_eq!(prefixed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_base_url_has_a_path_and_is_encrypted_or_on_loopback() {
        for (text, expected) in [
            ("http://127.0.0.1:8000/v1/", Ok("http://127.0.0.1:8000/v1")),
            ("https://h.example/v1", Ok("https://h.example/v1")),
            ("http://127.0.0.1:8000", Err("no path")),
            (
                "http://127.0.0.1:8000/v1/chat/completions",
                Err("one method"),
            ),
            ("http://h.example/v1", Err("unencrypted")),
            ("https://u:p@h.example/v1", Err("password")),
            ("https://h.example/v1?a=b", Err("query")),
            ("ftp://h.example/v1", Err("neither")),
            ("h.example/v1", Err("not a URL")),
        ] {
            let read = base_url(ServerKind::Vllm, text, false);
            match (read, expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url, expected),
                (Err(wrong), Err(expected)) => {
                    assert!(
                        wrong.problem.contains(expected),
                        "{text}: {}",
                        wrong.problem
                    );
                }
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        assert!(base_url(ServerKind::Vllm, "http://h.example/v1", true).is_ok());
    }
}
