//! The upstream of calls, which `upstream.url` and several other settings determine together.

use super::environment::Environment;
use super::error::Origin;
use super::openai;
use super::setting_reader::SettingReader;
use super::settings::Endpoint;
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
    if let Some(url) = &url
        && let Some((kind, server)) = openai::prefixed(&url.text)
    {
        let plaintext = reader.read("upstream.allow_plaintext", value::switch);
        return match openai::base_url(kind, server, plaintext) {
            Ok(base_url) => openai::endpoint(reader, environment, (kind, base_url)),
            Err(wrong) => {
                reader.report("upstream.url", url.origin.clone(), wrong);
                Endpoint::Embedded
            }
        };
    }
    let errors = reader.error_count();
    let key = api_key(reader, environment);
    let address = address(reader, url.as_ref());
    match (key, address) {
        (Some(api_key), Some(base_url)) => Endpoint::Remote { base_url, api_key },
        (None, _) if url.is_none() => Endpoint::Embedded,
        (None, Some(_)) if reader.error_count() == errors => {
            reader.report(
                "upstream.api_key",
                Origin::Default,
                ValueError::new(
                    "a DashScope URL is set, but no key",
                    "set DASHSCOPE_API_KEY; an emulator accepts any key that begins with sk-",
                ),
            );
            Endpoint::Embedded
        }
        (_, _) => Endpoint::Embedded,
    }
}
