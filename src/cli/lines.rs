//! What a person types in a conversation, line by line.

use std::future::Future;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::slash;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C.
    Stop,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// Where lines come from; a test brings its own.
pub(crate) trait Lines {
    /// Asks for the next line.
    fn next(&mut self, prompt: &str) -> impl Future<Output = Line>;
}

/// The terminal, with editing, a memory of earlier lines, and completion of commands and files.
pub(crate) struct Keyboard {
    editor: Option<Editor<Completion, DefaultHistory>>,
}

impl Keyboard {
    /// Takes the terminal.
    pub(crate) fn open() -> rustyline::Result<Self> {
        let mut editor = Editor::new()?;
        editor.set_helper(Some(Completion {
            files: FilenameCompleter::new(),
        }));
        Ok(Self {
            editor: Some(editor),
        })
    }
}

impl Lines for Keyboard {
    async fn next(&mut self, prompt: &str) -> Line {
        // Reading blocks, so the editor goes to a thread for it and comes back with the line.
        let Some(mut editor) = self.editor.take() else {
            return Line::End;
        };
        let prompt = prompt.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let read = editor.readline(&prompt);
            if let Ok(line) = &read
                && !line.trim().is_empty()
            {
                // A line that is not remembered can be typed again.
                let _ = editor.add_history_entry(line.as_str());
            }
            (editor, read)
        });
        let Ok((editor, read)) = reading.await else {
            return Line::End;
        };
        self.editor = Some(editor);
        match read {
            Ok(line) => Line::Text(line),
            Err(ReadlineError::Interrupted) => Line::Stop,
            Err(_) => Line::End,
        }
    }
}

/// Completes the names of commands, and of files after those that take one.
struct Completion {
    files: FilenameCompleter,
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..position).unwrap_or_default();
        if !typed.starts_with('/') {
            return Ok((position, Vec::new()));
        }
        if typed.contains(' ') {
            let takes_file = ["/audio ", "/image ", "/video "]
                .iter()
                .any(|name| typed.starts_with(name));
            return match takes_file {
                true => self.files.complete_path(line, position),
                false => Ok((position, Vec::new())),
            };
        }
        let names = slash::NAMES.iter().filter(|name| name.starts_with(typed));
        let pairs = names.map(|name| Pair {
            display: name.trim().to_owned(),
            replacement: (*name).to_owned(),
        });
        Ok((0, pairs.collect()))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}
