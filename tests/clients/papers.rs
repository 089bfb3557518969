//! What is written down must be true: code in a README, and code that was generated.

use std::fs;
use std::path::{Path, PathBuf};

use super::language::Language;
use super::place;

/// Blocks in these languages are programs, and come from an example. Others are commands or files.
const CODE: [&str; 9] = [
    "rust",
    "python",
    "py",
    "go",
    "ts",
    "typescript",
    "js",
    "java",
    "cpp",
];

/// Each block of code in a language's README is a region of one of its examples.
pub(crate) fn readme(language: Language) -> Result<(), String> {
    let folder = language.folder();
    let text = read(&folder.join("README.md"))?;
    let blocks = blocks(&text)?;
    if blocks.is_empty() {
        return Err("there is no code in README.md".to_owned());
    }
    let mut faults = Vec::new();
    for block in &blocks {
        let (file, name) = (&block.file, &block.region);
        let there = read(&folder.join("examples").join(file))
            .and_then(|text| region(&text, name).map_err(|why| format!("{file}: {why}")));
        match there {
            Ok(there) if there == plain(&block.lines) => {}
            Ok(there) => faults.push(format!(
                "line {}: it differs from examples/{file}#{name}, which is\n{}",
                block.line,
                there.join("\n")
            )),
            Err(why) => faults.push(format!("line {}: {why}", block.line)),
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(faults.join("\n")),
    }
}

/// Generated code that is committed is what the schema makes today.
pub(crate) fn generated(language: Language) -> Result<(), String> {
    let fresh = place::made().join(format!("generated-{}", language.name));
    // What an earlier schema made must not be there any more.
    let _gone = fs::remove_dir_all(&fresh);
    let told = |error: std::io::Error| format!("{}: {error}", fresh.display());
    fs::create_dir_all(&fresh).map_err(told)?;
    language.builds(&["generate", &fresh.display().to_string()], None)?;
    let made = files(&fresh)?;
    if made.is_empty() {
        return Err("./dev generate FOLDER makes nothing there".to_owned());
    }
    let there = files(&language.folder())?;
    let mut faults = Vec::new();
    for path in made {
        let text = read(&fresh.join(&path))?;
        let mut same_name = there.iter().filter(|file| file.ends_with(&path));
        let equal = |file: &PathBuf| {
            read(&language.folder().join(file)).is_ok_and(|committed| committed == text)
        };
        if !same_name.any(equal) {
            faults.push(format!("{} is not what is committed", path.display()));
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        faults => Err(format!("{}\nrun ./dev generate", faults.join("\n"))),
    }
}

/// A block of code, and where it says that it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    line: usize,
    file: String,
    region: String,
    lines: Vec<String>,
}

/// The blocks of code in a text.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut origin = None;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(place) = line.trim().strip_prefix("<!-- from examples/") {
            origin = place.strip_suffix(" -->").and_then(|it| it.split_once('#'));
            continue;
        }
        let Some(fence) = line.trim_start().strip_prefix("```") else {
            if !line.trim().is_empty() {
                origin = None;
            }
            continue;
        };
        let block = lines.by_ref().map(|(_, line)| line);
        let block = block.take_while(|line| !line.trim_start().starts_with("```"));
        let block: Vec<String> = block.map(str::to_owned).collect();
        let word = fence.split([',', ' ']).next().unwrap_or_default();
        match origin.take() {
            Some((file, region)) => blocks.push(Block {
                line: at + 1,
                file: file.to_owned(),
                region: region.to_owned(),
                lines: block,
            }),
            None if CODE.contains(&word) => {
                let must = "<!-- from examples/FILE#REGION -->";
                return Err(format!("line {}: a block of {word} without {must}", at + 1));
            }
            None => {}
        }
    }
    Ok(blocks)
}

/// The lines of a region, without its markers.
pub(crate) fn region(text: &str, name: &str) -> Result<Vec<String>, String> {
    let marker = |line: &str| {
        let mut words = line.split_whitespace();
        let (_, word, name) = (words.next(), words.next(), words.next());
        (word.map(str::to_owned), name.map(str::to_owned))
    };
    let begins = |line: &&str| marker(line) == (Some("region".to_owned()), Some(name.to_owned()));
    let is_marker = |line: &str| {
        let (word, _) = marker(line);
        word.is_some_and(|word| word == "region" || word == "endregion")
    };
    let mut lines = text.lines().skip_while(|line| !begins(line)).skip(1);
    let mut depth = 1;
    let mut inside = Vec::new();
    for line in lines.by_ref() {
        match marker(line).0.as_deref() {
            Some("region") => depth += 1,
            Some("endregion") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(plain(&inside));
        }
        if !is_marker(line) {
            inside.push(line.to_owned());
        }
    }
    Err(format!("there is no region {name}, or it does not end"))
}

/// Without what is only layout: common indentation, spaces at the end, empty lines around it.
fn plain(lines: &[String]) -> Vec<String> {
    let indent = |line: &String| line.len() - line.trim_start().len();
    let said = lines.iter().filter(|line| !line.trim().is_empty());
    let common = said.map(indent).min().unwrap_or(0);
    let mut plain: Vec<String> = lines
        .iter()
        .map(|line| line.get(common..).unwrap_or_default().trim_end().to_owned())
        .skip_while(String::is_empty)
        .collect();
    while plain.last().is_some_and(String::is_empty) {
        plain.pop();
    }
    plain
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// All files below a folder, but for what is installed or built there.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let told = |error: std::io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder.join(&below)).map_err(told)? {
            let entry = entry.map_err(told)?;
            let path = below.join(entry.file_name());
            let name = entry.file_name();
            if !entry.file_type().map_err(told)?.is_dir() {
                found.push(path);
            } else if name != "node_modules" && name != "target" && name != "build" {
                folders.push(path);
            }
        }
    }
    Ok(found)
}
