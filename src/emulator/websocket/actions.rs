//! The actions of a script on one connection: which of them the frames so far have caused.

use super::socket_rule::{Action, SocketAction, Trigger};
use crate::emulator::script::wildcard;

/// The actions that are to come on one connection, each with the frames that it has counted.
#[derive(Debug)]
pub(super) struct PendingActions(Vec<(SocketAction, u64)>);

impl PendingActions {
    /// The actions of a rule.
    pub(super) fn new(actions: Vec<SocketAction>) -> Self {
        Self(actions.into_iter().map(|action| (action, 0)).collect())
    }

    /// What happens before the first frame.
    pub(super) fn opened(&self) -> Vec<Action> {
        let all = self.0.iter().map(|(action, _)| action);
        let first = all.filter(|action| action.after == Trigger::Opened);
        first.map(|action| action.action.clone()).collect()
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
        for (action, seen) in &mut self.0 {
            if let Some(count) = count(&action.after) {
                *seen += 1;
                if *seen == count {
                    actions.push(action.action.clone());
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

    fn rule(actions: Value) -> Result<SocketRule, String> {
        serde_json::from_value(json!({ "actions": actions })).map_err(|error| error.to_string())
    }

    #[test]
    fn an_action_is_caused_once_by_the_counted_frame() {
        let rule = rule(json!([
            {"silence": true},
            {"after": {"sent": "response.*.delta", "count": 2}, "close": {"code": 1011}},
            {"after": {"received": "response.create"}, "delay_ms": 5},
        ]));
        let mut actions = PendingActions::new(rule.unwrap().actions.unwrap());
        assert_eq!(actions.opened(), [Action::Silence]);
        assert_eq!(actions.sent("response.audio.delta"), []);
        assert_eq!(actions.sent("response.created"), []);
        let closed = [Action::Close(1011, String::new())];
        assert_eq!(actions.sent("response.text.delta"), closed);
        assert_eq!(actions.sent("response.text.delta"), []);
        let delayed = [Action::Delay(Duration::from_millis(5))];
        assert_eq!(actions.received("response.create"), delayed);
    }

    #[test]
    fn an_action_has_one_trigger_and_one_action() {
        for (action, part) in [
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
            let error = rule(json!([action])).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
