//! The rules for what is no code: documents, the change log, words that must not be there.

use std::collections::BTreeSet;

use super::fault::{Fault, Rule};

static MAP: Rule = Rule {
    name: "architecture",
    why: "a map that leaves out a room, or names one that is gone, leads astray",
    fix: "one line in docs/architecture.md for each folder of src/ and each direct dependency",
};
static COMMANDS: Rule = Rule {
    name: "readme-commands",
    why: "both READMEs must lead to the same place",
    fix: "make the sh and console blocks equal; lines that begin with # may differ",
};
static LINTS: Rule = Rule {
    name: "lints",
    why: "clippy sees what no reader of tokens can: what is indexed, what is awaited under a lock",
    fix: "deny it in Cargo.toml; an exception is an #[expect] at its place",
};
static CHANGES: Rule = Rule {
    name: "changelog",
    why: "a version without an entry is a version nobody can judge",
    fix: "add a `## [version]` heading to CHANGELOG.md",
};
static WORDS: Rule = Rule {
    name: "forbidden-words",
    why: "the project is whole, and the same on every machine",
    fix: "finish the work, or say it without the word",
};

/// Cut in two, so that this file passes its own rule.
const ANYWHERE: [&str; 16] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tm", "p/"),
    concat!("/opt/whe", "els"),
    concat!("artifac", "tory"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npm", "js.org"),
    concat!("registry.npm", "mirror.com"),
    concat!("files.python", "hosted.org"),
    concat!("pypi", ".org/simple"),
    concat!("proxy.gol", "ang.org"),
    concat!("sum.gol", "ang.org"),
    concat!("goproxy", ".cn"),
    concat!("repo1.mav", "en.org"),
];

/// Only as whole words; the last one in small letters too.
const ALONE: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("st", "ub"),
];

/// Where code is generated for callers it is gRPC's own word for that.
const OF_GRPC: &str = concat!("st", "ub");
const CALLERS: [&str; 3] = ["clients/", "examples/languages/", "docs/other-languages.md"];

/// Places and marks that no tracked file may hold.
pub(crate) fn words(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut found = ANYWHERE.iter().filter(|word| line.contains(**word));
        if let Some(word) = found.next() {
            faults.push(WORDS.broken(path, at + 1, format!("`{word}`")));
        }
        let whole = |part: &str| {
            ALONE.iter().find(|word| {
                if **word == OF_GRPC && CALLERS.iter().any(|of| path.starts_with(of)) {
                    return false;
                }
                part == **word
                    || (word.chars().all(char::is_lowercase) && part.to_lowercase() == **word)
            })
        };
        let mut parts = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if let Some(word) = parts.find_map(whole) {
            faults.push(WORDS.broken(path, at + 1, format!("`{word}`")));
        }
    }
    faults
}

/// The map must name what is there, each on a line of its own, and nothing that is not.
pub(crate) fn map(
    text: &str,
    folders: &BTreeSet<String>,
    dependencies: &BTreeSet<String>,
) -> Vec<Fault> {
    const FILE: &str = "docs/architecture.md";
    let mut faults = Vec::new();
    let named: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at + 1, line.strip_prefix("- `")?.split_once('`')?.0)))
        .collect();
    for folder in folders {
        if !named.iter().any(|(_, name)| name == folder) {
            faults.push(MAP.broken(FILE, 0, format!("no line \"- `{folder}` ...\"")));
        }
    }
    for dependency in dependencies {
        if !named.iter().any(|(_, name)| name == dependency) {
            faults.push(MAP.broken(FILE, 0, format!("no line \"- `{dependency}` ...\"")));
        }
    }
    for (line, name) in named {
        let stale = if name.starts_with("src/") && name.ends_with('/') {
            !folders.contains(name)
        } else {
            let letters = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            name.starts_with(char::is_alphabetic)
                && name.chars().all(letters)
                && !dependencies.contains(name)
        };
        if stale {
            faults.push(MAP.broken(FILE, line, format!("`{name}` is not there")));
        }
    }
    faults
}

const DENIED: [&str; 18] = [
    "rust.missing_docs",
    "rust.unreachable_pub",
    "clippy.allow_attributes_without_reason",
    "clippy.await_holding_lock",
    "clippy.dbg_macro",
    "clippy.exit",
    "clippy.expect_used",
    "clippy.indexing_slicing",
    "clippy.large_futures",
    "clippy.panic",
    "clippy.print_stderr",
    "clippy.print_stdout",
    "clippy.todo",
    "clippy.too_many_lines",
    "clippy.unimplemented",
    "clippy.unwrap_used",
    "clippy.wildcard_enum_match_arm",
    "rust.unsafe_code",
];

/// The lints that the rules rely on must be on.
pub(crate) fn lints(manifest: &toml::Table) -> Vec<Fault> {
    let mut faults = Vec::new();
    for lint in DENIED {
        let level = lint.split_once('.').and_then(|(tool, name)| {
            let tables = manifest.get("lints")?.as_table()?;
            tables.get(tool)?.as_table()?.get(name)?.as_str()
        });
        if !matches!(level, Some("deny" | "forbid")) {
            let found = format!("{lint} is {level:?}");
            faults.push(LINTS.broken("Cargo.toml", 0, found));
        }
    }
    faults
}

/// The commands of both READMEs, block by block.
pub(crate) fn commands(english: Option<&str>, chinese: Option<&str>) -> Vec<Fault> {
    const FILE: &str = "README.zh-CN.md";
    let (english, chinese) = match (english, chinese) {
        (Some(english), Some(chinese)) => (blocks(english), blocks(chinese)),
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec![COMMANDS.broken(FILE, 0, "is missing")],
        (None, Some(_)) => return vec![COMMANDS.broken("README.md", 0, "is missing")],
    };
    let mut faults = Vec::new();
    if english.len() != chinese.len() {
        let found = format!("{} blocks, README.md has {}", chinese.len(), english.len());
        faults.push(COMMANDS.broken(FILE, 0, found));
    }
    for ((_, here), (line, there)) in english.iter().zip(&chinese) {
        if here != there {
            let found = format!("{there:?} is {here:?} in README.md");
            faults.push(COMMANDS.broken(FILE, *line, found));
        }
    }
    faults
}

/// The blocks of commands in a document, each with its line, without their comments.
fn blocks(text: &str) -> Vec<(usize, Vec<&str>)> {
    let mut blocks: Vec<(usize, Vec<&str>)> = Vec::new();
    let mut fence: Option<bool> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let opens = fence.is_none();
            let commands = matches!(language, "sh" | "bash" | "console");
            fence = opens.then_some(commands);
            if opens && commands {
                blocks.push((at + 1, Vec::new()));
            }
        } else if fence == Some(true)
            && !line.starts_with('#')
            && let Some((_, block)) = blocks.last_mut()
        {
            block.push(line);
        }
    }
    blocks
}

/// The change log must know the version that Cargo.toml has.
pub(crate) fn changes(text: &str, version: &str) -> Vec<Fault> {
    let heading = format!("## [{version}]");
    if text.lines().any(|line| line.starts_with(&heading)) {
        return Vec::new();
    }
    vec![CHANGES.broken("CHANGELOG.md", 0, format!("no heading {heading}"))]
}
