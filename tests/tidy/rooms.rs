//! The rules that look at all files at once: floors, rooms, other people's crates, circles.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;

use super::fault::{Fault, Rule};
use super::owners::{IN_GENERATED_CODE, OWNERS};
use super::paths::{Name, Used, module_of, names};
use super::source::{Source, inside, word};
use super::table::MAY_KNOW;

static FLOOR: Rule = Rule {
    name: "room-table",
    why: "a room that knows only what it must can be read, tested and changed alone",
    fix: "move the line to the room that may know this, or hand the value over as plain data; \
           the table is in tests/tidy/table.rs and in docs/architecture.md",
};
static CRATE: Rule = Rule {
    name: "crate-owners",
    why: "each foreign crate has its rooms: what HTTP, gRPC or JSON changes then stays at one door",
    fix: "do it in a room that owns the crate; a new dependency gets a row in OWNERS",
};
static CIRCLE: Rule = Rule {
    name: "no-circles",
    why: "files that import each other can only be understood, tested and changed together",
    fix: "move what both need into a file below them",
};
static UNUSED: Rule = Rule {
    name: "unused-crate",
    why: "what nobody uses is still fetched, built, licensed and watched",
    fix: "take it out of Cargo.toml",
};
static LIB: Rule = Rule {
    name: "no-root-names",
    why: "a name is imported from the file that owns it, so lib.rs is a map and nothing else",
    fix: "leave `pub mod` lines there, and import from the owner",
};

/// Everything that is wrong between the files. `dependencies` are the crates that Cargo.toml names.
pub(crate) fn faults(sources: &[Source], dependencies: &BTreeSet<String>) -> Vec<Fault> {
    let ours: Vec<&Source> = sources
        .iter()
        .filter(|source| source.room().is_some())
        .collect();
    let files: BTreeMap<Vec<String>, &str> = ours
        .iter()
        .filter(|source| source.path != "src/main.rs")
        .map(|source| (module_of(&source.path), source.path.as_str()))
        .collect();
    let mut faults = Vec::new();
    let mut edges: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for source in &ours {
        let room = source.room().unwrap_or_default();
        if !["lib", "main"].contains(&room) && row(MAY_KNOW, room).is_none() {
            let found = format!("`{room}` is not in the table of rooms");
            faults.push(FLOOR.broken(&source.path, 0, found));
        }
        for used in names(source) {
            if room == "lib" {
                faults.push(LIB.broken(&source.path, used.line, format!("uses {:?}", used.name)));
                continue;
            }
            match &used.name {
                Name::Theirs(path) => faults.extend(foreign(source, &used, path, dependencies)),
                Name::Ours(path) => {
                    let owner = owner(&files, path);
                    faults.extend(known(source, &used, owner));
                    if let Some(file) = files.get(owner)
                        && *file != source.path
                    {
                        let line = edges.entry(&source.path).or_default();
                        line.entry(file).or_insert(used.line);
                    }
                }
            }
        }
    }
    faults.extend(circles(&edges));
    faults
}

/// The table of owners must be as complete as Cargo.toml, and no longer.
pub(crate) fn owners(dependencies: &BTreeSet<String>) -> Vec<Fault> {
    let ownerless = dependencies
        .iter()
        .filter(|name| row(OWNERS, name).is_none());
    let mut faults: Vec<Fault> = ownerless
        .map(|name| CRATE.broken("Cargo.toml", 0, format!("`{name}` has no row")))
        .collect();
    for (name, owners) in OWNERS {
        if !owners.contains(&"*") && !dependencies.contains(*name) {
            let found = format!("`{name}` has a row and is no dependency");
            faults.push(CRATE.broken("tests/tidy/table.rs", 0, found));
        }
    }
    faults
}

/// Every dependency must be named somewhere in the server's own code.
pub(crate) fn unused(sources: &[Source], dependencies: &BTreeSet<String>) -> Vec<Fault> {
    let mut words = BTreeSet::new();
    for source in sources.iter().filter(|source| source.room().is_some()) {
        all_words(&source.code, &mut words);
    }
    let unused = dependencies.iter().filter(|name| {
        !words.contains(name.as_str()) && !IN_GENERATED_CODE.contains(&name.as_str())
    });
    unused
        .map(|name| UNUSED.broken("Cargo.toml", 0, format!("`{name}`")))
        .collect()
}

fn all_words(tokens: &[TokenTree], words: &mut BTreeSet<String>) {
    for token in tokens {
        words.extend(word(token));
        if let TokenTree::Group(group) = token {
            all_words(&inside(group), words);
        }
    }
}

fn foreign(
    source: &Source,
    used: &Used,
    path: &[String],
    dependencies: &BTreeSet<String>,
) -> Option<Fault> {
    let name = path.first()?;
    if !dependencies.contains(name) {
        return None;
    }
    let room = source.room()?;
    let owners = row(OWNERS, name)?;
    let fine = owners.iter().any(|owner| *owner == "*" || *owner == room);
    (!fine).then(|| {
        let found = format!("`{room}` uses {}", path.join("::"));
        CRATE.broken(&source.path, used.line, found)
    })
}

fn known(source: &Source, used: &Used, owner: &[String]) -> Option<Fault> {
    let room = source.room()?;
    let (target, file) = (owner.first()?, owner.get(1));
    if target == room {
        return None;
    }
    let allowed = row(MAY_KNOW, room).unwrap_or_default();
    let fine = allowed.iter().any(|entry| match entry.split_once("::") {
        Some((of, "*")) => of == target,
        Some((of, part)) => of == target && file.is_some_and(|file| file == part),
        None => *entry == target && file.is_none(),
    });
    (!fine).then(|| {
        let found = format!("`{room}` uses crate::{}", owner.join("::"));
        FLOOR.broken(&source.path, used.line, found)
    })
}

/// The module that owns a path: the longest part of it that is a file.
fn owner<'a>(files: &BTreeMap<Vec<String>, &str>, path: &'a [String]) -> &'a [String] {
    let longest = (0..=path.len())
        .rev()
        .filter_map(|length| path.get(..length))
        .find(|part| files.contains_key(*part));
    // A room that is not there yet is still a room, so that the table holds for its first line.
    match longest {
        Some([]) | None => path.get(..1).unwrap_or_default(),
        Some(part) => part,
    }
}

fn row<'a, T: ?Sized>(table: &[(&str, &'a T)], name: &str) -> Option<&'a T> {
    table
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, row)| *row)
}

/// The circles of a crate beside the server.
pub(crate) fn circles_beside(sources: &[Source]) -> Vec<Fault> {
    let files: BTreeMap<Vec<String>, &str> = sources
        .iter()
        .map(|source| (module_of(&source.path), source.path.as_str()))
        .collect();
    let mut edges: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for source in sources {
        for used in names(source) {
            if let Name::Ours(path) = &used.name
                && let Some(file) = files.get(owner(&files, path))
                && *file != source.path
            {
                let lines = edges.entry(&source.path).or_default();
                lines.entry(file).or_insert(used.line);
            }
        }
    }
    circles(&edges)
}

/// Each circle once, named from the file where the walk met it.
fn circles(edges: &BTreeMap<&str, BTreeMap<&str, usize>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        walk(start, edges, &mut Vec::new(), &mut done, &mut faults);
    }
    faults
}

fn walk<'a>(
    at: &'a str,
    edges: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
    trail: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
    faults: &mut Vec<Fault>,
) {
    if done.contains(at) {
        return;
    }
    trail.push(at);
    for (next, line) in edges.get(at).into_iter().flatten() {
        if let Some(begin) = trail.iter().position(|file| file == next) {
            let circle = trail.get(begin..).unwrap_or_default();
            let found = format!("{} -> {next}", circle.join(" -> "));
            faults.push(CIRCLE.broken(at, *line, found));
        } else {
            walk(next, edges, trail, done, faults);
        }
    }
    trail.pop();
    done.insert(at);
}
