//! How the JSON of an answer is read whose form is not DashScope's own.

use super::answer_json::Body;

/// Reads the JSON of answers in another form than DashScope's.
pub(crate) trait BodyReader: Send + std::fmt::Debug {
    /// Reads a body, or the data of one event. `None` if it is not a JSON object.
    fn read<'a>(&mut self, json: &'a str) -> Option<Body<'a>>;

    /// Whether an event that equals an earlier one except for its text and counts means the same.
    fn events_are_alike(&self) -> bool;

    /// The ends of choices that were held back, once nothing more can follow. `None` if there are
    /// none.
    fn release(&mut self) -> Option<Body<'static>>;
}
