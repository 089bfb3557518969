//! The upstream of calls, which `upstream.url` and several other settings determine together.

use super::environment::Environment;
use super::error::Origin;
use super::openai;
use super::setting_reader::SettingReader;
use super::settings::{Endpoint, ServerKind};
use super::upstream::{address, api_key};
use super::value::{self, ValueError};

/// The value of `upstream.url` for the emulator.
const EMBEDDED: &str = "embedded";

/// Determines the address and the key. Errors go to the reader; the result is then not used.
pub(crate) fn endpoint(reader: &mut SettingReader<'_>, environment: &dyn Environment) -> Endpoint {
    if reader.raw.configured("upstream.accounts_file").is_some() {
        // The file has all keys; others must have no effect.
        return Endpoint::Embedded;
    }
    let url = reader.raw.configured("upstream.url").cloned();
    if url.as_ref().is_some_and(|url| url.text == EMBEDDED) {
        return Endpoint::Embedded;
    }
    let errors = reader.error_count();
    if let Some(url) = &url
        && let Some((kind, server)) = openai::prefixed(&url.text)
    {
        let plaintext = reader.read("upstream.allow_plaintext", value::switch);
        let base_url = match openai::base_url(kind, server, plaintext) {
            Ok(base_url) => base_url,
            Err(wrong) => {
                reader.report("upstream.url", url.origin.clone(), wrong);
                return Endpoint::Embedded;
            }
        };
        let api_key = openai::api_key(reader, environment, kind);
        let needs_key = kind == ServerKind::DashScopeCompatible;
        if needs_key && api_key.is_none() && reader.error_count() == errors {
            return no_key(reader);
        }
        return Endpoint::OpenAi {
            kind,
            base_url,
            api_key,
        };
    }
    let key = api_key(reader, environment);
    let address = address(reader, url.as_ref());
    match (key, address) {
        (Some(api_key), Some(base_url)) => Endpoint::Remote { base_url, api_key },
        (None, _) if url.is_none() => Endpoint::Embedded,
        (None, Some(_)) if reader.error_count() == errors => no_key(reader),
        (_, _) => Endpoint::Embedded,
    }
}

/// Reports that DashScope would be called without a key.
fn no_key(reader: &mut SettingReader<'_>) -> Endpoint {
    let problem = "a DashScope URL is set, but no key";
    let fix = "set DASHSCOPE_API_KEY; an emulator accepts any key that begins with sk-";
    let wrong = ValueError::new(problem, fix);
    reader.report("upstream.api_key", Origin::Default, wrong);
    Endpoint::Embedded
}
