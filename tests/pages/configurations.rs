//! What the pages show as a file of settings is one that can be used as it stands.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::certificates::{Authority, Folder};
use super::{READMES, fs, read, rows, words};

/// Where the pages keep files of the gateway.
const FOLDER: &str = "/etc/dashgate/";

/// Every block of TOML that is a file of settings, with the page that it stands on.
fn configurations() -> Vec<(String, String)> {
    let reference = read("docs/configuration.md");
    let sections: BTreeSet<_> = rows(&reference)
        .into_iter()
        .filter_map(|row| Some(words(row.first()?).first()?.split_once('.')?.0.to_owned()))
        .collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let docs = fs::read_dir(folder).expect("there are pages");
    let docs = docs.map(|entry| entry.expect("a page").file_name());
    let docs = docs.map(|name| format!("docs/{}", name.display()));
    let docs = docs.filter(|name| name.ends_with(".md"));
    let mut found = Vec::new();
    for page in READMES.map(str::to_owned).into_iter().chain(docs) {
        for block in read(&page).split("\n```toml\n").skip(1) {
            let block = block.split("\n```").next().expect("a first part");
            let table: toml::Table = block.parse().expect("it is TOML");
            // Files of keys and accounts are files of their own.
            if table.keys().all(|key| sections.contains(key)) {
                found.push((page.clone(), block.to_owned()));
            }
        }
    }
    found
}

fn dashgate(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    let home = folder.path("");
    command.env_clear().env("HOME", &home).current_dir(home);
    command
}

#[test]
fn every_file_of_settings_on_a_page_is_right_as_it_stands() {
    let all = configurations();
    let pages: BTreeSet<_> = all.iter().map(|(page, _)| page.as_str()).collect();
    for page in [
        "docs/callers.md",
        "docs/configuration.md",
        "docs/observability.md",
        "docs/recipes.md",
        "docs/security.md",
    ] {
        assert!(pages.contains(page), "{page}: no settings are found on it");
    }
    let folder = Folder::new();
    for (page, text) in all {
        let path = folder.write("dashgate.toml", &text);
        let checked = dashgate(&folder)
            .args(["config", "check", "--config"])
            .arg(path)
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{page}:\n{text}\n{said}");
    }
}

#[test]
fn a_gateway_with_the_tls_settings_of_a_page_starts() {
    let authority = Authority::new("callers");
    let mut started = 0;
    for (page, text) in configurations() {
        if !text.contains("client_ca") {
            continue;
        }
        let folder = Folder::new();
        let pair = authority.server("gateway");
        for (name, text) in [
            ("tls.crt", &*pair.certificate),
            ("tls.key", &pair.key),
            ("callers.crt", authority.pem()),
            ("server.pem", &pair.certificate),
            ("server.key", &pair.key),
            ("mesh.pem", authority.pem()),
        ] {
            folder.write(name, text);
        }
        let home = folder.path("");
        let text = text.replace(FOLDER, &format!("{}/", home.display()));
        let path = folder.write("dashgate.toml", &text);
        // The port of the page may be taken on this machine.
        let listen = match text.contains("0.0.0.0") {
            true => "0.0.0.0:0",
            false => "127.0.0.1:0",
        };
        let mut gateway = dashgate(&folder)
            .args(["serve", "--listen", listen, "--config"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut first = String::new();
        let stdout = gateway.stdout.take().expect("its output");
        let read = BufReader::new(stdout).read_line(&mut first);
        gateway.kill().expect("it is ours");
        let ended = gateway.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        let listens = read.is_ok() && first.starts_with("listening on ");
        assert!(listens, "{page}:\n{text}\n{said}");
        started += 1;
    }
    assert!(started >= 2, "{started} pages show TLS");
}
