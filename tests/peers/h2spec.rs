//! h2spec, which holds a server to every sentence of HTTP/2. What it finds is compared, name by
//! name, to the list in `docs/security.md`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::certificates::{Authority, Folder};
use super::judge::{equal, holds};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// It runs for some seconds, and waits longer where it is disappointed.
const LIMIT: Duration = Duration::from_secs(180);

/// How many cases there are, so that none is lost.
const CASES_IN_ALL: usize = 146;

/// How long the headers of its large frames are. It makes a frame of five and takes that for one
/// that is too large; of its own 4,000 letters it is, for a server with HTTP/2's default of 16 KiB.
const LONG: &str = "24000";

const PAGE: &str = include_str!("../../docs/security.md");

pub(crate) const CASES: &[Case] = &[
    ("h2spec_finds_what_is_listed", Tool::H2spec, in_the_clear),
    ("h2spec_finds_nothing_over_tls", Tool::H2spec, over_tls),
];

fn in_the_clear(h2spec: &Path) -> Result<(), String> {
    judge(h2spec, &Server::gateway()?, &[], listed()?)
}

fn over_tls(h2spec: &Path) -> Result<(), String> {
    let (authority, folder) = (Authority::new("the authority"), Folder::new());
    let (certificate, key) = folder.pair("server", &authority.server("the gateway"));
    let settings = [
        format!("server.tls.certificate={}", certificate.display()),
        format!("server.tls.key={}", key.display()),
    ];
    let server = Server::gateway_with("127.0.0.1:0", &settings)?;
    // ALPN has chosen HTTP/2 there, so that nothing is taken for HTTP/1.1.
    judge(h2spec, &server, &["--tls", "--insecure"], BTreeSet::new())
}

fn judge(
    h2spec: &Path,
    server: &Server,
    more: &[&str],
    expected: BTreeSet<String>,
) -> Result<(), String> {
    let (_, port) = server
        .address()
        .rsplit_once(':')
        .ok_or("there is no port")?;
    let mut command = Command::new(h2spec);
    command.args([
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--strict",
        "--timeout",
        "5",
        "--max-header-length",
        LONG,
    ]);
    let said = ask(command.args(more), LIMIT)?;
    let total = format!("{CASES_IN_ALL} tests, ");
    holds(&total, said.out.contains(&total), &said)?;
    holds(
        "none is skipped",
        said.out.contains(" 0 skipped, "),
        &said.out,
    )?;
    equal("what fails", failures(&said.out), expected)
}

/// The names of what failed: the section and the sentence.
fn failures(out: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    let (_, failures) = out.split_once("Failures:").unwrap_or_default();
    for line in failures.lines().map(str::trim) {
        if let Some(case) = line.strip_prefix("× ") {
            let case = case.split_once(": ").map_or(case, |(_, sentence)| sentence);
            found.insert(format!("{section} {case}"));
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            section = line.split_once(' ').map_or(line, |(number, _)| number);
        }
    }
    found
}

/// The rows of the page that begin with the number of a section.
fn listed() -> Result<BTreeSet<String>, String> {
    let (_, list) = PAGE
        .split_once("## h2spec conformance")
        .ok_or("the page has no list")?;
    let first = |line: &str| Some(line.strip_prefix("| ")?.split_once(" |")?.0.to_owned());
    let numbered = |name: &String| name.starts_with(|first: char| first.is_ascii_digit());
    Ok(list.lines().filter_map(first).filter(numbered).collect())
}
