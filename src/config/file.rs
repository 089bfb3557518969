//! The settings file: TOML, with a table for each section.

use std::path::Path;

use toml::{Table, Value};

use super::all_settings;
use super::error::{ConfigError, Origin};
use super::setting::{Kind, Setting};

/// Parses a settings file: its settings, each in the form of a variable, and its errors.
pub(crate) fn read(path: &Path, text: &str) -> (Vec<(&'static Setting, String)>, Vec<ConfigError>) {
    let mut reader = Reader {
        path,
        values: Vec::new(),
        errors: Vec::new(),
    };
    match text.parse::<Table>() {
        Ok(sections) => reader.sections(&sections),
        Err(error) => {
            // The parser's message quotes the line, which may contain a key: the position is
            // enough.
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            reader.report(
                "config",
                format!("line {line} is not TOML"),
                "check quotes, brackets and duplicate keys",
            );
        }
    }
    (reader.values, reader.errors)
}

/// The error for an unknown setting.
pub(crate) fn unknown(key: &str, origin: Origin, place: &str) -> ConfigError {
    let nearest = all_settings::ALL
        .iter()
        .map(|setting| (distance(setting.key, key), setting.key))
        .min()
        .filter(|(distance, _)| *distance <= 4);
    let fix = match nearest {
        Some((_, near)) => format!("did you mean {near}"),
        None => format!("remove it from {place}"),
    };
    ConfigError {
        key: key.to_owned(),
        origin,
        problem: "there is no such setting".to_owned(),
        fix,
    }
}

struct Reader<'a> {
    path: &'a Path,
    values: Vec<(&'static Setting, String)>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn sections(&mut self, sections: &Table) {
        for (section, content) in sections {
            let Some(entries) = content.as_table() else {
                let error = unknown(section, self.origin(), "the file");
                self.errors.push(error);
                continue;
            };
            self.keys(section, entries);
        }
    }

    /// Reads the keys of a section and of its subsections.
    fn keys(&mut self, section: &str, entries: &Table) {
        for (name, value) in entries {
            let key = format!("{section}.{name}");
            let inside = format!("{key}.");
            match (all_settings::find(&key), value) {
                (Some(setting), _) => self.entry(setting, value),
                // The known keys bound the recursion: none has more than three parts.
                (None, Value::Table(inner))
                    if all_settings::ALL
                        .iter()
                        .any(|one| one.key.starts_with(&inside)) =>
                {
                    self.keys(&key, inner);
                }
                (None, _) => {
                    let error = unknown(&key, self.origin(), "the file");
                    self.errors.push(error);
                }
            }
        }
    }

    fn entry(&mut self, setting: &'static Setting, value: &Value) {
        let text = match (setting.kind, value) {
            (Kind::Names, Value::Array(names)) => names
                .iter()
                .map(name)
                .collect::<Option<Vec<_>>>()
                .map(|names| names.join(",")),
            (
                Kind::Aliases | Kind::Fallbacks | Kind::Durations | Kind::Counts | Kind::Sizes,
                Value::Table(pairs),
            ) => pairs
                .iter()
                .map(|(left, right)| Some(format!("{}={}", plain(left)?, names(right)?)))
                .collect::<Option<Vec<_>>>()
                .map(|pairs| pairs.join(",")),
            (Kind::Rates, Value::Table(rates)) => rates
                .iter()
                .map(|(model, prices)| Some(format!("{}={}", plain(model)?, numbers(prices)?)))
                .collect::<Option<Vec<_>>>()
                .map(|rates| rates.join(",")),
            (
                Kind::Names
                | Kind::Aliases
                | Kind::Fallbacks
                | Kind::Durations
                | Kind::Counts
                | Kind::Sizes
                | Kind::Rates,
                _,
            ) => None,
            (_, Value::String(text)) => Some(text.clone()),
            (_, Value::Integer(number)) => Some(number.to_string()),
            (_, Value::Boolean(switch)) => Some(switch.to_string()),
            (_, Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_)) => None,
        };
        match text {
            Some(text) => self.values.push((setting, text)),
            None => self.report(
                setting.key,
                format!("it is {}", kind_of(value)),
                match setting.kind {
                    Kind::Names => "write a list of names: [\"a\", \"b*\"]",
                    Kind::Aliases => "write a table of names: [models.aliases], old = \"new\"",
                    Kind::Fallbacks => "write a table of lists: [models.fallbacks], a = [\"b\"]",
                    Kind::Durations => "write a table of durations: [models.timeouts], a = \"30s\"",
                    Kind::Counts => "write a table of numbers: [models.max_in_flight], a = 64",
                    Kind::Sizes => {
                        "write a table of sizes: [models.max_request_bytes], a = \"16MiB\""
                    }
                    Kind::Rates => "write a table of prices: [telemetry.rates], a = [0.8, 2.0]",
                    Kind::Duration(..) => "write a text as in \"30s\"",
                    Kind::Size(..) => "write a text as in \"16MiB\", or a number of bytes",
                    Kind::Count(..) => "write a whole number",
                    Kind::Switch => "write true or false",
                    Kind::Address
                    | Kind::Choice(_)
                    | Kind::Text
                    | Kind::Secret
                    | Kind::Url
                    | Kind::Path => "write a text in quotes",
                },
            ),
        }
    }

    fn origin(&self) -> Origin {
        Origin::File(self.path.to_owned())
    }

    fn report(&mut self, key: &str, problem: String, fix: &str) {
        self.errors.push(ConfigError {
            key: key.to_owned(),
            origin: self.origin(),
            problem,
            fix: fix.to_owned(),
        });
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list with something other than names in it",
        Value::Table(_) => "a table with something other than names in it",
    }
}

/// One name, or several separated by `|`.
fn names(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) => {
            let list: Option<Vec<_>> = list.iter().map(name).collect();
            list.map(|list| list.join("|"))
        }
        Value::Integer(number) => Some(number.to_string()),
        Value::String(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => name(value).map(str::to_owned),
    }
}

/// Two numbers, separated by `|`.
fn numbers(value: &Value) -> Option<String> {
    let number = |value: &Value| match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::String(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    };
    let list: Option<Vec<_>> = value.as_array()?.iter().map(number).collect();
    list.map(|list| list.join("|"))
}

fn name(value: &Value) -> Option<&str> {
    value.as_str().and_then(plain)
}

/// A name without the characters that separate names in a variable.
fn plain(name: &str) -> Option<&str> {
    let parts = [',', '=', '|'];
    (!name.trim().is_empty() && !name.contains(parts)).then_some(name)
}

/// The edit distance of two texts.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut corner = line;
        let mut left = line + 1;
        let mut next = vec![left];
        for (b, above) in to.chars().zip(row.iter().skip(1)) {
            let changed = corner + usize::from(a != b);
            left = changed.min(left + 1).min(above + 1);
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Vec<(&'static str, String)>, Vec<String>) {
        let (values, errors) = read(Path::new("d.toml"), text);
        let values = values.into_iter().map(|(s, text)| (s.key, text));
        (
            values.collect(),
            errors.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn every_type_of_value_is_converted_to_the_form_of_a_variable() {
        let (values, errors) = read_text(
            "[server]\nmax_request_bytes = 1048576\n[upstream]\nshow_messages = true\n\
             stream_only_models = [\"a*\", \"b\"]\n[models.aliases]\nold = \"new\"\n\
             [models.fallbacks]\n\"m.1\" = [\"x\", \"y\"]\n[server.tls]\nkey = \"k.pem\"\n",
        );
        assert_eq!(errors, Vec::<String>::new());
        let expected = [
            ("models.aliases", "old=new"),
            ("models.fallbacks", "m.1=x|y"),
            ("server.max_request_bytes", "1048576"),
            ("server.tls.key", "k.pem"),
            ("upstream.show_messages", "true"),
            ("upstream.stream_only_models", "a*,b"),
        ];
        let mut sorted = values;
        sorted.sort();
        let expected: Vec<_> = expected.map(|(k, v)| (k, v.to_owned())).into();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn an_unknown_key_is_reported_with_the_nearest_one() {
        let (_, errors) = read_text("top = 1\n[server]\nlisen = \"x\"\nzzzzzzzzzzzzzzzz = 1\n");
        assert_eq!(errors.len(), 3);
        assert!(
            errors
                .iter()
                .any(|f| f.contains("did you mean server.listen"))
        );
    }

    #[test]
    fn invalid_toml_is_reported_by_line_number_without_a_quote() {
        let (_, errors) = read_text("[upstream]\napi_key = sk-canary\n");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("line 2"), "{errors:?}");
        assert!(!errors[0].contains("canary"));
    }

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("ab", "ab"), 0);
    }
}
