//! Prints an answer while it arrives: text on stdout, reasoning and notes on stderr.

use super::answer::Answer;
use super::terminal::{Terminal, Unwritten};
use super::terminal_text::Piece;
use super::usage_line;

/// Prints one answer.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    /// Whether the last line on stdout is unfinished.
    text: bool,
    /// Whether the last line on stderr is unfinished reasoning.
    thought: bool,
}

impl Printer {
    /// Prints what is new.
    pub(crate) fn show(&mut self, piece: &Piece, terminal: &mut Terminal) -> Result<(), Unwritten> {
        match piece {
            Piece::Text(text) | Piece::Reasoning(text) if text.is_empty() => {}
            Piece::Text(text) => {
                self.end_thought(terminal);
                terminal.answer(text)?;
                self.text = !text.ends_with('\n');
            }
            Piece::Reasoning(text) => {
                self.make_room(terminal)?;
                terminal.aside(text);
                self.thought = true;
            }
            Piece::Image(uri) => {
                self.end(terminal)?;
                terminal.answer(&format!("{uri}\n"))?;
            }
            Piece::Note(note) => {
                self.end_thought(terminal);
                self.make_room(terminal)?;
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
                self.end_thought(terminal);
                self.make_room(terminal)?;
                terminal.note(warning);
            }
        }
        Ok(())
    }

    /// Ends unfinished lines, each on its stream.
    pub(crate) fn end(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        self.end_thought(terminal);
        match std::mem::take(&mut self.text) {
            true => terminal.answer("\n"),
            false => Ok(()),
        }
    }

    fn end_thought(&mut self, terminal: &mut Terminal) {
        if std::mem::take(&mut self.thought) {
            terminal.note("");
        }
    }

    /// Ends the line of the answer before other output, if both go to a terminal. A file or a pipe
    /// gets only the answer, without added line breaks.
    fn make_room(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        if self.text && terminal.shows_answers() {
            self.text = false;
            terminal.answer("\n")?;
        }
        Ok(())
    }

    /// Ends the answer, and prints usage and durations.
    pub(crate) fn finish(
        mut self,
        answer: &Answer,
        terminal: &mut Terminal,
    ) -> Result<(), Unwritten> {
        self.end(terminal)?;
        terminal.aside(&format!("{}\n", usage_line::line(answer)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::fake;
    use super::*;

    #[test]
    fn only_text_is_on_stdout() {
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
    fn a_message_within_an_answer_breaks_its_line_on_a_terminal_only() {
        for (watched, expected) in [(false, "one two\n"), (true, "one \ntwo\n")] {
            for amid in [
                Piece::Note("heard: language en".into()),
                Piece::Warning("w".into()),
                Piece::Reasoning("hm".into()),
            ] {
                let (mut terminal, out, err) = fake::terminal(watched, false);
                let mut printer = Printer::default();
                for piece in [Piece::Text("one ".into()), amid, Piece::Text("two".into())] {
                    printer.show(&piece, &mut terminal).unwrap();
                }
                printer.end(&mut terminal).unwrap();
                assert_eq!(out.text(), expected);
                assert!(err.text().ends_with('\n'), "{}", err.text());
            }
        }
    }

    #[test]
    fn a_closed_stdout_stops_the_answer() {
        let (mut terminal, _) = fake::gone();
        let mut printer = Printer::default();
        let piece = Piece::Text("x".into());
        assert_eq!(printer.show(&piece, &mut terminal), Err(Unwritten::Closed));
    }
}
