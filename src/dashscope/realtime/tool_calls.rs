//! The tool calls of the response that is running.

use crate::chat::live_event::{LivePiece, UpstreamDelta};
use crate::chat::message::ToolCall;

/// The maximum number of calls that are tracked. No response has that many; the oldest is dropped.
pub(super) const MAX_CALLS: usize = 128;

/// The type of every call: DashScope's realtime models have no other tools.
const FUNCTION: &str = "function";

/// Tracks calls, so that the first piece of each has its id and name and nothing is repeated.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(Vec<Call>);

/// What an event reports of a call.
#[derive(Debug, Default)]
pub(super) struct CallReport {
    /// The id of the response.
    pub(super) response_id: String,
    /// The id of the item.
    pub(super) item_id: String,
    /// The id of the call.
    pub(super) call_id: String,
    /// The index of the item in the response.
    pub(super) index: i32,
    /// The function; empty if not reported.
    pub(super) name: String,
    /// Arguments: a delta, or all of them.
    pub(super) arguments: String,
}

/// A call of the response.
#[derive(Debug)]
struct Call {
    item_id: String,
    call_id: String,
    index: i32,
    /// Whether its first piece was emitted.
    is_announced: bool,
    /// The length of the arguments so far, and their hash: what comes at the end may be written in
    /// another way.
    length: usize,
    hash: u64,
    is_done: bool,
}

impl ToolCalls {
    /// Forgets all calls: another response has started.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A call has started.
    pub(super) fn begin(&mut self, report: CallReport) -> Option<UpstreamDelta> {
        let call = self.find(&report);
        // Arguments that are present already are part of the deltas, or of the whole.
        let report = CallReport {
            arguments: String::new(),
            ..report
        };
        let is_first = !call.is_announced && !report.name.is_empty();
        is_first.then(|| call.piece(report))
    }

    /// Arguments follow those so far. Until the function is known they are skipped: all of them
    /// come at the end.
    pub(super) fn append(&mut self, report: CallReport) -> Option<UpstreamDelta> {
        let call = self.find(&report);
        let is_known = call.is_announced || !report.name.is_empty();
        let has_news = is_known && !call.is_done && !report.arguments.is_empty();
        has_news.then(|| call.piece(report))
    }

    /// The arguments are complete. While the function is not known, they are skipped: the item has
    /// both.
    pub(super) fn arguments_done(&mut self, report: CallReport) -> Option<UpstreamDelta> {
        let call = self.find(&report);
        let is_known = call.is_announced || !report.name.is_empty();
        is_known.then(|| self.complete(report))?
    }

    /// The call is complete: what was missing of its arguments is emitted, or all of them as a
    /// snapshot if they differ.
    pub(super) fn complete(&mut self, mut report: CallReport) -> Option<UpstreamDelta> {
        let call = self.find(&report);
        let says_nothing = report.name.is_empty() && report.arguments.is_empty();
        if call.is_done || says_nothing {
            return None;
        }
        call.is_done = !report.arguments.is_empty();
        let halves = report.arguments.split_at_checked(call.length);
        let missing = halves.filter(|(known, _)| hashed(EMPTY_HASH, known) == call.hash);
        let missing = missing.map(|(_, missing)| missing.to_owned());
        let Some(missing) = missing.filter(|_| !report.arguments.is_empty()) else {
            let differs = !report.arguments.is_empty();
            return (differs || !call.is_announced).then(|| UpstreamDelta {
                is_snapshot: differs,
                ..call.piece(report)
            });
        };
        report.arguments = missing;
        let has_news = !call.is_announced || !report.arguments.is_empty();
        has_news.then(|| call.piece(report))
    }

    /// The call of a report. It is moved to the end.
    fn find(&mut self, report: &CallReport) -> &mut Call {
        let known = self.0.iter().position(|call| call.is_of(report));
        let call = known.map(|at| self.0.remove(at));
        if self.0.len() >= MAX_CALLS {
            self.0.remove(0);
        }
        self.0.push_mut(call.unwrap_or_else(|| Call::of(report)))
    }
}

impl Call {
    fn of(report: &CallReport) -> Self {
        Self {
            item_id: report.item_id.clone(),
            call_id: report.call_id.clone(),
            index: report.index,
            is_announced: false,
            length: 0,
            hash: EMPTY_HASH,
            is_done: false,
        }
    }

    fn is_of(&self, report: &CallReport) -> bool {
        let same = |one: &str, other: &str| !one.is_empty() && one == other;
        let has_id = !report.call_id.is_empty() || !report.item_id.is_empty();
        same(&self.call_id, &report.call_id)
            || same(&self.item_id, &report.item_id)
            || (!has_id && self.index == report.index)
    }

    /// The piece of a report. The first has the id and the name.
    fn piece(&mut self, report: CallReport) -> UpstreamDelta {
        let is_first = !std::mem::replace(&mut self.is_announced, true);
        self.length = self.length.saturating_add(report.arguments.len());
        self.hash = hashed(self.hash, &report.arguments);
        let first = |text: String| if is_first { text } else { String::new() };
        let call = ToolCall {
            index: report.index,
            id: first(report.call_id),
            kind: first(FUNCTION.to_owned()),
            name: first(report.name),
            arguments: report.arguments,
            ..ToolCall::default()
        };
        UpstreamDelta {
            response_id: report.response_id,
            item_id: report.item_id,
            piece: LivePiece::ToolCall(Box::new(call)),
            is_snapshot: false,
        }
    }
}

/// The hash of no bytes.
const EMPTY_HASH: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what was hashed before and this text, byte by byte (FNV-1a).
fn hashed(before: u64, text: &str) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    text.bytes().fold(before, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, arguments: &str) -> CallReport {
        CallReport {
            response_id: "r".to_owned(),
            item_id: "i".to_owned(),
            call_id: "c".to_owned(),
            index: 1,
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    /// Id, name and arguments of a piece, with `!` if it is a snapshot.
    fn shown(delta: Option<UpstreamDelta>) -> String {
        let Some(delta) = delta else {
            return "-".to_owned();
        };
        let LivePiece::ToolCall(call) = delta.piece else {
            panic!("no call");
        };
        let mark = if delta.is_snapshot { "!" } else { "" };
        format!("{mark}{}/{}/{}", call.id, call.name, call.arguments)
    }

    #[test]
    fn the_first_piece_has_id_and_name_and_nothing_is_repeated() {
        let mut calls = ToolCalls::default();
        assert_eq!(shown(calls.begin(report("f", "{}"))), "c/f/");
        assert_eq!(shown(calls.begin(report("f", ""))), "-");
        assert_eq!(shown(calls.append(report("", "{\"a\""))), "//{\"a\"");
        assert_eq!(shown(calls.append(report("", ":1}"))), "//:1}");
        assert_eq!(shown(calls.complete(report("f", "{\"a\":1}"))), "-");
        assert_eq!(shown(calls.complete(report("f", "{\"a\":1}"))), "-");
        assert_eq!(shown(calls.append(report("", "x"))), "-");
    }

    #[test]
    fn what_was_missing_is_emitted_at_the_end() {
        let mut calls = ToolCalls::default();
        assert_eq!(shown(calls.complete(report("f", "{}"))), "c/f/{}");

        calls.clear();
        calls.begin(report("f", ""));
        assert_eq!(shown(calls.complete(report("f", "{}"))), "//{}");

        calls.clear();
        calls.begin(report("f", ""));
        calls.append(report("", "{\"a\""));
        assert_eq!(shown(calls.complete(report("f", "{\"a\":1}"))), "//:1}");

        calls.clear();
        assert_eq!(shown(calls.append(report("", "{"))), "-");
        assert_eq!(shown(calls.complete(report("f", "{}"))), "c/f/{}");

        calls.clear();
        assert_eq!(shown(calls.complete(report("f", ""))), "c/f/");

        calls.clear();
        calls.begin(report("f", ""));
        calls.append(report("", "{\"a\":1}"));
        assert_eq!(shown(calls.complete(report("f", "{}"))), "!//{}");
    }

    #[test]
    fn arguments_that_are_written_in_another_way_at_the_end_add_nothing() {
        let mut calls = ToolCalls::default();
        calls.begin(report("f", ""));
        calls.append(report("", "{\"a\":1}"));
        // All of them, which are no continuation.
        let all = calls.complete(report("f", "{\"a\": 1}"));
        assert_eq!(shown(all), "!//{\"a\": 1}");
        assert_eq!(shown(calls.complete(report("", ""))), "-");
    }

    #[test]
    fn an_end_without_arguments_or_function_leaves_them_to_the_item() {
        let mut calls = ToolCalls::default();
        calls.begin(report("f", ""));
        assert_eq!(shown(calls.arguments_done(report("", ""))), "-");
        assert_eq!(shown(calls.complete(report("f", "{}"))), "//{}");
        assert_eq!(shown(calls.complete(report("f", "{}"))), "-");

        calls.clear();
        assert_eq!(shown(calls.arguments_done(report("", "{}"))), "-");
        assert_eq!(shown(calls.complete(report("f", "{}"))), "c/f/{}");
    }

    #[test]
    fn calls_are_distinguished_by_either_id_and_bounded() {
        let mut calls = ToolCalls::default();
        let of = |item: &str, call: &str| CallReport {
            item_id: item.to_owned(),
            call_id: call.to_owned(),
            ..report("f", "")
        };
        assert_eq!(shown(calls.begin(of("i1", "c1"))), "c1/f/");
        assert_eq!(shown(calls.begin(of("i2", "c2"))), "c2/f/");
        assert_eq!(shown(calls.begin(of("", "c1"))), "-");
        assert_eq!(shown(calls.begin(of("i2", ""))), "-");
        // Without an id, the index distinguishes them.
        assert_eq!(shown(calls.begin(of("", ""))), "-");
        for n in 0..2 * MAX_CALLS {
            calls.begin(of("", &n.to_string()));
        }
        assert!(calls.0.len() <= MAX_CALLS);
    }
}
