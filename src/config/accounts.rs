//! Several DashScope accounts, from a file of their own.
//!
//! They have a file of their own because it contains keys, and changes more often than the
//! settings: it is read again when it changes, and so are the files that it refers to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::net::roots::Roots;

use super::environment::Environment;
use super::error::Origin;
use super::openai;
use super::region;
use super::setting_reader::SettingReader;
use super::settings::{Account, AccountLimit, Endpoint, ServerKind};
use super::upstream;
use super::value::{self, ValueError};

const KEY: &str = "upstream.accounts_file";

/// The name of DashScope's own interface.
const DASHSCOPE: &str = "dashscope";

/// The most accounts, far above practical needs: each call considers all of them.
const MAX_ACCOUNTS: usize = 64;

/// The largest weight, for a resolution of a thousandth.
const MAX_WEIGHT: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    account: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    upstream: Option<String>,
    url: Option<String>,
    region: Option<String>,
    workspace: Option<String>,
    api_key: Option<String>,
    api_key_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    limits: BTreeMap<String, Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
}

fn one() -> u32 {
    1
}

/// The accounts in the file, if one is configured. Errors go to the reader.
pub(crate) fn accounts(
    reader: &mut SettingReader<'_>,
    environment: &dyn Environment,
) -> Vec<Account> {
    let Some(configured) = reader.raw.configured(KEY).cloned() else {
        return Vec::new();
    };
    let path = Path::new(&configured.text);
    let text = match environment.file(path) {
        Ok(text) => text,
        Err(error) => {
            let wrong = ValueError::new(format!("it cannot be read: {error}"), "check the path");
            reader.report_value(KEY, &configured, wrong);
            return Vec::new();
        }
    };
    let origin = Origin::File(path.to_owned());
    let file: File = match toml::from_str(&text) {
        Ok(file) => file,
        Err(error) => {
            // Only the line and the kind of error: the line itself may contain a key.
            let line = error.span().map_or(1, |span| line(&text, span.start));
            let problem = format!("line {line}: {}", plain(error.message()));
            let fix = "write [[account]] tables as docs/accounts.md shows them";
            reader.report(KEY, origin, ValueError::new(problem, fix));
            return Vec::new();
        }
    };
    if file.account.is_empty() || file.account.len() > MAX_ACCOUNTS {
        let problem = format!("it names {} accounts", file.account.len());
        let fix = format!("write 1 to {MAX_ACCOUNTS} tables [[account]]");
        reader.report(KEY, origin, ValueError::new(problem, fix));
        return Vec::new();
    }
    let plaintext = reader.read("upstream.allow_plaintext", value::switch);
    let mut accounts: Vec<Account> = Vec::new();
    for entry in file.account {
        let name = entry.name.clone();
        let twice = accounts.iter().any(|account| account.name == name);
        let read = match twice {
            true => Err(ValueError::new("duplicate name", "give each its own")),
            false => account(entry, path, environment, plaintext),
        };
        match read {
            Ok(account) => accounts.push(account),
            Err(wrong) => {
                let wrong =
                    ValueError::new(format!("account {name:?}: {}", wrong.problem), wrong.fix);
                reader.report(KEY, origin.clone(), wrong);
            }
        }
    }
    accounts
}

fn account(
    entry: Entry,
    file: &Path,
    environment: &dyn Environment,
    plaintext: bool,
) -> Result<Account, ValueError> {
    let configured_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if entry.name.is_empty() || entry.name.len() > 64 || !entry.name.bytes().all(configured_names) {
        let fix = "write up to 64 letters, digits, dots, dashes and underscores";
        return Err(ValueError::new("the name cannot be shown everywhere", fix));
    }
    if !(1..=MAX_WEIGHT).contains(&entry.weight) {
        let fix = format!("write 1 to {MAX_WEIGHT}");
        return Err(ValueError::new("the weight is out of range", fix));
    }
    let endpoint = endpoint(&entry, file, environment, plaintext)?;
    if let Some(empty) = entry.models.iter().find(|name| name.trim().is_empty()) {
        let problem = format!("models has the name {empty:?}");
        return Err(ValueError::new(
            problem,
            "write names, with * for any characters",
        ));
    }
    let limits = entry
        .limits
        .into_iter()
        .map(|(models, limit)| AccountLimit {
            models,
            requests_per_minute: limit.requests_per_minute.filter(|rate| *rate > 0),
            tokens_per_minute: limit.tokens_per_minute.filter(|rate| *rate > 0),
        });
    let mut limits: Vec<_> = limits.collect();
    // The longest pattern is the most specific, so it is matched first.
    limits.sort_by_key(|limit| std::cmp::Reverse(limit.models.len()));
    Ok(Account {
        name: entry.name,
        endpoint,
        workspace: entry.workspace,
        weight: entry.weight,
        models: entry.models,
        roots: entry
            .ca
            .map(|path| roots(&beside(file, &path), environment))
            .transpose()?,
        limits,
    })
}

/// The address and key of an account.
fn endpoint(
    entry: &Entry,
    file: &Path,
    environment: &dyn Environment,
    plaintext: bool,
) -> Result<Endpoint, ValueError> {
    let api_key = match (&entry.api_key, &entry.api_key_file) {
        (Some(key), None) => Some(upstream::parse_api_key(key)?),
        (None, Some(path)) => {
            let path = beside(file, path);
            let key = upstream::key_in_file(environment, &path).map_err(|wrong| {
                let problem = format!("{}: {}", path.display(), wrong.problem);
                ValueError::new(problem, "check api_key_file")
            })?;
            Some(key)
        }
        (None, None) => None,
        (Some(_), Some(_)) => {
            let fix = "give either api_key or api_key_file";
            return Err(ValueError::new("it has two keys", fix));
        }
    };
    let kind = match entry.upstream.as_deref() {
        None | Some(DASHSCOPE) => None,
        Some(name) => Some(ServerKind::named(name).ok_or_else(|| {
            let names = ServerKind::ALL.map(ServerKind::name).join(", ");
            let fix = format!("write one of {DASHSCOPE}, {names}");
            ValueError::new(format!("upstream {name:?} is not known"), fix)
        })?),
    };
    if let Some(kind) = kind {
        let (Some(url), None, None) = (&entry.url, &entry.region, &entry.workspace) else {
            let fix = "give the url, without region and workspace";
            return Err(ValueError::new("it is not a DashScope account", fix));
        };
        if kind == ServerKind::DashScopeCompatible && api_key.is_none() {
            return Err(no_key());
        }
        return Ok(Endpoint::OpenAi {
            kind,
            base_url: openai::base_url(kind, url, plaintext)?,
            api_key,
        });
    }
    let base_url = match (&entry.url, &entry.region) {
        (Some(_), Some(_)) => {
            let problem = "it has both a url and a region";
            return Err(ValueError::new(problem, "leave one of them out"));
        }
        (Some(url), None) => upstream::base_url(url, plaintext)?,
        (None, region) => {
            region.as_deref().map_or(Ok(()), region::known)?;
            region::base_url(region.as_deref(), entry.workspace.as_deref())?
        }
    };
    let api_key = api_key.ok_or_else(no_key)?;
    Ok(Endpoint::Remote { base_url, api_key })
}

fn no_key() -> ValueError {
    ValueError::new("it has no key", "give either api_key or api_key_file")
}

/// Relative paths are relative to the accounts file.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// Root certificates that are trusted for this account only.
fn roots(path: &Path, environment: &dyn Environment) -> Result<Roots, ValueError> {
    let pem = environment.file(path).map_err(|error| {
        let problem = format!("{} cannot be read: {error}", path.display());
        ValueError::new(problem, "check ca")
    })?;
    Roots::parse(&pem, false).map_err(|problem| {
        let problem = format!("{}: {problem}", path.display());
        ValueError::new(problem, "give a file of certificates as PEM")
    })
}

/// The parser's message, without what it quotes from the text.
fn plain(message: &str) -> String {
    let outside = |(place, piece)| (place % 2 == 0).then_some(piece);
    let quoted = message.split('"').enumerate().filter_map(outside);
    quoted.collect::<Vec<_>>().join("...")
}

fn line(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use crate::config::environment::fake::FakeEnvironment;
    use crate::config::{Account, Endpoint, Flags, load};

    fn read(file: &str) -> Result<Vec<Account>, String> {
        let environment = FakeEnvironment::default()
            .variable("DASHSCOPE_API_KEY", "sk-elsewhere")
            .variable("DASHGATE_UPSTREAM_ACCOUNTS_FILE", "etc/accounts.toml")
            .file("etc/accounts.toml", file)
            .file("etc/key", "sk-canary-2\n");
        load(&Flags::default(), &environment)
            .map(|settings| settings.upstream.accounts)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn accounts_have_addresses_keys_weights_and_rates() {
        let accounts = read(
            "[[account]]\nname = \"a\"\napi_key = \"sk-canary-1\"\n\
             [[account]]\nname = \"b\"\napi_key_file = \"key\"\nweight = 3\n\
             region = \"ap-southeast-1\"\nworkspace = \"ws-1\"\n\
             [account.limits.\"*\"]\nrequests_per_minute = 60\n\
             [account.limits.\"qwen-audio*\"]\ntokens_per_minute = 1000\n",
        )
        .unwrap();
        let url = |account: &Account| match &account.endpoint {
            Endpoint::Remote { base_url, api_key } => (base_url.clone(), api_key.expose().len()),
            Endpoint::Embedded | Endpoint::OpenAi { .. } => unreachable!(),
        };
        assert_eq!(
            url(&accounts[0]),
            ("https://dashscope.aliyuncs.com/api/v1".into(), 11)
        );
        let workspace = "https://ws-1.ap-southeast-1.maas.aliyuncs.com/api/v1";
        assert_eq!(url(&accounts[1]), (workspace.into(), 11));
        assert_eq!((accounts[0].weight, accounts[1].weight), (1, 3));
        let limits = &accounts[1].limits;
        assert_eq!(limits[0].models, "qwen-audio*");
        assert_eq!(limits[1].requests_per_minute, Some(60));
        assert!(!format!("{accounts:?}").contains("canary"));
    }

    #[test]
    fn every_error_has_its_account_and_no_key() {
        let key = "api_key = \"sk-canary\"\n";
        for (entry, expected) in [
            (
                "name = \"a b\"\napi_key = \"sk-canary\"\n".to_owned(),
                "the name cannot",
            ),
            (
                format!("name = \"a\"\nweight = 0\n{key}"),
                "weight is out of range",
            ),
            ("name = \"a\"\n".to_owned(), "it has no key"),
            (
                format!("name = \"a\"\nregion = \"mars\"\n{key}"),
                "not a region",
            ),
            (
                format!("name = \"a\"\nurl = \"http://x.example\"\n{key}"),
                "unencrypted",
            ),
            (
                "name = \"a\"\napi_key_file = \"none\"\n".to_owned(),
                "cannot be read",
            ),
            (format!("name = \"a\"\nkey = 1\n{key}"), "line 3"),
            (
                "name = \"a\"\napi_key = \"sk-canary \u{e9}\"\n".to_owned(),
                "not a key",
            ),
            ("name = \"a\"\napi_key = sk-canary\n".to_owned(), "line 3"),
        ] {
            let told = read(&format!("[[account]]\n{entry}")).unwrap_err();
            assert!(told.contains(expected), "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
        let twice = format!("[[account]]\nname = \"a\"\n{key}").repeat(2);
        assert!(read(&twice).unwrap_err().contains("duplicate name"));
        assert!(read("").unwrap_err().contains("0 accounts"));
    }
}
