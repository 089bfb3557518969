//! Fingerprints of requests: equal for equal requests, in every process of one version.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256};

use crate::chat::call::Call;

/// The version of what is hashed. It must grow whenever a change of the data model changes the
/// fingerprint of a request, which a test below notices: replicas of two versions cannot compare
/// their fingerprints.
const VERSION: u8 = 2;

/// What makes two calls different. Not the trace: each retry of a call has its own span. Nor the
/// model of a stored conversation, which may change between two retries.
pub(super) fn content(call: &Call) -> impl Hash + '_ {
    let (prompt, stored) = (&call.prompt, call.stored.as_deref());
    let uses_model = stored.is_some_and(|stored| stored.uses_model);
    let model = (!uses_model).then_some(&prompt.model);
    let passing = (&call.passing.workspace, &call.passing.data_inspection);
    let tools = (&prompt.tools, &prompt.tool_choice);
    let asked = (model, &prompt.turns, tools, &prompt.options);
    (asked, call.delivery, passing, stored)
}

/// The fingerprint of a call.
pub(super) fn of(call: &Call) -> Vec<u8> {
    let mut hasher = Sha256Hasher(Context::new(&SHA256));
    content(call).hash(&mut hasher);
    let mut fingerprint = vec![VERSION];
    fingerprint.extend_from_slice(hasher.0.finish().as_ref());
    fingerprint
}

/// Whether two fingerprints are those of different requests. Unknown if another version made one.
pub(super) fn contradict(one: &[u8], other: &[u8]) -> bool {
    one.first() == other.first() && one != other
}

/// The derived `Hash` of a request, into SHA-256.
struct Sha256Hasher(Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::chat::call::{Caller, Delivery, Joining, Passing, Prompt, Tenant, Unread};
    use crate::chat::document::Real;
    use crate::chat::media::{Audio, Medium, Source};
    use crate::chat::message::{Body, Options, Part, Role, Turn};

    fn call() -> Call {
        let audio = Audio {
            medium: Some(Medium {
                mime_type: "audio/wav".to_owned(),
                source: Source::Inline(Bytes::from_static(b"RIFF")),
            }),
            file: None,
        };
        let mut turn = Turn::new(Role::User);
        let bodies = [Body::Audio(audio), Body::Text("hi".to_owned())];
        turn.parts = bodies.into_iter().map(Part::from).collect();
        Call {
            request_id: Arc::from("a"),
            named: true,
            caller: Caller(1),
            share: Caller(1),
            tenant: Tenant::default(),
            caller_name: None,
            method: "Converse",
            delivery: Delivery::Whole,
            timeout: Duration::from_secs(1),
            prompt: Prompt {
                model: Arc::from("qwen-audio-turbo"),
                turns: vec![turn],
                tools: Vec::new(),
                tool_choice: None,
                options: Box::new(Options {
                    temperature: Some(Real(0.5)),
                    stop: vec!["x".to_owned()],
                    ..Options::default()
                }),
            },
            passing: Passing::default(),
            warnings: Vec::new(),
            joining: Joining::default(),
            stored: None,
        }
    }

    fn changed(change: impl FnOnce(&mut Call)) -> Vec<u8> {
        let mut call = call();
        change(&mut call);
        of(&call)
    }

    #[test]
    fn a_known_request_has_a_known_fingerprint() {
        // If it differs, the data model has changed: increment VERSION and replace it.
        assert_eq!(
            crate::hex::encode(&of(&call())),
            "0273b2469dd82a94d55a1e87c81e866f4ee8bc65049078a449123f60e1b67c7a2e"
        );
    }

    #[test]
    fn the_fingerprint_depends_on_the_request_and_not_on_caller_or_deadline() {
        let same = of(&call());
        for differs in [
            changed(|call| call.delivery = Delivery::Stream),
            changed(|call| call.prompt.model = Arc::from("qwen-audio")),
            changed(|call| call.prompt.turns[0].role = Role::System),
            changed(|call| call.prompt.options.seed = Some(0)),
            changed(|call| call.passing.workspace = Some(String::new())),
        ] {
            assert!(contradict(&same, &differs));
        }
        for equal in [
            changed(|call| call.caller = Caller(2)),
            changed(|call| call.timeout = Duration::from_secs(9)),
            changed(|call| call.joining.unread = Unread::Detached),
            changed(|call| call.joining.after = 3),
            changed(|call| call.passing.traceparent = Some("t".to_owned())),
        ] {
            assert!(!contradict(&same, &equal));
        }
        // That of another version says nothing.
        assert!(!contradict(&same, &[VERSION + 1, 7]));
    }
}
