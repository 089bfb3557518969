//! Shows an answer as it comes: text on stdout, thoughts and notes on stderr.

use super::answer::Answer;
use super::piece::Piece;
use super::report;
use super::terminal::{Terminal, Unwritten};

/// Where the last letter went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nowhere, or a line was ended.
    #[default]
    Fresh,
    /// To stdout, in the middle of a line.
    Text,
    /// To stderr, in the middle of a thought.
    Thought,
}

/// Shows one answer.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    line: Line,
}

impl Printer {
    /// Shows what is new.
    pub(crate) fn show(&mut self, piece: &Piece, terminal: &mut Terminal) -> Result<(), Unwritten> {
        match piece {
            Piece::Text(text) | Piece::Reasoning(text) if text.is_empty() => {}
            Piece::Text(text) => {
                if self.line == Line::Thought {
                    self.end(terminal)?;
                }
                terminal.answer(text)?;
                self.line = match text.ends_with('\n') {
                    true => Line::Fresh,
                    false => Line::Text,
                };
            }
            Piece::Reasoning(text) => {
                if self.line == Line::Text {
                    self.end(terminal)?;
                }
                terminal.aside(text);
                self.line = Line::Thought;
            }
            Piece::Image(uri) => {
                self.end(terminal)?;
                terminal.answer(&format!("{uri}\n"))?;
            }
            Piece::Note(note) => {
                self.end(terminal)?;
                terminal.aside(&format!("{note}\n"));
            }
            Piece::Choice(number) => {
                self.end(terminal)?;
                if *number > 1 {
                    terminal.answer("\n")?;
                }
                terminal.aside(&format!("answer {number}:\n"));
            }
            Piece::Warning(warning) => {
                self.end(terminal)?;
                terminal.note(warning);
            }
        }
        Ok(())
    }

    /// Ends the line that was begun, on the stream where it was begun.
    pub(crate) fn end(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        match std::mem::take(&mut self.line) {
            Line::Fresh => Ok(()),
            Line::Text => terminal.answer("\n"),
            Line::Thought => {
                terminal.note("");
                Ok(())
            }
        }
    }

    /// Ends the answer, and says what it used and how long it took.
    pub(crate) fn finish(
        mut self,
        answer: &Answer,
        terminal: &mut Terminal,
    ) -> Result<(), Unwritten> {
        self.end(terminal)?;
        terminal.aside(&format!("{}\n", report::line(answer)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::fake;
    use super::*;

    #[test]
    fn text_is_all_that_stands_on_stdout() {
        let (mut terminal, out, err) = fake::terminal(false, false);
        let mut printer = Printer::default();
        for piece in [
            Piece::Reasoning("let me".into()),
            Piece::Reasoning(" see".into()),
            Piece::Text("it is ".into()),
            Piece::Text("a dog".into()),
            Piece::Text(String::new()),
            Piece::Note("heard: language en".into()),
            Piece::Image("https://i".into()),
            Piece::Choice(2),
            Piece::Text("a cat".into()),
        ] {
            printer.show(&piece, &mut terminal).unwrap();
        }
        let answer = Answer {
            model: "m".into(),
            ..Answer::default()
        };
        printer.finish(&answer, &mut terminal).unwrap();
        assert_eq!(out.text(), "it is a dog\nhttps://i\n\na cat\n");
        assert_eq!(
            err.text(),
            "let me see\nheard: language en\nanswer 2:\n[m] \n"
        );
    }

    #[test]
    fn a_closed_stdout_stops_the_answer() {
        let (mut terminal, _) = fake::gone();
        let mut printer = Printer::default();
        let piece = Piece::Text("x".into());
        assert_eq!(printer.show(&piece, &mut terminal), Err(Unwritten::Closed));
    }
}
