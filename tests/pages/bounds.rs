//! Numbers on the pages are those of the code.
//!
//! A value in parentheses behind a setting is that setting's default. A number that no setting has
//! is in `bounds.txt`, with the constant that it comes from.

use dashgate::config::all_settings;

use super::names::pages;
use super::{Path, fs, read};

/// The words of a page with a number, and the declaration of the constant with the number.
const CONSTANTS: &str = include_str!("bounds.txt");

#[test]
fn every_default_on_a_page_is_that_of_the_setting() {
    let mut compared = 0;
    for page in pages() {
        let text = read(&page);
        for (at, _) in text.match_indices("` (") {
            let (before, after) = text.split_at(at);
            let key = before.rsplit('`').next().unwrap_or_default();
            let (Some(setting), Some(value)) = (all_settings::find(key), after.get("` (".len()..))
            else {
                continue;
            };
            let value = value.split([')', ',', ';']).next().unwrap_or_default();
            let (Some(value), Some(default)) = (quantity(value), quantity(setting.default)) else {
                continue;
            };
            assert_eq!(
                value, default,
                "{page}: `{key}` has the default {}",
                setting.default
            );
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared} defaults");
}

#[test]
fn every_number_on_a_page_is_that_of_its_constant() {
    let mut code = String::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut code,
    );
    let lines: Vec<_> = CONSTANTS.lines().collect();
    let mut compared = 0;
    for pair in lines.windows(2) {
        let &[words, declaration] = pair else {
            continue;
        };
        let (Some((page, words)), Some(declaration)) =
            (words.split_once(": "), declaration.strip_prefix("    "))
        else {
            continue;
        };
        let text = read(page);
        let text: Vec<_> = text.split_whitespace().collect();
        assert!(
            text.join(" ").contains(words),
            "{page} no longer says {words:?}: change tests/pages/bounds.txt with it"
        );
        assert!(
            code.contains(declaration),
            "{page} says {words:?}, and src/ has no `{declaration}` any more"
        );
        compared += 1;
    }
    assert!(compared > 70, "{compared} constants");
}

/// A number with its unit: milliseconds, bytes, or nothing.
fn quantity(text: &str) -> Option<(u64, bool)> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: u64 = number.parse().ok()?;
    let (factor, is_time) = match unit.trim() {
        "" => (1, false),
        "KiB" => (1 << 10, false),
        "MiB" => (1 << 20, false),
        "GiB" => (1 << 30, false),
        "%" => (1, false),
        "ms" => (1, true),
        "s" | "seconds" => (1_000, true),
        "m" | "min" | "minutes" => (60_000, true),
        "h" => (3_600_000, true),
        _ => return None,
    };
    Some((number * factor, is_time))
}

fn sources(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            sources(&path, code);
        } else if path.extension().is_some_and(|end| end == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("it is text"));
        }
    }
}
