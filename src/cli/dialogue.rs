//! Prints both sides of a live session as lines of text, in the order of the turns.
//!
//! The transcript of a turn may become final after the answer to it has started, or ended. Lines
//! are printed when they are complete and every line before them is. On a terminal, the line that
//! is being spoken is shown as well, and rewritten in place.

use std::collections::VecDeque;

use crossterm::terminal;
use dashgate_client::v1 as pb;

use super::terminal::{Terminal, Unwritten};

/// The most lines that are not printed. Beyond it, the first no longer waits.
const MAX_OPEN: usize = 4;

/// The most bytes of a line; the rest of it is omitted.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Where the lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On stdout.
    Stdout,
    /// On stderr, because stdout has the audio.
    Stderr,
}

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    User,
    Model,
}

/// A line.
#[derive(Debug)]
struct Line {
    speaker: Speaker,
    /// The id of the item or response.
    id: String,
    text: String,
    /// Words that may still change.
    tentative: String,
    /// How it ended, if not as usual.
    note: String,
    is_complete: bool,
}

/// The lines of a session that are not printed yet.
#[derive(Debug)]
pub(crate) struct Dialogue {
    place: Place,
    lines: VecDeque<Line>,
    /// Whether the terminal shows a line that is not complete.
    is_shown: bool,
}

impl Dialogue {
    /// A session without lines.
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            lines: VecDeque::new(),
            is_shown: false,
        }
    }

    fn line(&mut self, speaker: Speaker, id: &str) -> Option<&mut Line> {
        let is_same = |line: &Line| line.speaker == speaker && line.id == id;
        let at = self.lines.iter().position(is_same).unwrap_or_else(|| {
            self.lines.push_back(Line {
                speaker,
                id: id.to_owned(),
                text: String::new(),
                tentative: String::new(),
                note: String::new(),
                is_complete: false,
            });
            self.lines.len() - 1
        });
        self.lines.get_mut(at)
    }

    /// The user started to speak, so a transcript will follow. Earlier turns without one no longer
    /// wait for it.
    pub(crate) fn user_speaks(&mut self, item_id: &str) {
        for line in &mut self.lines {
            let is_earlier = line.speaker == Speaker::User && line.id != item_id;
            line.is_complete |= is_earlier && line.words().is_empty();
        }
        self.line(Speaker::User, item_id);
    }

    /// What the user said is no turn.
    pub(crate) fn user_is_ignored(&mut self, item_id: &str) {
        self.lines
            .retain(|line| line.speaker != Speaker::User || line.id != item_id);
    }

    /// No transcript will follow for what the user said so far.
    pub(crate) fn no_transcript(&mut self) {
        for line in &mut self.lines {
            line.is_complete |= line.speaker == Speaker::User;
        }
    }

    /// The words of the user so far.
    pub(crate) fn user_words(&mut self, transcript: &pb::InputTranscript) {
        let Some(line) = self.line(Speaker::User, &transcript.item_id) else {
            return;
        };
        line.text.clear();
        append(&mut line.text, &transcript.text);
        line.tentative.clear();
        append(&mut line.tentative, &transcript.tentative);
        line.is_complete = transcript.r#final;
    }

    /// The model started to answer.
    pub(crate) fn model_speaks(&mut self, response_id: &str) {
        self.line(Speaker::Model, response_id);
    }

    /// The next words of the model.
    pub(crate) fn model_words(&mut self, response_id: &str, words: &str) {
        if let Some(line) = self.line(Speaker::Model, response_id) {
            append(&mut line.text, words);
        }
    }

    /// The model has ended, for this reason if not as usual.
    pub(crate) fn model_ends(&mut self, response_id: &str, note: String) {
        if let Some(line) = self.line(Speaker::Model, response_id) {
            line.note = note;
            line.is_complete = true;
        }
    }

    /// Prints the lines that are complete, and shows the current one on a terminal.
    pub(crate) fn print(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        let mut done = String::new();
        while let Some(first) = self.lines.front() {
            if !first.is_complete && self.lines.len() <= MAX_OPEN {
                break;
            }
            done += &first.printed();
            self.lines.pop_front();
        }
        if !done.is_empty() {
            self.hide(terminal)?;
            match self.place {
                Place::Stdout => terminal.answer(&done)?,
                Place::Stderr => terminal.note(done.trim_end_matches('\n')),
            }
        }
        self.show(terminal)
    }

    /// Prints every line, at the end.
    pub(crate) fn end(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        for line in &mut self.lines {
            line.is_complete = true;
        }
        self.print(terminal)
    }

    /// Writes a line about the session to stderr.
    pub(crate) fn note(&mut self, text: &str, terminal: &mut Terminal) -> Result<(), Unwritten> {
        self.hide(terminal)?;
        terminal.note(text);
        self.show(terminal)
    }

    fn is_on_terminal(&self, terminal: &Terminal) -> bool {
        match self.place {
            Place::Stdout => terminal.shows_answers(),
            Place::Stderr => terminal.is_watched(),
        }
    }

    /// Shows the line that is being spoken: the last one with words.
    fn show(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        if !self.is_on_terminal(terminal) {
            return Ok(());
        }
        let mut lines = self.lines.iter().rev();
        let Some(line) = lines.find(|line| !line.words().trim().is_empty()) else {
            return self.hide(terminal);
        };
        // Some terminals do not know their size.
        let size = terminal::size().ok().filter(|(width, _)| *width > 0);
        let (width, _) = size.unwrap_or((80, 24));
        let text = line.shown(usize::from(width).saturating_sub(1));
        self.is_shown = true;
        self.rewrite(&text, terminal)
    }

    fn hide(&mut self, terminal: &mut Terminal) -> Result<(), Unwritten> {
        match std::mem::take(&mut self.is_shown) {
            true => self.rewrite("", terminal),
            false => Ok(()),
        }
    }

    fn rewrite(&self, text: &str, terminal: &mut Terminal) -> Result<(), Unwritten> {
        match self.place {
            Place::Stdout => terminal.paint(&format!("\r{text}\x1b[K")),
            Place::Stderr => {
                terminal.progress(text);
                Ok(())
            }
        }
    }
}

impl Line {
    fn prefix(&self) -> &'static str {
        match self.speaker {
            Speaker::User => "You: ",
            Speaker::Model => "Model: ",
        }
    }

    fn words(&self) -> String {
        format!("{}{}", self.text, self.tentative)
    }

    /// The line when it is complete; empty if nothing was said.
    fn printed(&self) -> String {
        let words = self.words();
        match (words.trim(), self.note.as_str()) {
            ("", "") => String::new(),
            ("", note) => format!("{}[{note}]\n", self.prefix()),
            (words, "") => format!("{}{words}\n", self.prefix()),
            (words, note) => format!("{}{words} [{note}]\n", self.prefix()),
        }
    }

    /// The end of the line that fits into this many columns, without control characters.
    fn shown(&self, columns: usize) -> String {
        let (prefix, words) = (self.prefix(), self.words());
        let mut left = columns.saturating_sub(prefix.len());
        let mut tail = VecDeque::new();
        for letter in words.trim().chars().rev() {
            let letter = if letter.is_control() { ' ' } else { letter };
            match left.checked_sub(width(letter)) {
                Some(less) => left = less,
                None => break,
            }
            tail.push_front(letter);
        }
        format!("{prefix}{}", tail.into_iter().collect::<String>())
    }
}

/// The columns of a letter: those of East Asian scripts take two, and begin here.
fn width(letter: char) -> usize {
    match letter {
        '\u{1100}'.. => 2,
        _ => 1,
    }
}

/// Appends as much as the limit permits.
fn append(line: &mut String, words: &str) {
    let mut end = MAX_LINE_BYTES.saturating_sub(line.len()).min(words.len());
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    line.push_str(words.get(..end).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::terminal::fake;
    use super::*;

    fn heard(id: &str, text: &str, tentative: &str, is_final: bool) -> pb::InputTranscript {
        pb::InputTranscript {
            item_id: id.to_owned(),
            text: text.to_owned(),
            tentative: tentative.to_owned(),
            r#final: is_final,
            ..pb::InputTranscript::default()
        }
    }

    #[test]
    fn a_transcript_that_is_late_is_printed_before_its_answer() {
        let (mut terminal, out, err) = fake::terminal(false, false);
        let mut dialogue = Dialogue::new(Place::Stdout);
        dialogue.user_speaks("i1");
        dialogue.model_words("r1", "it is ");
        dialogue.model_words("r1", "noon");
        dialogue.model_ends("r1", String::new());
        dialogue.print(&mut terminal).unwrap();
        assert_eq!(out.text(), "");
        dialogue.user_words(&heard("i1", "what", " time", false));
        dialogue.print(&mut terminal).unwrap();
        dialogue.user_words(&heard("i1", "what time is it?", "", true));
        dialogue.print(&mut terminal).unwrap();
        assert_eq!(out.text(), "You: what time is it?\nModel: it is noon\n");
        assert_eq!(err.text(), "");
    }

    #[test]
    fn an_interrupted_answer_is_marked_and_noise_is_not_printed() {
        let (mut terminal, out, _) = fake::terminal(false, false);
        let mut dialogue = Dialogue::new(Place::Stdout);
        dialogue.model_words("r1", "once upon a");
        dialogue.user_speaks("i2");
        dialogue.model_ends("r1", "interrupted".to_owned());
        dialogue.user_is_ignored("i2");
        dialogue.user_speaks("i3");
        dialogue.no_transcript();
        dialogue.model_ends("r2", "failed".to_owned());
        dialogue.print(&mut terminal).unwrap();
        assert_eq!(
            out.text(),
            "Model: once upon a [interrupted]\nModel: [failed]\n"
        );
    }

    #[test]
    fn a_line_does_not_wait_for_ever() {
        let (mut terminal, out, _) = fake::terminal(false, false);
        let mut dialogue = Dialogue::new(Place::Stdout);
        for turn in 0..MAX_OPEN {
            dialogue.user_speaks(&format!("i{turn}"));
            dialogue.model_words(&format!("r{turn}"), "yes");
            dialogue.model_ends(&format!("r{turn}"), String::new());
            dialogue.print(&mut terminal).unwrap();
            assert!(dialogue.lines.len() <= MAX_OPEN);
        }
        dialogue.end(&mut terminal).unwrap();
        assert_eq!(out.text(), "Model: yes\n".repeat(MAX_OPEN));
    }

    #[test]
    fn tentative_text_is_rewritten_in_place_on_a_terminal() {
        let (mut terminal, out, _) = fake::terminal(true, false);
        let mut dialogue = Dialogue::new(Place::Stdout);
        dialogue.user_words(&heard("i1", "", "a\x1b[2Jb", false));
        dialogue.print(&mut terminal).unwrap();
        assert_eq!(out.text(), "\rYou: a [2Jb\x1b[K");
        dialogue.user_words(&heard("i1", "about", "", true));
        dialogue.print(&mut terminal).unwrap();
        assert!(
            out.text().ends_with("\r\x1b[KYou: about\n"),
            "{:?}",
            out.text()
        );
    }

    #[test]
    fn the_end_of_a_long_line_is_shown() {
        let line = Line {
            speaker: Speaker::User,
            id: String::new(),
            text: "一二三四 ab".to_owned(),
            tentative: "c".to_owned(),
            note: String::new(),
            is_complete: false,
        };
        assert_eq!(line.shown(13), "You: 三四 abc");
        assert_eq!(line.shown(12), "You: 四 abc");
        assert_eq!(line.shown(3), "You: ");
        let mut long = "x".repeat(MAX_LINE_BYTES - 1);
        append(&mut long, "é");
        assert_eq!(long.len(), MAX_LINE_BYTES - 1);
    }
}
