//! The recipes of the README, as they stand there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::{equal, holds};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// No recipe takes long.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the README has its reader start the server.
const ADDRESS: &str = "localhost:50051";

pub(crate) const CASES: &[Case] = &[
    (
        "readme_recipes_for_grpcurl_work",
        Tool::Grpcurl,
        |grpcurl| recipes("README.md", grpcurl),
    ),
    ("readme_recipes_in_chinese_work", Tool::Grpcurl, |grpcurl| {
        recipes("README.zh-CN.md", grpcurl)
    }),
];

/// Runs each block of commands that calls grpcurl, in a shell, as a reader would.
fn recipes(readme: &str, grpcurl: &Path) -> Result<(), String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(top.join(readme));
    let text = text.map_err(|error| format!("{readme}: {error}"))?;
    let recipes: Vec<&str> = blocks(&text)
        .filter(|block| block.contains("grpcurl -") && block.contains(ADDRESS))
        .collect();
    holds(
        "there are at least three recipes",
        recipes.len() >= 3,
        &recipes,
    )?;
    let server = Server::gateway()?;
    let folder = grpcurl.parent().unwrap_or(grpcurl).display();
    for recipe in recipes {
        let mut shell = Command::new("sh");
        let script = recipe.replace(ADDRESS, server.address());
        shell
            .args(["-euc", &format!("PATH={folder}:$PATH\n{script}")])
            .current_dir(top);
        let said = ask(&mut shell, LIMIT)?;
        equal("the exit code", said.code, Some(0))
            .map_err(|why| format!("{why} of\n{recipe}\n{}", said.err))?;
        holds("it prints something", !said.out.trim().is_empty(), recipe)?;
    }
    Ok(())
}

/// The blocks marked `sh`.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix("sh\n"))
}
