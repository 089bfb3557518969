//! A real Chromium without a window, which opens the example page of the TypeScript client.
//!
//! The page calls by gRPC-Web from an origin of its own. What it must show is written where the
//! page is, in TypeScript: `clients/typescript/tests/browser`. Here it is given the binary and the
//! browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::process::ask;
use super::tools::Tool;

/// With nothing cached, npm and the compiler take most of it.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) const CASES: &[Case] = &[("chromium_hears_an_answer", Tool::Chromium, hears)];

fn hears(chromium: &Path) -> Result<(), String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(top.join("clients/typescript/dev"));
    command
        .args(["browser", env!("CARGO_BIN_EXE_dashgate")])
        .env("DASHGATE_CHROMIUM", chromium);
    let said = ask(&mut command, LIMIT)?;
    // Without a test that ran, an exit code of zero says nothing.
    let ran = said.out.contains("# pass ") && !said.out.contains("# pass 0");
    if said.code == Some(0) && ran {
        return Ok(());
    }
    Err(format!(
        "the page failed with {:?}\n{}\n{}",
        said.code, said.out, said.err
    ))
}
