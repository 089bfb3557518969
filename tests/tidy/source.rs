//! One Rust file as the rules see it: its lines, and its tokens without its tests.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A file of Rust.
pub(crate) struct Source {
    /// Where it lies, from the top of the project, with `/` between the parts.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Its tokens, without what is marked `#[cfg(test)]`.
    pub(crate) code: Vec<TokenTree>,
    /// The lines that belong to tests.
    pub(crate) test_lines: BTreeSet<usize>,
    /// The modules in files of their own that are declared for tests only.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    /// Reads a file's text. What is no Rust is an error that says where.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let stream: TokenStream = text
            .parse()
            .map_err(|error: proc_macro2::LexError| format!("{path}: {error}"))?;
        let all: Vec<TokenTree> = stream.into_iter().collect();
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: Vec::new(),
            test_lines: BTreeSet::new(),
            test_modules: Vec::new(),
        };
        source.code = source.without_tests(&all);
        Ok(source)
    }

    /// The room that it lies in: the folder below `src/`, or the file's own name.
    pub(crate) fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let first = below.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    fn without_tests(&mut self, tokens: &[TokenTree]) -> Vec<TokenTree> {
        let mut kept = Vec::new();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if is_test_attribute(tokens, at) {
                let end = item_end(tokens, at + 2);
                self.leave_out(tokens.get(at..end).unwrap_or_default());
                at = end;
                continue;
            }
            kept.push(match token {
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let inner = self.without_tests(&inner);
                    let mut copy = Group::new(group.delimiter(), inner.into_iter().collect());
                    copy.set_span(group.span());
                    TokenTree::Group(copy)
                }
                other @ (TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) => {
                    other.clone()
                }
            });
            at += 1;
        }
        kept
    }

    fn leave_out(&mut self, item: &[TokenTree]) {
        if let (Some(first), Some(last)) = (item.first(), item.last()) {
            self.test_lines.extend(line(first)..=last_line(last));
        }
        for pair in item.windows(3) {
            if let [keyword, name, end] = pair
                && is_word(keyword, "mod")
                && is_mark(end, ';')
            {
                self.test_modules.push(name.to_string());
            }
        }
    }
}

/// Takes the code out of files that hold tests only, `#[cfg(test)] mod name;` in the file above.
pub(crate) fn leave_out_test_files(sources: &mut [Source]) {
    let mut tests = BTreeSet::new();
    for source in sources.iter() {
        let folder = source.path.trim_end_matches(".rs");
        let folder = folder.trim_end_matches("/mod");
        for module in &source.test_modules {
            tests.insert(format!("{folder}/{module}.rs"));
        }
    }
    for source in sources {
        if tests.contains(&source.path) {
            source.code.clear();
            source.test_lines = (1..=source.text.lines().count()).collect();
        }
    }
}

/// Where the item that begins at `at` ends: after its `;`, or after its block.
pub(crate) fn item_end(tokens: &[TokenTree], at: usize) -> usize {
    let statement = tokens.get(at).is_some_and(|first| is_word(first, "let"));
    let mut end = at;
    while let Some(token) = tokens.get(end) {
        end += 1;
        if is_mark(token, ';') {
            break;
        }
        if !statement && group(token, Delimiter::Brace).is_some() {
            if tokens.get(end).is_some_and(|next| is_mark(next, ';')) {
                end += 1;
            }
            break;
        }
    }
    end
}

/// The group that a token is, if it has these delimiters.
pub(crate) fn group(token: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
            None
        }
    }
}

/// What stands in a group.
pub(crate) fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// Whether a token is this word.
pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// The word that a token is.
pub(crate) fn word(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    }
}

/// Whether a token is this mark.
pub(crate) fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// The line on which a token begins, from 1.
pub(crate) fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

/// The line on which a token ends.
pub(crate) fn last_line(token: &TokenTree) -> usize {
    token.span().end().line
}

/// The attribute `#[...]` or `#![...]` that begins at `at`, and how many tokens it takes.
pub(crate) fn attribute(tokens: &[TokenTree], at: usize) -> Option<(Vec<TokenTree>, usize)> {
    if !is_mark(tokens.get(at)?, '#') {
        return None;
    }
    let bang = usize::from(is_mark(tokens.get(at + 1)?, '!'));
    let group = group(tokens.get(at + 1 + bang)?, Delimiter::Bracket)?;
    Some((inside(group), 2 + bang))
}

fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    attribute(tokens, at).is_some_and(|(inner, length)| {
        let text: String = inner.iter().map(ToString::to_string).collect();
        length == 2 && text.replace(' ', "") == "cfg(test)"
    })
}
