//! The type of a frame, read without the rest of it.

use serde::Deserialize;

/// The type of a client's event, or its action on the inference socket, empty if it has none; and
/// its id.
pub(super) fn frame_kind(text: &str) -> (String, Option<String>) {
    #[derive(Deserialize)]
    struct Header {
        action: Option<String>,
    }
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: Option<String>,
        event_id: Option<String>,
        header: Option<Header>,
    }
    let Ok(event) = serde_json::from_str::<Event>(text) else {
        return Default::default();
    };
    let action = || event.header.and_then(|header| header.action);
    (
        event.kind.or_else(action).unwrap_or_default(),
        event.event_id,
    )
}
