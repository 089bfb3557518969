//! What an event of an answer is read with.

use super::fault::unreadable;
use super::growth::{Form, Fresh, Growth, Trouble};
use crate::error::{Error, Sent};

/// What an event is read with.
#[derive(Debug)]
pub(super) struct Reading<'f> {
    /// What is known of the form of texts.
    pub(super) form: &'f mut Form,
    /// Whether the operator said so.
    pub(super) is_given: bool,
    /// Whether there may be other events.
    pub(super) streamed: bool,
    /// How far the call had come.
    pub(super) sent: Sent,
}

impl Reading<'_> {
    /// Adds the next text to those before it.
    pub(super) fn grow(&mut self, growth: &mut Growth, text: &str) -> Result<Fresh, Error> {
        let grown = growth.push(text, self.form);
        grown.map_err(|trouble| self.trouble(trouble))
    }

    /// The error of texts that cannot be read.
    pub(super) fn trouble(&self, trouble: Trouble) -> Error {
        unreadable(trouble.what(), self.sent)
    }
}
