//! The wording of comments and docstrings in the client libraries, in all of their languages.

use super::fault::Fault;
use super::wording;

/// How a language marks comments.
#[derive(Clone, Copy)]
enum Syntax {
    /// `//` and `/* */`, of which each line begins with `*`.
    Slashes,
    /// `#`.
    Hashes,
    /// `#`, and docstrings.
    Python,
}

/// Generated code takes its comments from the schema.
const GENERATED: [&str; 4] = ["/v1/", "/gen/", "_pb2", "/proto/"];

/// The avoided words in the comments of a file, outside of code and quotations; none if the file
/// is not one of a client's sources.
pub(crate) fn faults(path: &str, text: &str) -> Vec<Fault> {
    let Some(syntax) = syntax(path) else {
        return Vec::new();
    };
    // Consecutive lines are one text, because terms may be wrapped.
    let mut faults = Vec::new();
    let (mut first, mut block) = (1, String::new());
    let mut in_docstring = false;
    for (at, line) in text.lines().chain(std::iter::once("")).enumerate() {
        if let Some(comment) = comment(syntax, line, &mut in_docstring) {
            if block.is_empty() {
                first = at + 1;
            }
            block.push_str(comment);
            block.push(' ');
        } else if !block.is_empty() {
            let prose = outside(&outside(&block, '`'), '"');
            faults.extend(wording::comment(path, first, &prose));
            block.clear();
        }
    }
    faults
}

fn syntax(path: &str) -> Option<Syntax> {
    if !path.starts_with("clients/") || GENERATED.iter().any(|part| path.contains(part)) {
        return None;
    }
    let has = |endings: &[&str]| endings.iter().any(|end| path.ends_with(end));
    if has(&[".rs", ".go", ".ts", ".java", ".cpp", ".h"]) {
        Some(Syntax::Slashes)
    } else if has(&[".py"]) {
        Some(Syntax::Python)
    } else if has(&["/dev", "/generate", ".toml", ".cmake", "CMakeLists.txt"]) {
        Some(Syntax::Hashes)
    } else {
        None
    }
}

/// The comment in a line, without its marks.
fn comment<'line>(syntax: Syntax, line: &'line str, in_docstring: &mut bool) -> Option<&'line str> {
    const QUOTES: &str = "\"\"\"";
    let start = line.trim_start();
    if *in_docstring {
        let end = start.find(QUOTES);
        *in_docstring = end.is_none();
        return Some(end.and_then(|end| start.get(..end)).unwrap_or(start));
    }
    match syntax {
        Syntax::Slashes => {
            let is_comment = start == "*"
                || ["//", "/*", "* ", "*/"]
                    .iter()
                    .any(|it| start.starts_with(it));
            if is_comment {
                Some(start.trim_matches(['/', '*', '!']))
            } else {
                line.split_once(" // ").map(|(_, comment)| comment)
            }
        }
        Syntax::Python if start.starts_with(QUOTES) => {
            let text = start.trim_start_matches(QUOTES);
            *in_docstring = !text.contains(QUOTES);
            Some(text.trim_end_matches(QUOTES))
        }
        Syntax::Python | Syntax::Hashes => start.strip_prefix('#'),
    }
}

/// What is not between two of these marks.
fn outside(text: &str, mark: char) -> String {
    text.split(mark).step_by(2).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod trials {
    use super::super::fault::names;
    use super::*;

    #[test]
    fn comments_of_every_language_are_checked() {
        for (path, text) in [
            ("clients/rust/src/a.rs", "/// A film.\npub struct A;\n"),
            ("clients/go/a.go", "// A is a\n// film.\ntype A struct{}\n"),
            ("clients/java/A.java", "/**\n * A film.\n */\nclass A {}\n"),
            (
                "clients/typescript/src/a.ts",
                "/** A film. */\nlet a = 1;\n",
            ),
            ("clients/cpp/a.h", "int a;  // a film\n"),
            ("clients/python/a.py", "\"\"\"A film.\"\"\"\n"),
            ("clients/python/a.py", "\"\"\"A.\n\nA film.\n\"\"\"\n"),
            ("clients/python/a.py", "# A film.\n"),
            ("clients/go/dev", "# A film.\n"),
        ] {
            assert_eq!(names(&faults(path, text)), ["wording"], "{path}: {text}");
        }
    }

    #[test]
    fn code_quotations_and_generated_files_are_not_checked() {
        for (path, text) in [
            ("clients/rust/src/a.rs", "let film = \"a film\";\n"),
            ("clients/go/a.go", "// See `film` and \"what is said\".\n"),
            ("clients/python/a.py", "\"\"\"A.\"\"\"\nfilm = 1\n"),
            ("clients/rust/src/v1/a.rs", "/// A film.\n"),
            ("clients/go/a.sum", "// A film.\n"),
            ("src/a.py", "# A film.\n"),
        ] {
            assert!(faults(path, text).is_empty(), "{path}: {text}");
        }
    }
}
