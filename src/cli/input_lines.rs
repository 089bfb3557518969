//! Input lines of a conversation.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};

use super::slash_commands;

/// The most bytes of history that are loaded: some thousand lines.
const MAX_HISTORY_BYTES: u64 = 256 << 10;

/// An input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line.
    Text(String),
    /// Ctrl-C.
    Stop,
    /// Ctrl-D, or the terminal was closed.
    End,
}

/// A source of lines, which tests replace.
pub(crate) trait Lines {
    /// Prompts for the next line.
    fn next(&mut self, prompt: &str) -> impl Future<Output = Line>;
}

/// The terminal, with editing, history, and completion of commands and files.
pub(crate) struct Keyboard {
    editor: Option<Editor<Completion, DefaultHistory>>,
    history: Option<PathBuf>,
}

impl Keyboard {
    /// Opens the terminal with the history of earlier conversations, if it is kept.
    pub(crate) fn open(history: Option<&Path>) -> rustyline::Result<Self> {
        let mut editor = Editor::new()?;
        editor.set_helper(Some(Completion {
            files: FilenameCompleter::new(),
        }));
        for line in history.map(remembered).unwrap_or_default() {
            // A failure only loses a history entry.
            let _ = editor.add_history_entry(line);
        }
        Ok(Self {
            editor: Some(editor),
            history: history.map(Path::to_owned),
        })
    }
}

impl Lines for Keyboard {
    async fn next(&mut self, prompt: &str) -> Line {
        // Reading blocks, so the editor is moved to a blocking thread and returned with the line.
        let Some(mut editor) = self.editor.take() else {
            return Line::End;
        };
        let prompt = prompt.to_owned();
        let history = self.history.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let read = editor.readline(&prompt);
            if let Ok(line) = &read
                && !line.trim().is_empty()
            {
                // A failure only loses a history entry.
                let _ = editor.add_history_entry(line.as_str());
                let _ = history.map(|history| remember(&history, line));
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

/// The latest lines of a history file.
fn remembered(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        let long = file.metadata()?.len().saturating_sub(MAX_HISTORY_BYTES);
        let mut file = file;
        file.seek(SeekFrom::Start(long))?;
        let mut bytes = Vec::new();
        file.take(MAX_HISTORY_BYTES).read_to_end(&mut bytes)?;
        text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(())
    });
    // The file does not exist before the first conversation.
    let _ = read;
    text.lines().map(str::to_owned).collect()
}

/// Appends a line. The file is readable by its owner only, and truncated when it becomes too long.
fn remember(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    if file.metadata()?.len() > 2 * MAX_HISTORY_BYTES {
        let kept = remembered(path).join("\n");
        file.set_len(0)?;
        file.write_all(format!("{kept}\n").as_bytes())?;
    }
    file.write_all(format!("{line}\n").as_bytes())
}

/// Completes commands, and files after commands that take one.
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
        let names = slash_commands::NAMES
            .iter()
            .filter(|name| name.starts_with(typed));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_for_the_next_conversation_and_bounded() {
        let path = std::env::temp_dir().join(format!("dashgate-history-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(remembered(&path).is_empty());
        remember(&path, "first").unwrap();
        remember(&path, "second").unwrap();
        assert_eq!(remembered(&path), ["first", "second"]);
        let long = "x".repeat(1 << 10);
        for _ in 0..600 {
            remember(&path, &long).unwrap();
        }
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(size <= 2 * MAX_HISTORY_BYTES + 2048, "{size}");
        assert_eq!(remembered(&path).last(), Some(&long));
    }
}
