//! Where things are: the clients, the cases, the binary, and what is made on the way.

use std::path::{Path, PathBuf};

/// This repository.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of all clients: this repository's, or `DASHGATE_CLIENTS_FOLDER`.
pub(crate) fn clients() -> PathBuf {
    variable("DASHGATE_CLIENTS_FOLDER").map_or_else(|| top().join("clients"), PathBuf::from)
}

/// The folder of the cases.
pub(crate) fn cases() -> PathBuf {
    top().join("tests/conformance/cases")
}

/// A file that people are given as an example.
pub(crate) fn example(name: &str) -> PathBuf {
    top().join("examples").join(name)
}

/// The gateway: the one that was built beside this, or `DASHGATE_CLIENTS_GATEWAY`.
pub(crate) fn gateway() -> PathBuf {
    let other = variable("DASHGATE_CLIENTS_GATEWAY");
    other.map_or_else(|| env!("CARGO_BIN_EXE_dashgate").into(), PathBuf::from)
}

/// Below which the clients build: `target/clients` of the repository whose clients they are.
pub(crate) fn target() -> PathBuf {
    match variable("DASHGATE_CLIENTS_FOLDER") {
        Some(folder) => {
            let folder = std::path::absolute(&folder).unwrap_or(folder.into());
            folder.parent().unwrap_or(&folder).join("target/clients")
        }
        None => {
            let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
            temporary.parent().unwrap_or(temporary).join("clients")
        }
    }
}

/// What the suite makes for itself: media, scripts, certificates, an empty home.
pub(crate) fn made() -> PathBuf {
    target().join("suite")
}

/// Whether a language that cannot be tried is a fault.
pub(crate) fn all_are_required() -> bool {
    variable("DASHGATE_REQUIRE_CLIENTS").is_some_and(|clients| clients == "all")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the server"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
