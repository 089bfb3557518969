//! The JSON Schema of the settings file, for editors and validators.
//!
//! Generated as text: this module would need a JSON library for nothing else.

use std::fmt::Write as _;

use super::all_settings::ALL;
use super::setting::{Kind, Setting};

/// The schema of a size in bytes.
const SIZE: &str = "\"type\": [\"integer\", \"string\"], \"minimum\": 0, \
                    \"pattern\": \"^[0-9]+ *(B|KiB|MiB|GiB)?$\"";

/// The schema of a duration.
const DURATION: &str = r#""type": "string", "pattern": "^[0-9]+ *(ms|s|m|h)$""#;

/// `docs/config.schema.json`.
pub fn schema() -> String {
    let mut text = String::from(
        "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \
         \"title\": \"The settings of dashgate\",\n",
    );
    text.push_str(&table("", 1));
    text.push_str("\n}\n");
    text
}

/// The schema of a section: its settings and subsections.
fn table(section: &str, depth: usize) -> String {
    let mut names: Vec<&str> = Vec::new();
    for setting in ALL {
        let rest = setting.key.strip_prefix(section);
        let name = rest.and_then(|rest| rest.split('.').next());
        if let Some(name) = name
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    let space = "  ".repeat(depth);
    let mut text = format!(
        "{space}\"type\": \"object\",\n{space}\"additionalProperties\": false,\n\
         {space}\"properties\": {{"
    );
    for (place, name) in names.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let key = format!("{section}{name}");
        let inside = match ALL.iter().find(|setting| setting.key == key) {
            Some(setting) => entry(setting, depth + 2),
            None => table(&format!("{key}."), depth + 2),
        };
        let _ = write!(
            text,
            "{comma}\n{space}  {}: {{\n{inside}\n{space}  }}",
            quoted(name)
        );
    }
    let _ = write!(text, "\n{space}}}");
    text
}

fn entry(setting: &Setting, depth: usize) -> String {
    let space = "  ".repeat(depth);
    let words = format!("{} {}", setting.description, setting.reason);
    let mut text = format!("{space}\"description\": {},\n", quoted(&words));
    if let Some(default) = default(setting) {
        let _ = writeln!(text, "{space}\"default\": {default},");
    }
    let _ = write!(text, "{space}{}", shape(setting.kind));
    text
}

/// The default in the form of the file.
fn default(setting: &Setting) -> Option<String> {
    let text = setting.default;
    match setting.kind {
        _ if text.is_empty() => None,
        Kind::Count(..) | Kind::Switch => Some(text.to_owned()),
        Kind::Names => {
            let names: Vec<_> = text.split(',').map(quoted).collect();
            Some(format!("[{}]", names.join(", ")))
        }
        // Tables are empty by default.
        Kind::Aliases
        | Kind::Fallbacks
        | Kind::Durations
        | Kind::Counts
        | Kind::Sizes
        | Kind::Rates => None,
        Kind::Address
        | Kind::Duration(..)
        | Kind::Size(..)
        | Kind::Choice(_)
        | Kind::Text
        | Kind::Secret
        | Kind::Url
        | Kind::Path => Some(quoted(text)),
    }
}

fn shape(kind: Kind) -> String {
    let each =
        |inside: &str| format!("\"type\": \"object\", \"additionalProperties\": {{ {inside} }}");
    let names = "\"type\": \"array\", \"items\": { \"type\": \"string\" }";
    match kind {
        Kind::Address | Kind::Text | Kind::Path | Kind::Url => "\"type\": \"string\"".to_owned(),
        Kind::Secret => "\"type\": \"string\", \"writeOnly\": true".to_owned(),
        Kind::Duration(..) => DURATION.to_owned(),
        Kind::Size(..) => SIZE.to_owned(),
        Kind::Count(least, most) => {
            format!("\"type\": \"integer\", \"minimum\": {least}, \"maximum\": {most}")
        }
        Kind::Switch => "\"type\": \"boolean\"".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            format!("\"enum\": [{}]", words.join(", "))
        }
        Kind::Names => names.to_owned(),
        Kind::Aliases => each("\"type\": \"string\""),
        Kind::Fallbacks => each(names),
        Kind::Durations => each(DURATION),
        Kind::Counts => each("\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000"),
        Kind::Sizes => each(SIZE),
        Kind::Rates => each(
            "\"type\": \"array\", \"items\": { \"type\": \"number\", \"minimum\": 0 }, \
             \"minItems\": 2, \"maxItems\": 2",
        ),
    }
}

/// Quotes a text for JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_equals_the_table() {
        let published = include_str!("../../docs/config.schema.json");
        assert!(
            published == schema(),
            "write it anew: cargo run -- config schema > docs/config.schema.json"
        );
    }
}
