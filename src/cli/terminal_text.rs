//! The printable pieces of an answer.

use dashgate_client::v1 as pb;

/// A new piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// URL of an image.
    Image(String),
    /// A note about the answer.
    Note(String),
    /// A warning.
    Warning(String),
    /// The following pieces belong to the choice of this number, from 1.
    Choice(i32),
}

/// The location of an audio file; empty if it has none.
pub(crate) fn audio_file(file: &pb::AudioFile) -> String {
    match file.uri.is_empty() {
        true => String::new(),
        false => format!("audio: {}", file.uri),
    }
}

/// A warning of the gateway.
pub(crate) fn warning(warning: &pb::Warning) -> Piece {
    let pb::Warning {
        code,
        field,
        message,
    } = warning;
    Piece::Warning(match field.is_empty() {
        true => format!("warning: {code}: {message}"),
        false => format!("warning: {code} {field}: {message}"),
    })
}

/// An annotation of the input; empty if there is nothing to print.
pub(crate) fn heard(annotation: &pb::Annotation) -> String {
    let mut words = Vec::new();
    for (name, value) in [
        ("language", &annotation.language),
        ("emotion", &annotation.emotion),
    ] {
        if !value.is_empty() {
            words.push(format!("{name} {value}"));
        }
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("detected: {}", words.join(", ")),
    }
}

/// The sources, one per line.
pub(crate) fn sources(info: &pb::SearchInfo) -> String {
    let line = |result: &pb::SearchResult| {
        let number = result
            .index
            .map_or(String::new(), |index| format!("[{index}] "));
        format!("{number}{} {}", result.title, result.url)
    };
    let lines: Vec<_> = info.search_results.iter().map(line).collect();
    lines.join("\n")
}
