//! The names that a file uses: every `use`, and every path written out in its code.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenTree};

use super::source::{Source, group, inside, is_mark, is_word, line, word};

/// A name that a file uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// The line, from 1.
    pub(crate) line: usize,
    /// Whose it is.
    pub(crate) name: Name,
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The project's own: the path below the crate.
    Ours(Vec<String>),
    /// Another crate's: the path from the crate's name on.
    Theirs(Vec<String>),
}

/// All the names that a file's code uses, its tests left out.
pub(crate) fn names(source: &Source) -> Vec<Used> {
    let module = module_of(&source.path);
    let mut walk = Walk {
        binary: source.path == "src/main.rs",
        children: children(&source.code),
        imported: BTreeSet::new(),
        found: Vec::new(),
    };
    walk.imports(&source.code, &module);
    walk.written_out(&source.code, &module);
    walk.found
}

/// The crates beside the server that are looked at as a whole.
pub(crate) const BESIDE: [&str; 2] = ["benches/gateway/", "clients/rust/src/"];

/// The module that a file is: `src/chat/message.rs` is `chat::message`.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let mut roots = ["src/"].into_iter().chain(BESIDE);
    let below = roots.find_map(|root| path.strip_prefix(root));
    let below = below.unwrap_or(path);
    let below = below.strip_suffix(".rs").unwrap_or(below);
    let mut parts: Vec<String> = below.split('/').map(str::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main"))
    {
        parts.pop();
    }
    parts
}

/// The modules that are declared at the top of a file.
fn children(tokens: &[TokenTree]) -> BTreeSet<String> {
    tokens
        .windows(2)
        .filter(|pair| pair.first().is_some_and(|first| is_word(first, "mod")))
        .filter_map(|pair| pair.last().and_then(word))
        .collect()
}

struct Walk {
    binary: bool,
    children: BTreeSet<String>,
    imported: BTreeSet<String>,
    found: Vec<Used>,
}

impl Walk {
    /// First the `use` lines: what they bring in is known when the rest is read.
    fn imports(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if is_word(token, "use") {
                let end = position(tokens, at, ';');
                let tree = tokens.get(at + 1..end).unwrap_or_default();
                self.tree(tree, &[], module);
                at = end;
            } else if let TokenTree::Group(group) = token {
                let inner_module = inner_module(tokens, at, module);
                self.imports(&inside(group), &inner_module);
            }
            at += 1;
        }
    }

    /// One `use` tree, or one branch of it.
    fn tree(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String]) {
        let mut path = prefix.to_vec();
        let mut begun = 0;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let Some(branches) = group(token, Delimiter::Brace) {
                let inner = inside(branches);
                for branch in inner.split(|token| is_mark(token, ',')) {
                    if !branch.is_empty() {
                        self.tree(branch, &path, module);
                    }
                }
                return;
            }
            if is_word(token, "as") {
                if let Some(alias) = tokens.get(at + 1).and_then(word) {
                    self.imported.insert(alias);
                }
                break;
            }
            if let Some(word) = word(token) {
                begun = line(token);
                if word != "self" || path.is_empty() {
                    path.push(word);
                }
            }
            at += 1;
        }
        if path.len() > 1
            && let Some(last) = path.last()
        {
            self.imported.insert(last.clone());
        }
        self.add(begun, path, module);
    }

    /// Then the paths in the code.
    fn written_out(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if is_word(token, "use") {
                at = position(tokens, at, ';');
            } else if is_word(token, "pub") && tokens.get(at + 1).is_some_and(is_visibility) {
                // `pub(in crate::relay)` says who may import this, and imports nothing.
                at += 1;
            } else if let TokenTree::Group(group) = token {
                let inner_module = inner_module(tokens, at, module);
                self.written_out(&inside(group), &inner_module);
            } else if let Some(first) = word(token) {
                let (path, next) = path_at(tokens, at, first);
                let known = path
                    .first()
                    .is_some_and(|first| self.imported.contains(first));
                if path.len() > 1 && !known && !continues(tokens, at) {
                    self.add(line(token), path, module);
                }
                at = next;
                continue;
            }
            at += 1;
        }
    }

    fn add(&mut self, line: usize, path: Vec<String>, module: &[String]) {
        let Some(first) = path.first().map(String::as_str) else {
            return;
        };
        let rest = path.get(1..).unwrap_or_default();
        let name = match first {
            "crate" => Name::Ours(rest.to_vec()),
            "dashgate" if self.binary => Name::Ours(rest.to_vec()),
            "self" => Name::Ours([module, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = module.len().saturating_sub(ups);
                let base = module.get(..base).unwrap_or_default();
                Name::Ours([base, path.get(ups..).unwrap_or_default()].concat())
            }
            child if self.children.contains(child) => Name::Ours([module, &path].concat()),
            _ => Name::Theirs(path),
        };
        self.found.push(Used { line, name });
    }
}

/// Whether this is the `(in crate::relay)` of a `pub(in crate::relay)`.
fn is_visibility(token: &TokenTree) -> bool {
    group(token, Delimiter::Parenthesis)
        .is_some_and(|limits| inside(limits).first().is_some_and(|to| is_word(to, "in")))
}

/// The words of a path that begins at `at`, and where it ends.
fn path_at(tokens: &[TokenTree], at: usize, first: String) -> (Vec<String>, usize) {
    let mut path = vec![first];
    let mut next = at + 1;
    while let (Some(one), Some(two)) = (tokens.get(next), tokens.get(next + 1))
        && is_mark(one, ':')
        && is_mark(two, ':')
    {
        let Some(part) = tokens.get(next + 2).and_then(word) else {
            break;
        };
        path.push(part);
        next += 3;
    }
    (path, next)
}

/// Whether the word at `at` goes on with something before it: a method, or a path after a `>`.
fn continues(tokens: &[TokenTree], at: usize) -> bool {
    let back = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at));
    back(1).is_some_and(|token| is_mark(token, '.'))
        || (back(1).is_some_and(|token| is_mark(token, ':'))
            && back(2).is_some_and(|token| is_mark(token, ':'))
            && back(3).is_some_and(|token| is_mark(token, '>')))
}

/// The module that holds what is in the group at `at`: `mod inner { ... }` is one deeper.
fn inner_module(tokens: &[TokenTree], at: usize, module: &[String]) -> Vec<String> {
    let mut inner = module.to_vec();
    if let (Some(keyword), Some(name)) = (
        at.checked_sub(2).and_then(|at| tokens.get(at)),
        at.checked_sub(1).and_then(|at| tokens.get(at)),
    ) && is_word(keyword, "mod")
        && let Some(name) = word(name)
    {
        inner.push(name);
    }
    inner
}

fn position(tokens: &[TokenTree], from: usize, mark: char) -> usize {
    let rest = tokens.get(from..).unwrap_or_default();
    let steps = rest.iter().position(|token| is_mark(token, mark));
    from + steps.unwrap_or(rest.len())
}
