//! The errors of a script on one connection: which of them the frames so far have caused.

use super::socket_rule::{Action, SocketFault, Trigger};
use crate::emulator::script::wildcard;

/// The faults of one connection, each with the frames that it has counted.
#[derive(Debug)]
pub(super) struct Faults(Vec<(SocketFault, u64)>);

impl Faults {
    /// The faults of a rule.
    pub(super) fn new(faults: Vec<SocketFault>) -> Self {
        Self(faults.into_iter().map(|fault| (fault, 0)).collect())
    }

    /// What happens before the first frame.
    pub(super) fn opened(&self) -> Vec<Action> {
        let faults = self.0.iter().map(|(fault, _)| fault);
        let first = faults.filter(|fault| fault.after == Trigger::Opened);
        first.map(|fault| fault.action.clone()).collect()
    }

    /// What happens after a frame was sent.
    pub(super) fn sent(&mut self, kind: &str) -> Vec<Action> {
        self.caused(|after| match after {
            Trigger::Sent(pattern, count) if wildcard(pattern, kind) => Some(*count),
            Trigger::Sent(..) | Trigger::Opened | Trigger::Received(..) => None,
        })
    }

    /// What happens after a frame arrived, before the session sees it.
    pub(super) fn received(&mut self, kind: &str) -> Vec<Action> {
        self.caused(|after| match after {
            Trigger::Received(pattern, count) if wildcard(pattern, kind) => Some(*count),
            Trigger::Received(..) | Trigger::Opened | Trigger::Sent(..) => None,
        })
    }

    /// The actions whose trigger matches and whose count is now reached.
    fn caused(&mut self, count: impl Fn(&Trigger) -> Option<u64>) -> Vec<Action> {
        let mut actions = Vec::new();
        for (fault, seen) in &mut self.0 {
            if let Some(count) = count(&fault.after) {
                *seen += 1;
                if *seen == count {
                    actions.push(fault.action.clone());
                }
            }
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::emulator::websocket::socket_rule::SocketRule;

    fn rule(faults: Value) -> Result<SocketRule, String> {
        serde_json::from_value(json!({ "faults": faults })).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_is_caused_once_by_the_counted_frame() {
        let rule = rule(json!([
            {"silence": true},
            {"after": {"sent": "response.*.delta", "count": 2}, "close": {"code": 1011}},
            {"after": {"received": "response.create"}, "delay_ms": 5},
        ]));
        let mut faults = Faults::new(rule.unwrap().faults.unwrap());
        assert_eq!(faults.opened(), [Action::Silence]);
        assert_eq!(faults.sent("response.audio.delta"), []);
        assert_eq!(faults.sent("response.created"), []);
        let closed = [Action::Close(1011, String::new())];
        assert_eq!(faults.sent("response.text.delta"), closed);
        assert_eq!(faults.sent("response.text.delta"), []);
        let delayed = [Action::Delay(Duration::from_millis(5))];
        assert_eq!(faults.received("response.create"), delayed);
    }

    #[test]
    fn a_fault_has_one_trigger_and_one_action() {
        for (fault, part) in [
            (json!({}), "one of close"),
            (json!({"reset": true, "silence": true}), "one of close"),
            (json!({"reset": true, "after": {}}), "one of sent"),
            (
                json!({"reset": true, "after": {"sent": "a", "count": 0}}),
                "whole number",
            ),
            (json!({"close": {"code": 999}}), "whole number"),
            (json!({"explode": true}), "unknown field"),
        ] {
            let error = rule(json!([fault])).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
