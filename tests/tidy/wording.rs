//! Words that documentation, help, errors, logs and comments avoid, with the terms to use instead.

use proc_macro2::TokenTree;

use super::fault::{Fault, Rule};
use super::source::{Source, attribute, inside, line};

static WORDING: Rule = Rule {
    name: "wording",
    why: "readers know the terms of gRPC, HTTP and DashScope, and search for them",
    fix: "use the term beside it; the table is in tests/tidy/wording.rs",
};

/// What is avoided, as whole words, and what to write.
const TERMS: [(&str, &str); 34] = [
    ("film", "video"),
    ("films", "videos"),
    ("picture", "image"),
    ("pictures", "images"),
    ("of sound", "of audio"),
    ("sounds", "audio"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("tell", "report, return, log"),
    ("tells", "reports, returns, logs"),
    ("telling", "reporting"),
    ("told", "reported, returned, logged"),
    ("fault", "error"),
    ("faults", "errors"),
    ("room", "module, or space"),
    ("rooms", "modules"),
    ("house", "project"),
    ("door", "listener, server"),
    ("doors", "listeners, servers"),
    ("neighbour", "other caller, other process"),
    ("neighbours", "other callers, other processes"),
    ("sight", "observability"),
    ("in force", "effective, applied"),
    ("in vain", "the effect"),
    ("anew", "again"),
    ("made up", "generated"),
    ("as it is made", "as a stream"),
    ("name of a call", "request id"),
    ("name of the call", "request id"),
    ("name of the request", "request id"),
    ("asks nobody", "has no authentication"),
    ("the operator decides", "the setting"),
];

/// What comments of the code avoid in addition: riddles, and words that make persons of things.
const COMMENT_TERMS: [(&str, &str); 8] = [
    ("noun", "type"),
    ("nouns", "types, data model"),
    ("greeted", "accepted"),
    ("sent away", "closed, rejected"),
    ("what is said", "the message"),
    ("what was said", "the message"),
    ("whoever", "the caller, the reader"),
    ("speaks of", "names"),
];

/// Written files whose text is checked. The Chinese README has terms of its own.
pub(crate) fn is_checked(path: &str) -> bool {
    let is_page = path.ends_with(".md") && path != "README.zh-CN.md";
    let is_deployed = [".yaml", ".json", ".py", "Dockerfile"]
        .iter()
        .any(|end| path.starts_with("deploy/") && path.ends_with(end));
    is_page || is_deployed || is_schema(path)
}

/// The schema, whose comments are the reference of the clients.
fn is_schema(path: &str) -> bool {
    path.starts_with("proto/dashgate/") && path.ends_with(".proto")
}

/// The avoided words of a page, outside of code.
pub(crate) fn page(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut is_code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let line = match is_schema(path) {
                true => line.split_once("//").map_or("", |(_, comment)| comment),
                false => line,
            };
            let prose: Vec<&str> = line.split('`').step_by(2).collect();
            faults.extend(check(path, at + 1, &prose.join(" | ")));
        }
    }
    faults
}

/// The avoided words in the texts of the code: errors, logs, what the commands print.
pub(crate) fn literals(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if source.room().is_some() {
        texts(source, &source.code, &mut faults);
    }
    faults
}

/// The avoided words in the comments of the code, outside of code in them.
pub(crate) fn comments(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    if source.room().is_none() {
        return faults;
    }
    // Consecutive lines are one text, because terms may be wrapped.
    let (mut first, mut block) = (1, String::new());
    let lines = source.text.lines().chain(std::iter::once(""));
    for (at, line) in lines.enumerate() {
        if let Some(text) = line.trim_start().strip_prefix("//") {
            if block.is_empty() {
                first = at + 1;
            }
            block.push_str(text.trim_start_matches(['/', '!']));
            block.push(' ');
        } else if !block.is_empty() {
            let prose: Vec<&str> = block.split('`').step_by(2).collect();
            let prose = prose.join(" | ");
            faults.extend(comment(&source.path, first, &prose));
            block.clear();
        }
    }
    faults
}

fn texts(source: &Source, tokens: &[TokenTree], faults: &mut Vec<Fault>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        // Attributes hold documents and the reasons of exceptions, for readers of the code.
        if let Some((_, length)) = attribute(tokens, at) {
            at += length;
            continue;
        }
        match token {
            TokenTree::Group(group) => texts(source, &inside(group), faults),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.starts_with(['"', 'r']) {
                    let text = text.replace("\\n", " ").replace("\\\n", " ");
                    faults.extend(check(&source.path, line(token), &text));
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
        at += 1;
    }
}

/// The avoided words of a text.
pub(crate) fn check(path: &str, line: usize, text: &str) -> Vec<Fault> {
    check_for(&TERMS, path, line, text)
}

/// The avoided words of a comment.
pub(crate) fn comment(path: &str, line: usize, text: &str) -> Vec<Fault> {
    let mut faults = check(path, line, text);
    faults.extend(check_for(&COMMENT_TERMS, path, line, text));
    faults
}

fn check_for(terms: &[(&str, &str)], path: &str, line: usize, text: &str) -> Vec<Fault> {
    let words = words(text);
    let found = |(avoided, instead): &(&str, &str)| {
        let avoided: Vec<&str> = avoided.split(' ').collect();
        let is_there = words.windows(avoided.len()).any(|part| part == avoided);
        is_there.then(|| {
            let found = format!("`{}`; write: {instead}", avoided.join(" "));
            WORDING.broken(path, line, found)
        })
    };
    terms.iter().filter_map(found).collect()
}

/// The words in small letters. What stands in braces is a name in the code, as in `{fault}`.
fn words(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut depth = 0_usize;
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => plain.extend(letter.to_lowercase()),
        }
    }
    let is_word = |letter: char| letter.is_alphanumeric() || "_-./".contains(letter);
    plain
        .split(|letter| !is_word(letter))
        .map(|word| word.trim_matches(['.', '-', '/']).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod trials {
    use super::super::fault::names;
    use super::super::source::Source;
    use super::*;

    #[test]
    fn avoided_words_are_found_in_any_case_and_across_lines() {
        for text in [
            "A Film of 30 s.",
            "the settings in force",
            "the name of\nthe call",
            "| `a` | mended at once |",
        ] {
            let text = text.replace('\n', " ");
            assert_eq!(names(&page("docs/a.md", &text)), ["wording"], "{text}");
        }
    }

    #[test]
    fn code_and_longer_words_are_left_alone() {
        for text in [
            "see `tests/system/error_table.rs`",
            "the default of a roommate",
            "```sh\ndashgate ask film.mp4\n```",
            "film.mp4 and mend_it",
        ] {
            assert!(page("docs/a.md", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn comments_of_the_schema_are_checked_and_its_names_are_not() {
        let schema =
            "// The picture to mend.\nmessage Film {\n  // A `film`.\n  int32 film = 1;\n}";
        let faults = page("proto/dashgate/v1/a.proto", schema);
        assert_eq!(names(&faults), ["wording", "wording"]);
    }

    #[test]
    fn texts_of_the_code_are_checked_and_documents_and_tests_are_not() {
        let code = "//! Rooms.\n/// A door.\nfn a(x: &str) { b(\"{mend}\", \"a \\\n fault\"); }\n\
                    #[cfg(test)] mod tests { const A: &str = \"told\"; }";
        let source = Source::parse("src/chat/a.rs", code).expect("it is Rust");
        assert_eq!(names(&literals(&source)), ["wording"]);
    }

    #[test]
    fn comments_are_checked_across_lines_and_code_in_them_is_not() {
        let code = "/// The `fault` of\n/// what is\n/// said.\nfn a() {\n    // A door.\n}\n";
        let source = Source::parse("src/chat/a.rs", code).expect("it is Rust");
        assert_eq!(names(&comments(&source)), ["wording", "wording"]);
        let source = Source::parse("tests/a.rs", code).expect("it is Rust");
        assert!(comments(&source).is_empty());
    }
}
