//! How the JSON of an answer is read whose form is not DashScope's own.

use super::answer_json::Body;
use super::lenient;
use crate::chat::event::Event;
use crate::error::{DASHSCOPE, Error, renamed};

/// Reads the JSON of answers in another form than DashScope's.
pub(crate) trait BodyReader: Send + std::fmt::Debug {
    /// Reads a body, or the data of one event. `None` if it is not a JSON object.
    fn read<'a>(&mut self, json: &'a str) -> Option<Body<'a>>;

    /// Whether an event that equals an earlier one except for its text and counts means the same.
    fn events_are_alike(&self) -> bool;

    /// Whether ends of choices are held back.
    fn holds_ends(&self) -> bool;

    /// The error that the latest body ended the answer with, if it did. Its content was read.
    fn take_failure(&mut self) -> Option<Error>;

    /// The ends of choices that were held back, once nothing more can follow. `None` if there are
    /// none.
    fn release(&mut self) -> Option<Body<'static>>;
}

/// Reads a body in the form of an answer: DashScope's, unless it has a reader. `None` if it is not
/// a JSON object.
pub(super) fn read_body<'a>(
    reader: &mut Option<Box<dyn BodyReader>>,
    json: &'a str,
) -> Option<Body<'a>> {
    match reader {
        Some(reader) => reader.read(json),
        None => lenient::read(json),
    }
}

/// Returns the error that the latest body ended an incomplete answer with: the one beside it if
/// there is one, which is more specific.
pub(super) fn check_failure(
    reader: &mut Option<Box<dyn BodyReader>>,
    beside: &mut Option<Error>,
    is_finished: bool,
) -> Result<(), Error> {
    let failure = reader.as_mut().and_then(|reader| reader.take_failure());
    match failure.filter(|_| !is_finished) {
        Some(error) => Err(beside.take().unwrap_or(error)),
        None => Ok(()),
    }
}

/// Names the server in the warnings of an answer, which are written for DashScope.
pub(super) fn name_server(event: Option<&mut Event>, server: &str) {
    if let Some(Event::End(end)) = event
        && server != DASHSCOPE
    {
        for warning in &mut end.warnings {
            warning.message = renamed(&warning.message, server);
        }
    }
}
