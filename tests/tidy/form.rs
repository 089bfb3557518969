//! The rules that look at one file: its size, its names, its documents, what may stop a process.

use proc_macro2::{Delimiter, Group, TokenTree};

use super::fault::{Fault, Rule};
use super::paths::{Name, names};
use super::source::{Source, attribute, group, inside, is_mark, is_word, item_end, line, word};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;
const LINE_WIDTH: usize = 100;

/// The generated code's own file: nobody here wrote what it takes in.
const GENERATED: &str = "src/grpc/pb.rs";

static FILE: Rule = Rule {
    name: "file-length",
    why: "a file is one thing that can be read in one sitting: at most 400 lines without its tests",
    fix: "give a part that has a name of its own a file of its own",
};
static FUNCTION: Rule = Rule {
    name: "function-length",
    why: "a function is one thought: at most 70 lines of code in its body",
    fix: "cut it where a comment would begin a new part",
};
static LINE: Rule = Rule {
    name: "line-width",
    why: "two files must fit side by side: at most 100 characters in a line",
    fix: "break the line",
};
static FOLDER: Rule = Rule {
    name: "folder-depth",
    why: "a module is one folder below src/, with groups of files and nothing deeper",
    fix: "src/<module>/<file>.rs, or src/<module>/<group>/<file>.rs",
};
static HEADER: Rule = Rule {
    name: "module-doc",
    why: "a reader learns first what a file is for",
    fix: "begin it with a `//!` comment",
};
static DOC: Rule = Rule {
    name: "pub-doc",
    why: "what is offered to others is explained, inside the crate too, where no lint looks",
    fix: "write a `///` comment above it",
};
static STOP: Rule = Rule {
    name: "no-panic",
    why: "one call must never take the others down with it",
    fix: "return an error, or prove it: #[expect(clippy::.., reason = \"..\")] on the item",
};
static ALLOW: Rule = Rule {
    name: "expect-not-allow",
    why: "an exception that is no longer needed must be noticed",
    fix: "#[expect(.., reason = \"..\")] on the smallest item, not on a whole file",
};
static NAMES: Rule = Rule {
    name: "names",
    why: "a drawer called utils fills up, and get_ says nothing",
    fix: "name it after what it holds or does",
};
static JSON: Rule = Rule {
    name: "json-value",
    why: "untyped JSON stays at the wire: only dashscope/ and emulator/ may hold a value of it",
    fix: "use chat::document, or a type of your own",
};

/// Everything that is wrong with one file.
pub(crate) fn faults(source: &Source) -> Vec<Fault> {
    let mut faults = widths(&source.path, &source.text);
    faults.extend(lengths(source));
    if source.room().is_some() {
        faults.extend(folders(&source.path));
        faults.extend(documents(source));
        faults.extend(stops(source));
        faults.extend(bad_names(source));
        faults.extend(json_values(source));
    }
    faults
}

/// Lines that are too wide; for the schema as well.
pub(crate) fn widths(path: &str, text: &str) -> Vec<Fault> {
    let wide = text.lines().enumerate().filter_map(|(at, line)| {
        let width = line.chars().count();
        (width > LINE_WIDTH).then(|| LINE.broken(path, at + 1, format!("{width} characters")))
    });
    wide.collect()
}

fn lengths(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    let without_tests = lines - source.test_lines.len().min(lines);
    if without_tests > FILE_LINES {
        faults.push(FILE.broken(&source.path, 0, format!("{without_tests} lines")));
    }
    let lines: Vec<&str> = source.text.lines().collect();
    functions(&source.code, &mut |name, body| {
        let (first, last) = (body.span_open().start().line, body.span_close().end().line);
        // As clippy counts, so that both say the same: neither blank lines nor comments.
        let of_code = |at: &usize| {
            let text = lines.get(at - 1).map_or("", |line| line.trim_start());
            !text.is_empty() && !text.starts_with("//")
        };
        let length = (first + 1..last).filter(of_code).count();
        if length > FUNCTION_LINES {
            let found = format!("`{name}` has {length} lines");
            faults.push(FUNCTION.broken(&source.path, first, found));
        }
    });
    faults
}

fn functions(tokens: &[TokenTree], seen: &mut impl FnMut(&str, &Group)) {
    for (at, token) in tokens.iter().enumerate() {
        if is_word(token, "fn")
            && let Some(name) = tokens.get(at + 1).and_then(word)
        {
            let end = item_end(tokens, at);
            let body = tokens.get(at..end).unwrap_or_default().last();
            if let Some(body) = body.and_then(|last| group(last, Delimiter::Brace)) {
                seen(&name, body);
            }
        }
        if let TokenTree::Group(group) = token {
            functions(&inside(group), seen);
        }
    }
}

fn folders(path: &str) -> Vec<Fault> {
    let depth = path.matches('/').count();
    if depth > 3 {
        return vec![FOLDER.broken(path, 0, format!("{} folders below src/", depth - 1))];
    }
    Vec::new()
}

fn documents(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(HEADER.broken(&source.path, 1, "no `//!` comment at the top"));
    }
    undocumented(source, &source.code, &mut faults);
    faults
}

fn undocumented(source: &Source, tokens: &[TokenTree], faults: &mut Vec<Fault>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let Some((inner, length)) = attribute(tokens, at) {
            at += length;
            if excuses(&inner, &["missing_docs"]) {
                at = item_end(tokens, at);
            }
            continue;
        }
        if is_word(token, "pub") && !documented(tokens, at) {
            let item = item_after_pub(tokens, at);
            if !item.is_empty() && !explained_elsewhere(item) {
                let words: Vec<String> = item.iter().take(2).map(ToString::to_string).collect();
                let found = format!("`pub {}` has no comment", words.join(" "));
                faults.push(DOC.broken(&source.path, line(token), found));
            }
        }
        // The parts of a tuple have no names, so nothing could be said of them one by one.
        if let TokenTree::Group(group) = token
            && group.delimiter() != Delimiter::Parenthesis
        {
            undocumented(source, &inside(group), faults);
        }
        at += 1;
    }
}

/// What follows `pub` or `pub(crate)`; nothing if the room keeps it to itself, `pub(super)`.
fn item_after_pub(tokens: &[TokenTree], at: usize) -> &[TokenTree] {
    let next = tokens.get(at + 1);
    let narrowed = next.and_then(|next| group(next, Delimiter::Parenthesis));
    let kept = narrowed.is_some_and(|group| !inside(group).iter().any(|to| is_word(to, "crate")));
    if kept {
        return &[];
    }
    let item = tokens.get(at + 1 + usize::from(narrowed.is_some())..);
    match item.unwrap_or_default() {
        // A field that only the crate sees is explained by its type.
        [_, colon, ..] if narrowed.is_some() && is_mark(colon, ':') => &[],
        item => item,
    }
}

/// What is passed on is explained where it lives, and a file by its own `//!`.
fn explained_elsewhere(item: &[TokenTree]) -> bool {
    match item {
        [first, ..] if is_word(first, "use") => true,
        [first, _, end, ..] => is_word(first, "mod") && is_mark(end, ';'),
        _ => false,
    }
}

/// Whether the attributes before `at` hold a document, or come out of a macro that was given one.
fn documented(tokens: &[TokenTree], at: usize) -> bool {
    let back = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at));
    let mut steps = 1;
    while let Some(token) = back(steps) {
        if let Some(inner) = group(token, Delimiter::Bracket)
            && back(steps + 1).is_some_and(|mark| is_mark(mark, '#'))
        {
            if inside(inner)
                .first()
                .is_some_and(|first| is_word(first, "doc"))
            {
                return true;
            }
            steps += 2;
            continue;
        }
        let repeats = is_mark(token, '*') || is_mark(token, '+');
        return repeats
            && back(steps + 1).is_some_and(|token| group(token, Delimiter::Parenthesis).is_some())
            && back(steps + 2).is_some_and(|mark| is_mark(mark, '$'));
    }
    false
}

fn stops(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if source.path != GENERATED {
        stopping(source, &source.code, &mut faults);
    }
    faults
}

fn stopping(source: &Source, tokens: &[TokenTree], faults: &mut Vec<Fault>) {
    let mut at = 0;
    let mut excused_until = 0;
    while let Some(token) = tokens.get(at) {
        if let Some((inner, length)) = attribute(tokens, at) {
            if inner.first().is_some_and(|first| is_word(first, "allow")) || wide(&inner, length) {
                let found = inner.iter().map(ToString::to_string).collect::<String>();
                faults.push(ALLOW.broken(&source.path, line(token), found));
            } else if excuses(&inner, &PANICS) {
                excused_until = excused_until.max(item_end(tokens, at + length));
            }
            at += length;
            continue;
        }
        if at >= excused_until {
            if let Some(found) = stop_at(tokens, at) {
                faults.push(STOP.broken(&source.path, line(token), found));
            }
            if let TokenTree::Group(group) = token {
                stopping(source, &inside(group), faults);
            }
        }
        at += 1;
    }
}

/// `#![expect(..)]` of a lint against panics: a proof is of one place, never of a whole file.
fn wide(attribute: &[TokenTree], length: usize) -> bool {
    length == 3 && excuses(attribute, &PANICS)
}

const PANICS: [&str; 5] = [
    "unwrap_used",
    "expect_used",
    "panic",
    "indexing_slicing",
    "unreachable",
];

/// Whether an attribute is `expect` of one of these lints, with its reason.
fn excuses(attribute: &[TokenTree], lints: &[&str]) -> bool {
    let [first, TokenTree::Group(list)] = attribute else {
        return false;
    };
    let list = inside(list);
    is_word(first, "expect")
        && list
            .iter()
            .any(|token| lints.iter().any(|lint| is_word(token, lint)))
        && list.iter().any(|token| is_word(token, "reason"))
}

/// What may panic at this token. Indexing is left to clippy, which knows what is indexed by what.
fn stop_at(tokens: &[TokenTree], at: usize) -> Option<String> {
    let name = word(tokens.get(at)?)?;
    let previous = at.checked_sub(1).and_then(|at| tokens.get(at));
    let next = tokens.get(at + 1);
    let method = previous.is_some_and(|token| is_mark(token, '.'))
        && next.is_some_and(|token| group(token, Delimiter::Parenthesis).is_some());
    let unwraps = ["unwrap", "expect", "unwrap_err", "expect_err"];
    let marked = next.is_some_and(|token| is_mark(token, '!'));
    let panics = ["panic", "unreachable", "todo", "unimplemented"];
    match name.as_str() {
        name if method && unwraps.contains(&name) => Some(format!(".{name}()")),
        name if marked && panics.contains(&name) => Some(format!("{name}!")),
        _ => None,
    }
}

/// Names of calls in the schema, where `Get` is the standard name for one resource.
const OF_THE_SCHEMA: [&str; 2] = ["get_conversation", "get_model"];

fn bad_names(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let drawers = [
        "utils", "util", "helpers", "helper", "common", "manager", "misc",
    ];
    for part in source.path.split('/') {
        let part = part.strip_suffix(".rs").unwrap_or(part);
        if drawers.contains(&part) {
            faults.push(NAMES.broken(&source.path, 0, format!("`{part}`")));
        }
    }
    functions(&source.code, &mut |name, body| {
        if name.starts_with("get_") && !OF_THE_SCHEMA.contains(&name) {
            let line = body.span_open().start().line;
            faults.push(NAMES.broken(&source.path, line, format!("`fn {name}`")));
        }
    });
    faults
}

fn json_values(source: &Source) -> Vec<Fault> {
    if matches!(source.room(), Some("dashscope" | "emulator")) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for used in names(source) {
        if let Name::Theirs(path) = used.name
            && let [first, second, ..] = path.as_slice()
            && first == "serde_json"
            && matches!(
                second.as_str(),
                "Value" | "Map" | "json" | "value" | "Number"
            )
            // The text of a value: it is read as what it should be, or not at all.
            && path.last().is_none_or(|last| last != "RawValue")
        {
            faults.push(JSON.broken(&source.path, used.line, path.join("::")));
        }
    }
    faults
}
