//! Names on the pages exist in the code: metrics, settings, environment variables, error reasons.

use std::collections::BTreeSet;

use dashgate::config::all_settings;
use dashgate::error::Reason;

use super::sight::metric_names;
use super::{READMES, fs, read, words};

/// Pages outside docs/ whose names are checked. CHANGELOG.md also lists names that are gone.
const OTHER_PAGES: [&str; 5] = [
    "SECURITY.md",
    "CONTRIBUTING.md",
    "clients/README.md",
    "clients/DESIGN.md",
    "deploy/README.md",
];

/// Names in capital letters that are defined elsewhere: gRPC, HTTP/2, common tools, the clients.
const ELSEWHERE: [&str; 19] = [
    "CARGO_REGISTRY_TOKEN",
    "CLIENT_CLOSED",
    "DASHGATE_CLIENTS_TARGET",
    "DASHGATE_CONFIG",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "MIXED_LOAD_MINUTES",
    "NOT_FOUND",
    "NOT_SERVING",
    "NO_COLOR",
    "RESOURCE_EXHAUSTED",
    "RST_STREAM",
    "SSL_CERT_FILE",
    "STREAM_IDLE",
    "MAVEN_GPG_PASSPHRASE",
    "NODE_AUTH_TOKEN",
    "OUTPUT_INVALID",
    "TOOL_ROUNDS",
    "TWINE_PASSWORD",
];

/// Attributes of spans whose first word is also a section of the settings.
const ATTRIBUTES: [&str; 2] = ["server.address", "server.port"];

/// Every page whose names are checked.
pub(crate) fn pages() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let docs = fs::read_dir(folder).expect("there is a folder of pages");
    let docs = docs.map(|entry| entry.expect("an entry of it").file_name());
    let docs = docs.map(|name| format!("docs/{}", name.display()));
    let mut pages: Vec<_> = docs.filter(|name| name.ends_with(".md")).collect();
    pages.sort_unstable();
    pages.extend(READMES.iter().chain(&OTHER_PAGES).map(ToString::to_string));
    pages
}

#[test]
fn every_metric_on_a_page_exists() {
    let mut seen = 0;
    for page in pages() {
        if page.starts_with("clients/") {
            continue;
        }
        seen += metric_names(&page, &read(&page)).len();
    }
    assert!(seen > 50, "{seen} metrics");
}

#[test]
fn every_setting_on_a_page_exists() {
    let sections: BTreeSet<_> = all_settings::ALL
        .iter()
        .filter_map(|setting| Some(setting.key.split_once('.')?.0))
        .collect();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for word in words(&text) {
            let letter = |byte: u8| byte.is_ascii_lowercase() || b"._".contains(&byte);
            let Some((section, _)) = word.split_once('.') else {
                continue;
            };
            if !sections.contains(section) || !word.bytes().all(letter) {
                continue;
            }
            let group = format!("{word}.");
            let found = all_settings::ALL
                .iter()
                .any(|setting| setting.key == word || setting.key.starts_with(&group));
            assert!(
                found || ATTRIBUTES.contains(&word),
                "{page}: no setting {word}"
            );
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen} settings");
}

#[test]
fn every_reason_and_variable_on_a_page_exists() {
    let loud = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/dashgate/v1");
    let files = fs::read_dir(folder).expect("there is a schema");
    let schema: String = files
        .map(|entry| fs::read_to_string(entry.expect("a file").path()).expect("it is text"))
        .collect();
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for word in words(&text) {
            if !word.contains('_') || !word.chars().all(loud) || word.starts_with('_') {
                continue;
            }
            let known = Reason::ALL.iter().any(|reason| reason.name() == word)
                || all_settings::ALL
                    .iter()
                    .any(|setting| setting.variable == word)
                || word.ends_with("_PROXY")
                || ELSEWHERE.contains(&word)
                || schema.contains(word);
            assert!(known, "{page}: no reason or variable {word}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} names");
}
