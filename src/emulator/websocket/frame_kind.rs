//! The type of a frame, read without the rest of it.

use serde::Deserialize;

/// The type of a client's event, or its action on the inference socket, empty if it has none; and
/// its id, or that of the task.
pub(in crate::emulator) fn frame_kind(text: &str) -> (String, Option<String>) {
    #[derive(Deserialize)]
    struct Header {
        action: Option<String>,
        task_id: Option<String>,
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
    let (action, task_id) = event
        .header
        .map_or((None, None), |header| (header.action, header.task_id));
    let kind = event.kind.or(action).unwrap_or_default();
    (kind, event.event_id.or(task_id))
}
