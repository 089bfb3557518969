//! What a person who watches an answer is shown of it, piece by piece.

use crate::grpc::pb;

/// What is new in an answer, for a person who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text to read.
    Text(String),
    /// A thought.
    Reasoning(String),
    /// A picture's address.
    Image(String),
    /// A line about the answer.
    Note(String),
    /// A warning about the answer, as a line of its own.
    Warning(String),
    /// From here on it is the choice of this number, from 1.
    Choice(i32),
}

/// Where a finished sound is.
pub(crate) fn audio_file(file: &pb::AudioFile) -> String {
    format!("audio: {}", file.uri)
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

/// What was noticed about the input; empty if none of it is shown.
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

/// The sources, a line each.
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
