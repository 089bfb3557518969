//! The upgrade of a request to a WebSocket: the checks, and the response.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::emulator::error::ApiError;
use crate::emulator::response_plan::Plan;

/// The version of the protocol of RFC 6455.
const VERSION: &str = "13";

/// The response that accepts an upgrade.
///
/// # Errors
///
/// If the request is no valid request for a WebSocket.
pub(in crate::emulator) fn accept(parts: &Parts) -> Result<Plan, ApiError> {
    let headers = &parts.headers;
    let bad = |message: &'static str| ApiError::new(400, "BadRequest", message);
    let is_upgrade = has_token(headers, &CONNECTION, "upgrade")
        && has_token(headers, &UPGRADE, "websocket")
        && parts.method == http::Method::GET;
    if !is_upgrade {
        return Err(bad("This endpoint requires a WebSocket upgrade."));
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != VERSION) {
        return Err(bad("Sec-WebSocket-Version must be 13."));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(bad("Sec-WebSocket-Key is missing."));
    };
    let mut plan = Plan {
        status: 101,
        ..Plan::default()
    };
    plan.set("upgrade", Some("websocket"));
    plan.set("connection", Some("Upgrade"));
    let accepted = derive_accept_key(key.as_bytes());
    plan.set("sec-websocket-accept", Some(&accepted));
    Ok(plan)
}

/// Whether a header is a list that has a token, in any case.
fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// A session that starts when the connection has been upgraded.
pub(in crate::emulator) struct PendingSession<S> {
    /// The connection after the response.
    pub(in crate::emulator) upgrade: OnUpgrade,
    /// What runs on it.
    pub(in crate::emulator) start: S,
}

/// The pending session of one connection, which the request sets and the connection takes.
pub(in crate::emulator) struct UpgradeSlot<S>(Arc<Mutex<Option<PendingSession<S>>>>);

impl<S> UpgradeSlot<S> {
    /// An empty slot.
    pub(in crate::emulator) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Sets the session.
    pub(in crate::emulator) fn set(&self, session: PendingSession<S>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// Takes the session, if there is one.
    pub(in crate::emulator) fn take(&self) -> Option<PendingSession<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Clone for UpgradeSlot<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/api-ws/v1/realtime");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_key_is_answered_as_in_rfc_6455() {
        let plan = accept(&parts(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]))
        .unwrap();
        let accepted = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let accepted = (accepted.0.to_owned(), accepted.1.to_owned());
        assert_eq!(plan.status, 101);
        assert!(plan.headers.contains(&accepted), "{:?}", plan.headers);
    }

    #[test]
    fn requests_that_are_no_upgrade_are_refused() {
        let all = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "x"),
        ];
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(accept(&parts(&some)).unwrap_err().status, 400);
        }
    }
}
