//! Events as bytes, for the store: MessagePack with the names of fields, one event after the other,
//! so that a replica of the next version can add a field.

use crate::chat::event::Event;
use crate::error::{Error, Reason};

/// Appends an event.
pub(super) fn encode(event: &Event, to: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
    let before = to.len();
    rmp_serde::encode::write_named(to, event).inspect_err(|_| to.truncate(before))
}

/// All events of a batch.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let event = rmp_serde::decode::from_read(&mut bytes).map_err(|error| {
            let message = "a stored event cannot be read";
            Error::new(Reason::StoreDamaged, message).with_source(error)
        })?;
        events.push(event);
    }
    Ok(events)
}
