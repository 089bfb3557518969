//! Manifests: rendered by Helm, judged by Kubernetes' own schemas, and their settings by dashgate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::certificates::{Authority, Folder};
use super::judge::{equal, json as parsed, text};
use super::process::{Said, ask};

/// Python takes its time to read the schemas.
const LIMIT: Duration = Duration::from_secs(120);
const SCRIPT: &str = include_str!("kubernetes.py");
const CHART: &str = "deploy/helm/dashgate";
/// Where containers find what is mounted.
const MOUNTED: &str = "/etc/dashgate";

/// `dashgate config check`, with the file and the variables that the container gets.
pub(crate) fn settings(all: &[Value], name: &str) -> Result<(), String> {
    let folder = mounted(name)?;
    let file = text(kind(all, "ConfigMap")?, "/data/dashgate.toml");
    fs::write(folder.join("config/dashgate.toml"), file).map_err(|error| error.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    command
        .args(["config", "check"])
        .env_clear()
        .env("HOME", &folder);
    let variables = pod(all)?["containers"][0]["env"]
        .as_array()
        .ok_or("no variables")?;
    for variable in variables {
        // Those that come from Secrets are the operator's own.
        if let Some(value) = variable["value"].as_str() {
            let value = value.replace(MOUNTED, &folder.to_string_lossy());
            command.env(text(variable, "/name"), value);
        }
    }
    done(ask(&mut command, LIMIT)?).map(drop)
}

/// What Secrets would bring into a container.
fn mounted(name: &str) -> Result<PathBuf, String> {
    let told = |error: std::io::Error| error.to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("kubernetes")
        .join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(told)?;
    }
    for part in ["config", "upstream", "callers", "tls"] {
        fs::create_dir_all(folder.join(part)).map_err(told)?;
    }
    let keys = folder.join("callers/keys.toml");
    let mut made = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    made.args(["keys", "new", "--name", "team-a", "--file"])
        .arg(&keys);
    done(ask(made.env_clear().env("HOME", &folder), LIMIT)?)?;
    let account = "[[account]]\nname = \"one\"\napi_key_file = \"api_key\"\n";
    fs::write(folder.join("upstream/accounts.toml"), account).map_err(told)?;
    fs::write(folder.join("upstream/api_key"), "sk-of-no-account\n").map_err(told)?;
    let (authority, made) = (Authority::new("the authority"), Folder::new());
    let (certificate, key) = made.pair("tls", &authority.server("the gateway"));
    fs::copy(certificate, folder.join("tls/tls.crt")).map_err(told)?;
    fs::copy(key, folder.join("tls/tls.key")).map_err(told)?;
    fs::write(folder.join("tls/callers.crt"), authority.pem()).map_err(told)?;
    Ok(folder)
}

/// The chart as Helm renders it, once the schemas found nothing wrong with it.
pub(crate) fn rendered(tools: &Path, name: &str, more: &[&str]) -> Result<Vec<Value>, String> {
    rendered_as(tools, "gw", name, more)
}

/// The same under another name of the release.
pub(crate) fn rendered_as(
    tools: &Path,
    release: &str,
    name: &str,
    more: &[&str],
) -> Result<Vec<Value>, String> {
    let out = done(helm(tools, release, more)?)?;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chart-{name}.yaml"));
    fs::write(&file, out).map_err(|error| error.to_string())?;
    Ok(judged(tools, &[file])?.concat())
}

/// What `helm template` says of the chart.
pub(crate) fn helm(tools: &Path, release: &str, more: &[&str]) -> Result<Said, String> {
    let mut command = Command::new(tools.join("helm"));
    // Built from source it takes itself for a very old one.
    command.args(["template", release, &at(CHART), "--kube-version", "1.34.0"]);
    // Nothing that this machine's user has set up matters.
    let home = Path::new(env!("CARGO_TARGET_TMPDIR"));
    ask(command.args(more).env_clear().env("HOME", home), LIMIT)
}

/// What the files hold, once the schemas found nothing wrong with it.
pub(crate) fn judged(tools: &Path, files: &[PathBuf]) -> Result<Vec<Vec<Value>>, String> {
    let mut command = Command::new(tools.join("environment/bin/python"));
    let out = done(ask(command.args(["-c", SCRIPT]).args(files), LIMIT)?)?;
    serde_json::from_value(parsed(&out)?).map_err(|error| error.to_string())
}

fn done(said: Said) -> Result<String, String> {
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    Ok(said.out)
}

/// Where a file of the project is.
pub(crate) fn at(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    path.to_string_lossy().into_owned()
}

/// The kinds, in order.
pub(crate) fn names(all: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = all
        .iter()
        .map(|one| text(one, "/kind").to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// The first of a kind.
pub(crate) fn kind<'a>(all: &'a [Value], name: &str) -> Result<&'a Value, String> {
    let found = all.iter().find(|one| text(one, "/kind") == name);
    found.ok_or_else(|| format!("there is no {name}"))
}

/// What the Deployment makes pods of.
pub(crate) fn pod(all: &[Value]) -> Result<&Value, String> {
    let deployment = kind(all, "Deployment")?;
    deployment
        .pointer("/spec/template/spec")
        .ok_or_else(|| "there is no pod".to_owned())
}

/// Whether all these labels are there.
pub(crate) fn has(labels: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object();
    wanted.is_some_and(|wanted| {
        wanted
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    })
}
