//! Whether JSON that comes in pieces is a whole object so far.

/// Follows an object's text to its end, byte by byte.
#[derive(Debug, Default)]
pub(super) struct ObjectEnd {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Inside,
    Whole,
    NoObject,
}

impl ObjectEnd {
    /// Takes the next piece.
    pub(super) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            match self.state {
                State::Before | State::Inside => self.step(byte),
                State::Whole | State::NoObject => return,
            }
        }
    }

    /// Whether the object has ended.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' => {
                self.state = State::Inside;
                self.depth = self.depth.saturating_add(1);
            }
            _ if self.state == State::Before => self.state = State::NoObject,
            b'"' => self.in_string = true,
            b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.state = State::Whole;
                }
            }
            _ => {}
        }
    }
}

/// Whether a text begins an object.
pub(super) fn begins_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_object_is_found_wherever_it_is_cut() {
        for (text, is_whole) in [
            ("{}", true),
            (" \n{\"a\": {\"}\": \"\\\"}\"}} ", true),
            ("{\"a\": {\"}\": \"\\\"}\"}", false),
            ("{\"a\":\"}", false),
            ("[{}]", false),
            ("1", false),
            ("", false),
        ] {
            for at in 0..=text.len() {
                let mut end = ObjectEnd::default();
                end.push(&text[..at]);
                end.push(&text[at..]);
                assert_eq!(end.is_whole(), is_whole, "{text} {at}");
            }
        }
    }
}
