//! Certificates and keys: what the gateway is started with, and what the client is given.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Map, Value, json};

use super::case::{Case, Tls};
use super::place;
use super::process::ask;

const KEYS_LIMIT: Duration = Duration::from_secs(60);

/// A name of the gateway beside those of this machine.
const SERVER_NAME: &str = "gateway.test";

/// The gateway's arguments for the certificates and keys of a case.
pub(crate) fn settings(case: &Case) -> Result<Vec<String>, String> {
    let mut settings = Vec::new();
    let mut set = |key: &str, path: PathBuf| {
        settings.push("--set".to_owned());
        settings.push(format!("{key}={}", path.display()));
    };
    if let Some(tls) = case.gateway.tls {
        let folder = folder()?;
        set("server.tls.certificate", folder.join("server.pem"));
        set("server.tls.key", folder.join("server.key"));
        if tls == Tls::Mutual {
            set("server.tls.client_ca", folder.join("ca.pem"));
        }
    }
    if case.gateway.keys {
        set("callers.keys_file", folder()?.join("keys.toml"));
    }
    Ok(settings)
}

/// Puts the client's part into the options of a job: files in the place of `ca` and
/// `client_certificate`, the key in the place of `good`.
pub(crate) fn put_into(options: &mut Map<String, Value>, case: &Case) -> Result<(), String> {
    if options.get("api_key").is_some_and(|key| key == "good") && case.gateway.keys {
        let key = folder()?.join("key");
        let key = fs::read_to_string(&key).map_err(|error| error.to_string())?;
        options.insert("api_key".to_owned(), json!(key.trim()));
    }
    let said = match options.remove("tls") {
        Some(Value::Object(said)) => said,
        // Said to be none.
        Some(Value::Null) => return Ok(()),
        None if case.gateway.tls.is_some() => Map::new(),
        None => return Ok(()),
        Some(other) => return Err(format!("tls: {other} is neither an object nor null")),
    };
    let mut tls = Map::new();
    let file = |name: &str| folder().map(|folder| json!(folder.join(name)));
    match said.get("ca").and_then(Value::as_str) {
        None => tls.insert("ca_file".to_owned(), file("ca.pem")?),
        Some("other") => tls.insert("ca_file".to_owned(), file("other-ca.pem")?),
        Some("system") => None,
        Some(other) => return Err(format!("tls.ca: there is no {other}")),
    };
    let pair = match said.get("client_certificate") {
        None => None,
        Some(Value::Bool(true)) => Some("client"),
        Some(Value::String(other)) if other == "other" => Some("other-client"),
        Some(other) => return Err(format!("tls.client_certificate: there is no {other}")),
    };
    if let Some(name) = pair {
        tls.insert("cert_file".to_owned(), file(&format!("{name}.pem"))?);
        tls.insert("key_file".to_owned(), file(&format!("{name}.key"))?);
    }
    if let Some(name) = said.get("server_name") {
        tls.insert("server_name".to_owned(), name.clone());
    }
    options.insert("tls".to_owned(), Value::Object(tls));
    Ok(())
}

/// Where they are, made at the first call.
fn folder() -> Result<PathBuf, String> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = place::made().join("certificates");
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(told)?;
        let lock = File::create(folder.join("lock")).map_err(told)?;
        lock.lock().map_err(told)?;
        if !folder.join("done").exists() {
            write_certificates(&folder)?;
            write_keys(&folder)?;
            fs::write(folder.join("done"), "").map_err(told)?;
        }
        Ok(folder)
    })
    .clone()
}

fn write_keys(folder: &Path) -> Result<(), String> {
    let file = folder.join("keys.toml");
    // What a run that was broken off has left would make a second key of the same name.
    let _gone = fs::remove_file(&file);
    let mut command = Command::new(place::gateway());
    command
        .args(["keys", "new", "--name", "suite", "--file"])
        .arg(file)
        .env_clear();
    let said = ask(&mut command, b"", KEYS_LIMIT)?;
    if said.code != Some(0) {
        return Err(format!("dashgate keys new: {}", said.told()));
    }
    fs::write(folder.join("key"), said.out).map_err(|error| error.to_string())
}

fn write_certificates(folder: &Path) -> Result<(), String> {
    let write = || -> Result<(), Box<dyn std::error::Error>> {
        for (authority, prefix) in [
            ("Authority of the suite", ""),
            ("Another authority", "other-"),
        ] {
            let mut wanted = params(authority, KeyUsagePurpose::KeyCertSign);
            wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate()?;
            let pem = wanted.self_signed(&key)?.pem();
            fs::write(folder.join(format!("{prefix}ca.pem")), pem)?;
            let issuer = Issuer::new(wanted, key);
            for (name, usage) in [
                ("server", ExtendedKeyUsagePurpose::ServerAuth),
                ("client", ExtendedKeyUsagePurpose::ClientAuth),
            ] {
                let mut wanted = params(name, KeyUsagePurpose::DigitalSignature);
                wanted.extended_key_usages = vec![usage];
                wanted.subject_alt_names = vec![
                    SanType::DnsName(SERVER_NAME.try_into()?),
                    SanType::DnsName("localhost".try_into()?),
                    SanType::IpAddress("127.0.0.1".parse()?),
                ];
                let key = KeyPair::generate()?;
                let pem = wanted.signed_by(&key, &issuer)?.pem();
                fs::write(folder.join(format!("{prefix}{name}.pem")), pem)?;
                fs::write(
                    folder.join(format!("{prefix}{name}.key")),
                    key.serialize_pem(),
                )?;
            }
        }
        Ok(())
    };
    write().map_err(|error| format!("certificates: {error}"))
}

fn params(name: &str, usage: KeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2054, 1, 1);
    params
}
