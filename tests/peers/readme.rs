//! The recipes of the README and of docs/recipes.md, as they stand there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Case;
use super::judge::{equal, holds};
use super::process::{Said, ask};
use super::server::Server;
use super::tools::Tool;

/// No recipe takes long; Python takes its time to import.
const LIMIT: Duration = Duration::from_secs(120);

/// The page with the longer recipes.
const PAGE: &str = "docs/recipes.md";

/// Where the recipes start the gateway and the emulator.
const GATEWAY: &str = "localhost:50051";
const EMULATOR: &str = "127.0.0.1:8089";

pub(crate) const CASES: &[Case] = &[
    (
        "readme_recipes_for_grpcurl_work",
        Tool::Grpcurl,
        |grpcurl| recipes("README.md", grpcurl, "grpcurl -plaintext", 2),
    ),
    ("readme_recipes_in_chinese_work", Tool::Grpcurl, |grpcurl| {
        recipes("README.zh-CN.md", grpcurl, "grpcurl -plaintext", 2)
    }),
    ("recipes_for_grpcurl_work", Tool::Grpcurl, |grpcurl| {
        recipes(PAGE, grpcurl, "grpcurl -plaintext", 5)
    }),
    ("recipes_for_buf_work", Tool::Buf, |buf| {
        recipes(PAGE, buf, "buf curl ", 1)
    }),
    (
        "recipe_for_generated_python_works",
        Tool::Python,
        generated_python,
    ),
    (
        "readme_recipe_for_the_python_client_works",
        Tool::Python,
        python_client,
    ),
    (
        "readme_recipe_for_the_sdk_works",
        Tool::Python,
        sdk_against_the_emulator,
    ),
];

/// Runs each block of commands that calls this tool, in a shell, as a reader would.
fn recipes(readme: &str, tool: &Path, call: &str, least: usize) -> Result<(), String> {
    let text = read(readme)?;
    let recipes: Vec<&str> = blocks(&text, "sh")
        .filter(|block| block.contains(call))
        .collect();
    holds("none got lost", recipes.len() >= least, &recipes)?;
    let server = Server::gateway()?;
    let folder = tool.parent().unwrap_or(tool).display();
    let ours = Path::new(env!("CARGO_BIN_EXE_dashgate"));
    let ours = ours.parent().unwrap_or(ours).display();
    for recipe in recipes {
        let script = recipe.replace(GATEWAY, server.address());
        let script = format!("PATH={folder}:{ours}:$PATH\n{script}");
        // `dashgate health` asks where this says.
        let said = shell(&script, &[("DASHGATE_ADDR", server.address())])?;
        holds("it prints something", !said.out.trim().is_empty(), recipe)?;
    }
    Ok(())
}

/// The packages are there already; the rest of the recipe is run as it stands.
fn generated_python(python: &Path) -> Result<(), String> {
    let text = read(PAGE)?;
    let recipe = blocks(&text, "sh").find(|block| block.contains("examples/ask.py"));
    let recipe = recipe.ok_or("the page has no recipe for examples/ask.py")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-python");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let server = Server::gateway()?;
    let mut script = String::new();
    for line in recipe.lines() {
        if line.contains(" -m venv ") || line.contains("/pip install ") {
            continue;
        }
        let line = line.replace("target/python/bin/python", &python.display().to_string());
        script.push_str(&line.replace("target/python", &folder.display().to_string()));
        script.push('\n');
    }
    let script = format!("{} {}", script.trim_end(), server.address());
    let said = shell(&script, &[("GRPC_VERBOSITY", "ERROR")])?;
    for words in ["embedded DashScope", "3.79 s", "107 tokens in"] {
        holds(words, said.out.contains(words), &said)?;
    }
    Ok(())
}

/// The client is imported from its folder; its dependencies are there already.
fn python_client(python: &Path) -> Result<(), String> {
    let text = read("README.md")?;
    let recipe = blocks(&text, "python").find(|block| block.contains("dashgate.Client()"));
    let recipe = recipe.ok_or("the README has no recipe for the Python client")?;
    let server = Server::gateway()?;
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .args(["-c", recipe])
        .env("PYTHONPATH", top.join("clients/python/src"))
        .env("DASHGATE_ADDR", server.address())
        .current_dir(top);
    let said = ask(&mut command, LIMIT)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    holds("it measures the audio", said.out.contains("3.79 s"), &said)
}

fn sdk_against_the_emulator(python: &Path) -> Result<(), String> {
    let text = read("README.md")?;
    let recipe = blocks(&text, "python").find(|block| block.contains(EMULATOR));
    let recipe = recipe.ok_or("the README has no recipe for the SDK")?;
    let server = Server::emulator()?;
    let mut command = Command::new(python);
    command
        .args(["-c", &recipe.replace(EMULATOR, server.address())])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = ask(&mut command, LIMIT)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| format!("{why}\n{}", said.err))?;
    holds("it hears the tone", said.out.contains("440 Hz"), &said)
}

/// Runs a script from the top of the project; a command that fails ends it.
fn shell(script: &str, variables: &[(&str, &str)]) -> Result<Said, String> {
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", script])
        .envs(variables.iter().copied())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = ask(&mut shell, LIMIT)?;
    equal("the exit code", said.code, Some(0))
        .map_err(|why| format!("{why} of\n{script}\n{}", said.err))?;
    Ok(said)
}

fn read(readme: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(readme);
    std::fs::read_to_string(path).map_err(|error| format!("{readme}: {error}"))
}

/// The blocks that are marked as this language.
fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    fenced.filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n'))
}
