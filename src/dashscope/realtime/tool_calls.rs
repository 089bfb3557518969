//! The tool calls of the response that is running.

use crate::chat::live_event::{LivePiece, UpstreamDelta};
use crate::chat::message::ToolCall;

/// The maximum number of calls that are tracked. No response has that many; the oldest is dropped.
const MAX_CALLS: usize = 128;

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

/// A call of which something was emitted.
#[derive(Debug)]
struct Call {
    item_id: String,
    call_id: String,
    is_named: bool,
    /// The length of the arguments so far.
    length: usize,
    is_done: bool,
}

impl ToolCalls {
    /// Forgets all calls: another response has started.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// A call has started, or is known by its name.
    pub(super) fn begin(&mut self, report: CallReport) -> Option<UpstreamDelta> {
        // Arguments that are present already are part of the deltas, or of the whole.
        let report = CallReport {
            arguments: String::new(),
            ..report
        };
        let (call, is_new) = self.find(&report);
        let news = (is_new || !call.is_named) && !report.name.is_empty();
        (news || is_new).then(|| call.piece(report, is_new))
    }

    /// Arguments follow those so far.
    pub(super) fn append(&mut self, report: CallReport) -> Option<UpstreamDelta> {
        let (call, is_new) = self.find(&report);
        let is_empty = report.arguments.is_empty() && !is_new;
        (!call.is_done && !is_empty).then(|| call.piece(report, is_new))
    }

    /// The arguments are complete: what was missing of them is emitted, or all of them as a
    /// snapshot if they differ.
    pub(super) fn complete(&mut self, mut report: CallReport) -> Option<UpstreamDelta> {
        let (call, is_new) = self.find(&report);
        if call.is_done {
            return None;
        }
        call.is_done = true;
        if report.arguments.is_empty() && !is_new && call.is_named {
            return None;
        }
        let missing = report.arguments.get(call.length..).map(str::to_owned);
        let Some(missing) = missing else {
            let mut delta = call.piece(report, true);
            delta.is_snapshot = true;
            return Some(delta);
        };
        let is_unnamed = !call.is_named && !report.name.is_empty();
        report.arguments = missing;
        let has_news = is_new || is_unnamed || !report.arguments.is_empty();
        has_news.then(|| call.piece(report, is_new))
    }

    /// The call of a report, and whether it is new. It is moved to the end.
    fn find(&mut self, report: &CallReport) -> (&mut Call, bool) {
        let known = self.0.iter().position(|call| call.is_of(report));
        let call = known.map(|at| self.0.remove(at));
        let is_new = call.is_none();
        if self.0.len() >= MAX_CALLS {
            self.0.remove(0);
        }
        let call = call.unwrap_or_else(|| Call::of(report));
        (self.0.push_mut(call), is_new)
    }
}

impl Call {
    fn of(report: &CallReport) -> Self {
        Self {
            item_id: report.item_id.clone(),
            call_id: report.call_id.clone(),
            is_named: false,
            length: 0,
            is_done: false,
        }
    }

    fn is_of(&self, report: &CallReport) -> bool {
        let same = |one: &str, other: &str| !one.is_empty() && one == other;
        same(&self.call_id, &report.call_id) || same(&self.item_id, &report.item_id)
    }

    /// The piece of a report. The first has the id; the name is in the first that reports it.
    fn piece(&mut self, report: CallReport, is_first: bool) -> UpstreamDelta {
        let text = |is_sent: bool, text: String| if is_sent { text } else { String::new() };
        let has_name = is_first || !self.is_named;
        self.is_named = self.is_named || !report.name.is_empty();
        self.length = self.length.saturating_add(report.arguments.len());
        let call = ToolCall {
            index: report.index,
            id: text(is_first, report.call_id),
            kind: text(is_first, FUNCTION.to_owned()),
            name: text(has_name, report.name),
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
