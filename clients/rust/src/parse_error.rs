//! Errors of JSON texts, without anything of the text: it may be private, and of any size.

use std::fmt;

use serde_json::error::Category;

/// Where a JSON text is wrong and, if that is known without the text, how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError(String);

impl ParseError {
    pub(crate) fn of(error: &serde_json::Error) -> Self {
        let problem = match error.classify() {
            Category::Data => expected(&error.to_string()),
            Category::Io | Category::Syntax | Category::Eof => "it is not JSON".to_owned(),
        };
        let (line, column) = (error.line(), error.column());
        Self(match line {
            // A value that was not read from a text.
            0 => problem,
            _ => format!("{problem} at line {line} column {column}"),
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

/// How serde begins its own messages. They end with what the type expects.
const BEGINNINGS: [&str; 5] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "unknown variant `",
    "unknown field `",
];
const MISSING: &str = "missing field `";

/// What of a message is from the type, and not from the text.
fn expected(message: &str) -> String {
    let message = match message.rfind(" at line ") {
        Some(end) => message.get(..end).unwrap_or_default(),
        None => message,
    };
    if let Some(name) = message.strip_prefix(MISSING) {
        let name = name.trim_end_matches('`');
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if name.chars().all(is_name) {
            return format!("{MISSING}{name}`");
        }
    }
    let is_own = BEGINNINGS.iter().any(|start| message.starts_with(start));
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if is_own => format!("expected {expected}"),
        _ => "a value is not of its type".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct City {
        #[allow(dead_code, reason = "only read")]
        people: u8,
        #[allow(dead_code, reason = "only read")]
        kind: Kind,
        #[allow(dead_code, reason = "only read")]
        address: Option<std::net::IpAddr>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Large,
        Small,
    }

    #[test]
    fn nothing_of_the_text_is_quoted() {
        for (text, problem) in [
            ("hush", "it is not JSON at line 1 column 1"),
            (
                r#"{"people": 1, "hush"#,
                "it is not JSON at line 1 column 19",
            ),
            (r#"{"people": "hush"}"#, "expected u8 at line 1 column 17"),
            (r#"{"people": 777}"#, "expected u8 at line 1 column 14"),
            (
                r#"{"people": 1, "kind": "large"}{hush"#,
                "it is not JSON at line 1 column 31",
            ),
            (
                r#"{"people": 1}"#,
                "missing field `kind` at line 1 column 13",
            ),
            (
                r#"{"people": 1, "kind": "hush, expected hush"}"#,
                "expected `large` or `small` at line 1 column 43",
            ),
            (
                r#"{"people": 1, "hush": 1}"#,
                "expected one of `people`, `kind`, `address` at line 1 column 20",
            ),
            (
                r#"{"people": 1, "kind": "large", "address": "hush"}"#,
                "a value is not of its type at line 1 column 48",
            ),
        ] {
            let error = serde_json::from_str::<City>(text).unwrap_err();
            assert_eq!(ParseError::of(&error).to_string(), problem, "{text}");
        }
        let custom: serde_json::Error = serde::de::Error::custom("missing field `a hush`");
        assert_eq!(
            ParseError::of(&custom).to_string(),
            "a value is not of its type"
        );
    }
}
