//! The realtime interface of DashScope: its events as JSON, in the dialect of a model. It has no
//! clock: frames go in and out as text, and [`socket`] connects them to a WebSocket.

mod audio_frame;
#[cfg(test)]
mod captures;
mod client_event;
mod codec;
mod decoder;
mod dialect;
mod errors;
mod event_kind;
mod fields;
mod open;
mod session_json;
mod session_report;
mod session_tree;
mod socket;
mod tool_calls;

use url::Url;

pub use client_event::{ClientEvent, EventId, FinishWay, Frame};
pub use codec::Codec;
pub use dialect::{AudioForms, Dialect, DialectTask, Ending, ResponseForm, SessionForm, TurnKind};
pub use errors::{close_error, error_of};
pub use socket::{LiveEnding, LiveProfile, LiveSocket};

/// The path of the HTTP interface, which ends base URLs.
const HTTP_PATH: [&str; 2] = ["api", "v1"];

/// The path of the realtime interface beside it.
const REALTIME_PATH: [&str; 3] = ["api-ws", "v1", "realtime"];

/// The URL of the WebSocket of a model, from the base URL of HTTP, `/api/v1` included. It keeps the
/// scheme of HTTP, by which proxies and TLS are chosen.
fn url(base: &Url, model: &str) -> Url {
    let mut url = base.clone();
    let segments = base.path_segments().into_iter().flatten();
    let segments: Vec<&str> = segments.filter(|segment| !segment.is_empty()).collect();
    let prefix = segments.strip_suffix(&HTTP_PATH).unwrap_or(&segments);
    url.set_path(&[prefix, &REALTIME_PATH].concat().join("/"));
    url.query_pairs_mut().append_pair("model", model);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_realtime_url_is_beside_the_http_interface() {
        for (base, expected) in [
            (
                "https://dashscope.aliyuncs.com/api/v1",
                "https://dashscope.aliyuncs.com/api-ws/v1/realtime?model=a-b",
            ),
            (
                "http://127.0.0.1:8080/api/v1/",
                "http://127.0.0.1:8080/api-ws/v1/realtime?model=a-b",
            ),
            (
                "https://proxy.example/dashscope/api/v1",
                "https://proxy.example/dashscope/api-ws/v1/realtime?model=a-b",
            ),
            (
                "https://proxy.example/",
                "https://proxy.example/api-ws/v1/realtime?model=a-b",
            ),
        ] {
            let url = url(&Url::parse(base).unwrap(), "a-b");
            assert_eq!(url.as_str(), expected);
        }
        let url = url(&Url::parse("https://h/api/v1").unwrap(), "a b&c");
        assert_eq!(url.query(), Some("model=a+b%26c"));
    }
}
