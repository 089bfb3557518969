//! The rules of the house, kept by a test. `docs/architecture.md` says what they are for.
//!
//! The trials beside the rules test the rules: each of them on a text that breaks it.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot read the project has to fail"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "tidy/behaviour.rs"]
mod behaviour;
#[path = "tidy/client_comments.rs"]
mod client_comments;
#[path = "tidy/fault.rs"]
mod fault;
#[path = "tidy/form.rs"]
mod form;
#[path = "tidy/form_trials.rs"]
mod form_trials;
#[path = "tidy/formatting.rs"]
mod formatting;
#[path = "tidy/generated.rs"]
mod generated;
#[path = "tidy/house_trials.rs"]
mod house_trials;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/owners.rs"]
mod owners;
#[path = "tidy/papers.rs"]
mod papers;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/table.rs"]
mod table;
#[path = "tidy/wording.rs"]
mod wording;

use fault::Fault;
use paths::BESIDE;
use source::Source;

/// The code that is generated from the schema.
const GENERATED: &str = "src/grpc/generated/";

#[test]
fn every_file_is_in_form() {
    let project = Project::read();
    let mut faults: Vec<Fault> = project.sources().iter().flat_map(form::faults).collect();
    for (path, text) in project.with_ending(".proto") {
        faults.extend(form::widths(path, text));
    }
    none(&faults);
}

#[test]
fn every_package_is_formatted() {
    let project = Project::read();
    let packages = project.with_ending("Cargo.toml").map(|(path, _)| path);
    let faults = formatting::faults(Path::new(env!("CARGO_MANIFEST_DIR")), packages);
    assert!(faults.is_empty(), "run cargo fmt\n{}", faults.join("\n"));
}

#[test]
fn every_room_keeps_to_its_table() {
    let project = Project::read();
    let crates = project.crates(&["dependencies"]);
    let mut faults = rooms::owners(&crates);
    faults.extend(rooms::unused(&project.sources(), &crates));
    faults.extend(rooms::faults(&project.sources(), &crates));
    for root in BESIDE {
        faults.extend(rooms::circles_beside(&project.sources_in(root)));
    }
    none(&faults);
}

#[test]
fn the_map_is_true() {
    let project = Project::read();
    let map = project.text("docs/architecture.md").unwrap_or_default();
    none(&papers::map(
        map,
        &project.folders(),
        &project.dependencies(&["dependencies", "build-dependencies", "dev-dependencies"]),
    ));
}

#[test]
fn the_lints_are_on() {
    none(&papers::lints(&Project::read().manifest()));
}

#[test]
fn the_layout_lists_every_module() {
    let project = Project::read();
    none(&manifest::layout(
        project.text("src/lib.rs").unwrap_or_default(),
    ));
}

#[test]
fn what_is_shipped_is_optimized() {
    none(&manifest::profiles(&Project::read().manifest()));
}

#[test]
fn both_readmes_have_the_same_commands() {
    let project = Project::read();
    none(&papers::commands(
        project.text("README.md"),
        project.text("README.zh-CN.md"),
    ));
}

#[test]
fn the_generated_code_is_that_of_the_schema() {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    // What an earlier run left there would count.
    let _ = fs::remove_dir_all(&fresh);
    dashgate_codegen::generate(&dashgate_codegen::schema(), &fresh).expect("the schema compiles");
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(GENERATED);
    let faults = generated::faults(&fresh, &committed);
    assert!(
        faults.is_empty(),
        "run cargo run --package dashgate-codegen\n{}",
        faults.join("\n")
    );
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let project = Project::read();
    let page = project.text(behaviour::PAGE).unwrap_or_default();
    none(&behaviour::faults(page, |file| project.text(file)));
}

#[test]
fn the_change_log_has_this_version() {
    let project = Project::read();
    let log = project.text("CHANGELOG.md").unwrap_or_default();
    none(&papers::changes(log, env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_tracked_file_has_a_forbidden_word() {
    let project = Project::read();
    let mut faults = Vec::new();
    for (path, text) in &project.files {
        // Written by cargo, it names the place that every crate comes from.
        if !path.ends_with("Cargo.lock") {
            faults.extend(papers::words(path, text));
        }
    }
    none(&faults);
}

#[test]
fn texts_use_the_terms_of_the_field() {
    let project = Project::read();
    let mut faults: Vec<Fault> = project
        .files
        .iter()
        .filter(|(path, _)| wording::is_checked(path))
        .flat_map(|(path, text)| wording::page(path, text))
        .collect();
    faults.extend(project.sources().iter().flat_map(wording::literals));
    faults.extend(project.sources().iter().flat_map(wording::comments));
    let files = project.files.iter();
    faults.extend(files.flat_map(|(path, text)| client_comments::faults(path, text)));
    none(&faults);
}

#[test]
fn help_uses_the_terms_of_the_field() {
    let mut faults = Vec::new();
    let mut left = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let help = help(&command);
        let title = format!("dashgate {} --help", command.join(" "));
        faults.extend(wording::check(&title, 0, &help));
        seen += 1;
        let commands = help.split_once("\nCommands:\n").unwrap_or_default().1;
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap_or_default();
            // Further lines of a description are indented more.
            if !name.is_empty() && name != "help" && !line.starts_with("   ") {
                left.push([command.as_slice(), &[name.to_owned()]].concat());
            }
        }
    }
    assert!(seen > 12, "{seen} commands");
    none(&faults);
}

fn help(command: &[String]) -> String {
    let help = Command::new(env!("CARGO_BIN_EXE_dashgate"))
        .args(command)
        .arg("--help")
        .output()
        .expect("the program runs");
    assert!(help.status.success(), "{command:?}: {help:?}");
    String::from_utf8(help.stdout).expect("help is UTF-8")
}

/// Each broken rule once, with its places below it.
fn none(faults: &[Fault]) {
    let mut report = String::new();
    let mut rules: Vec<&'static fault::Rule> = Vec::new();
    for fault in faults {
        if !rules.contains(&fault.rule) {
            rules.push(fault.rule);
        }
    }
    for rule in rules {
        report.push_str(&format!("\n{rule}\n"));
        for fault in faults.iter().filter(|fault| fault.rule == rule) {
            report.push_str(&format!("  {fault}\n"));
        }
    }
    assert!(faults.is_empty(), "{} faults\n{report}", faults.len());
}

/// The tracked files that are text.
struct Project {
    files: Vec<(String, String)>,
}

impl Project {
    fn read() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        // What is not committed yet counts as well, unless it is ignored.
        let list = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(top)
            .output()
            .expect("git lists the files");
        assert!(list.status.success(), "git ls-files failed: {list:?}");
        let list = String::from_utf8(list.stdout).expect("names are UTF-8");
        let read = |path: &str| Some((path.to_owned(), fs::read_to_string(top.join(path)).ok()?));
        let files: Vec<_> = list.split_terminator('\0').filter_map(read).collect();
        assert!(files.len() > 20, "only {} files were found", files.len());
        Self { files }
    }

    fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|(name, _)| name == path);
        file.map(|(_, text)| text.as_str())
    }

    fn with_ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        let files = self
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(move |(path, _)| path.ends_with(ending))
    }

    /// The server's own Rust; the clients and the fuzzers are crates of their own, and generated
    /// code has the form of its generator.
    fn sources(&self) -> Vec<Source> {
        let ours = |(path, _): &(&str, &str)| {
            let mut others = ["clients/", "fuzz/", GENERATED].iter();
            !others.any(|folder| path.starts_with(folder))
        };
        let parse = |(path, text)| Source::parse(path, text).expect("it compiles, so it parses");
        let mut sources: Vec<Source> = self.with_ending(".rs").filter(ours).map(parse).collect();
        source::leave_out_test_files(&mut sources);
        sources
    }

    fn sources_in(&self, root: &str) -> Vec<Source> {
        let ours = |(path, _): &(&str, &str)| path.starts_with(root);
        let parse = |(path, text)| Source::parse(path, text).expect("it compiles, so it parses");
        let mut sources: Vec<Source> = self.with_ending(".rs").filter(ours).map(parse).collect();
        source::leave_out_test_files(&mut sources);
        assert!(!sources.is_empty(), "{root} has no files");
        sources
    }

    fn folders(&self) -> BTreeSet<String> {
        let folder = |(path, _): (&str, &str)| {
            let parent = PathBuf::from(path).parent()?.to_str()?.to_owned();
            parent.starts_with("src/").then(|| format!("{parent}/"))
        };
        self.with_ending(".rs").filter_map(folder).collect()
    }

    fn dependencies(&self, tables: &[&str]) -> BTreeSet<String> {
        let manifest = self.manifest();
        let named = tables
            .iter()
            .filter_map(|table| manifest.get(*table)?.as_table());
        named.flat_map(|table| table.keys().cloned()).collect()
    }

    fn manifest(&self) -> toml::Table {
        let manifest = self.text("Cargo.toml").expect("there is a Cargo.toml");
        manifest.parse().expect("cargo could read it")
    }

    fn crates(&self, tables: &[&str]) -> BTreeSet<String> {
        let names = self.dependencies(tables).into_iter();
        names.map(|name| name.replace('-', "_")).collect()
    }
}
