//! The turns of a session that continues a stored conversation, without I/O: what the caller said
//! since the response before, and what the response said.
//!
//! What belongs to no answer yet belongs to the next turn, as in DashScope's own conversation. So a
//! response that said nothing makes no turn, and one that failed takes nothing away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::live_event::{LivePiece, ResponseStatus};
use crate::chat::live_turn::{LiveTurn, LiveTurnEnd};
use crate::chat::message::{Body, Part, Role, ToolCall, Turn};
use crate::chat::usage::Usage;
use crate::error::Reason;

use super::stored_items::{Item, MAX_BYTES, MAX_ITEMS, Words, messages, shortened};

/// How long the transcript of speech is awaited after the response to it has ended. The turn is
/// stored without it then.
const TRANSCRIPT_TIME: Duration = Duration::from_secs(1);

/// The maximum number of turns that wait for transcripts.
const MAX_WAITING: usize = 8;

/// The maximum number of transcripts that are remembered because their turn was stored without
/// them.
const MAX_LATE: usize = 64;

/// A response that is running.
#[derive(Debug)]
struct Running {
    items: Vec<Item>,
    text: String,
    calls: Vec<ToolCall>,
    call_bytes: usize,
    began: Instant,
}

/// A turn whose transcripts may be awaited.
#[derive(Debug)]
struct Waiting {
    items: Vec<Item>,
    instructions: Option<String>,
    turn: LiveTurn,
    until: Instant,
}

/// The turns of a session.
#[derive(Debug)]
pub(super) struct StoredTurns {
    /// What no response has answered.
    items: Vec<Item>,
    /// The number of them that the response which was requested answers.
    requested: Option<usize>,
    /// The number of images that are not committed.
    images: usize,
    /// The number of inputs that the caller has committed and that are no items yet.
    commits: usize,
    running: Option<Running>,
    waiting: VecDeque<Waiting>,
    /// The ids of speech whose transcripts come too late.
    late: VecDeque<String>,
    /// Instructions of the caller that are not stored.
    instructions: Option<String>,
    /// Those before the latest update, if it has changed them.
    replaced: Option<Option<String>>,
    /// The number of turns so far.
    count: u32,
    /// How a turn ends that fails.
    failure: LiveTurnEnd,
}

impl StoredTurns {
    /// The turns of a session with these instructions of its caller.
    pub(super) fn new(instructions: Option<String>) -> Self {
        Self {
            items: Vec::new(),
            requested: None,
            images: 0,
            commits: 0,
            running: None,
            waiting: VecDeque::new(),
            late: VecDeque::new(),
            instructions,
            replaced: None,
            count: 0,
            failure: LiveTurnEnd::Failed(Reason::UpstreamInternal.name()),
        }
    }

    /// The caller has changed its instructions.
    pub(super) fn instruct(&mut self, instructions: Option<&String>) {
        self.replaced = instructions.map(|text| self.instructions.replace(shortened(text)));
    }

    /// The latest update was refused: these are the instructions before it, stored or not.
    pub(super) fn revert(&mut self, before: Option<&String>) {
        if let Some(replaced) = self.replaced.take() {
            self.instructions = match self.instructions {
                Some(_) => replaced,
                // A turn has the refused ones.
                None => before.map(|text| shortened(text)),
            };
        }
    }

    /// The caller has sent text.
    pub(super) fn text(&mut self, text: &str) {
        self.push(Item::Text(shortened(text)));
    }

    /// The caller has sent the result of a tool call.
    pub(super) fn result(&mut self, call_id: &str, output: &str) {
        self.push(Item::Result {
            call_id: shortened(call_id),
            output: shortened(output),
        });
    }

    /// The caller has sent an image, which is part of the next input.
    pub(super) fn image(&mut self) {
        self.images = (self.images + 1).min(MAX_ITEMS);
    }

    /// The input was discarded.
    pub(super) fn cleared(&mut self) {
        self.images = 0;
    }

    /// The caller has committed its input, which becomes an item.
    pub(super) fn commit(&mut self) {
        self.commits = (self.commits + 1).min(MAX_ITEMS);
    }

    /// Speech has become an item, whose transcript may come. If the caller committed it, it belongs
    /// to the response that the caller has requested since.
    pub(super) fn committed(&mut self, item_id: &str, is_transcribed: bool) {
        let requested = self.requested.filter(|_| self.commits > 0);
        self.commits = self.commits.saturating_sub(1);
        let after = requested.map_or(self.items.len(), |count| count.min(self.items.len()));
        let later = self.items.split_off(after);
        for _ in 0..std::mem::take(&mut self.images) {
            self.push(Item::Image);
        }
        self.push(Item::Speech {
            id: shortened(item_id),
            words: match is_transcribed {
                true => Words::Awaited,
                false => Words::Unknown,
            },
        });
        if requested.is_some() {
            self.requested = Some(self.items.len());
        }
        self.items.extend(later);
        self.shorten();
    }

    /// The transcript of speech is complete; `None` if there is none.
    pub(super) fn transcribed(&mut self, item_id: &str, text: Option<&str>) {
        let words = match text {
            Some(text) => Words::Said(shortened(text)),
            None => Words::Unknown,
        };
        let waiting = self.waiting.iter_mut().flat_map(|one| &mut one.items);
        let running = self.running.iter_mut().flat_map(|one| &mut one.items);
        let all = waiting.chain(running).chain(&mut self.items);
        let mut found = false;
        for known in all.filter_map(|item| item.words_of(item_id)) {
            *known = words.clone();
            found = true;
            if item_id.is_empty() {
                break;
            }
        }
        if !found && text.is_some() && !self.late.iter().any(|late| late == item_id) {
            let id = shortened(item_id);
            self.push(Item::Speech { id, words });
        }
        self.shorten();
    }

    /// An item was removed from the conversation.
    pub(super) fn removed(&mut self, item_id: &str) {
        let is_meant = |item: &Item| matches!(item, Item::Speech { id, .. } if id == item_id);
        if let Some(index) = self.items.iter().position(is_meant) {
            self.remove(index);
        }
    }

    /// The caller has requested a response to what it has sent.
    pub(super) fn requested(&mut self) {
        self.requested = Some(self.items.len());
    }

    /// The response that was requested will not come.
    pub(super) fn unrequested(&mut self) {
        self.requested = None;
    }

    /// On a new connection nothing is requested, and what is not committed is lost.
    pub(super) fn reconnected(&mut self) {
        self.requested = None;
        self.images = 0;
        self.commits = 0;
    }

    fn push(&mut self, item: Item) {
        self.items.push(item);
        self.shorten();
    }

    /// Removes the oldest items beyond the maximum.
    fn shorten(&mut self) {
        let mut bytes: usize = self.items.iter().map(Item::bytes).sum();
        while self.items.len() > MAX_ITEMS || bytes > MAX_BYTES {
            bytes -= self.remove(0).bytes();
        }
    }

    fn remove(&mut self, index: usize) -> Item {
        if let Some(requested) = &mut self.requested
            && index < *requested
        {
            *requested -= 1;
        }
        self.items.remove(index)
    }

    /// A response has started.
    pub(super) fn started(&mut self, now: Instant) {
        let count = self.requested.take().unwrap_or(self.items.len());
        let items = self.items.drain(..count.min(self.items.len())).collect();
        self.running = Some(Running {
            items,
            text: String::new(),
            calls: Vec::new(),
            call_bytes: 0,
            began: now,
        });
    }

    /// A response has said something.
    pub(super) fn said(&mut self, piece: &LivePiece) {
        let Some(running) = &mut self.running else {
            return;
        };
        match piece {
            LivePiece::Text(text) | LivePiece::Transcript(text) => {
                if running.text.len() + text.len() <= MAX_BYTES {
                    running.text.push_str(text);
                }
            }
            LivePiece::ToolCall(call) => running.call(call),
            LivePiece::Audio(_) => {}
        }
    }

    /// How turns end that fail from now on.
    pub(super) fn fail_as(&mut self, failure: LiveTurnEnd) {
        self.failure = failure;
    }

    /// A response has ended. Returns whether it is a turn that will be stored.
    pub(super) fn completed(
        &mut self,
        (status, usage): (ResponseStatus, Option<&Usage>),
        model: &Arc<str>,
        now: Instant,
    ) -> bool {
        let Some(mut running) = self.running.take() else {
            return false;
        };
        let (end, is_whole) = match status {
            ResponseStatus::Completed | ResponseStatus::Other => (LiveTurnEnd::Answered, true),
            ResponseStatus::Cancelled | ResponseStatus::Incomplete => {
                (LiveTurnEnd::Answered, false)
            }
            ResponseStatus::Failed => (self.failure, false),
        };
        if !is_whole {
            // Their arguments may be incomplete.
            running.calls.clear();
        }
        let is_answered = end == LiveTurnEnd::Answered;
        let answer = running.answer().filter(|_| is_answered);
        if answer.is_none() {
            self.put_back(&running.items);
            if is_answered {
                return false;
            }
        }
        self.count = self.count.saturating_add(1);
        let instructions = match is_answered {
            true => self.instructions.take(),
            false => None,
        };
        self.waiting.push_back(Waiting {
            instructions,
            turn: LiveTurn {
                position: self.count,
                model: Arc::clone(model),
                messages: Vec::new(),
                answer,
                usage: usage.cloned(),
                end,
                took: now.saturating_duration_since(running.began),
            },
            items: running.items,
            until: now + TRANSCRIPT_TIME,
        });
        true
    }

    /// Items that are answered by the next response, too.
    fn put_back(&mut self, items: &[Item]) {
        self.items.splice(0..0, items.iter().cloned());
        if let Some(requested) = &mut self.requested {
            *requested += items.len();
        }
        self.shorten();
    }

    /// About the bytes of the texts.
    pub(super) fn bytes(&self) -> usize {
        let items = |items: &[Item]| items.iter().map(Item::bytes).sum::<usize>();
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|one| items(&one.items) + one.turn.weight());
        let running = self.running.as_ref();
        let running = running.map_or(0, |one| items(&one.items) + one.text.len() + one.call_bytes);
        items(&self.items) + running + waiting.sum::<usize>()
    }

    /// When the next turn is no longer held for transcripts.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    /// No transcript is awaited any more.
    pub(super) fn await_nothing(&mut self, now: Instant) {
        for waiting in &mut self.waiting {
            waiting.until = waiting.until.min(now);
        }
    }

    /// The next turn that is to be stored.
    pub(super) fn next(&mut self, now: Instant) -> Option<LiveTurn> {
        let is_full = self.waiting.len() > MAX_WAITING;
        let is_due = |first: &mut Waiting| {
            is_full || now >= first.until || !first.items.iter().any(Item::is_awaited)
        };
        let first = self.waiting.pop_front_if(is_due)?;
        for item in &first.items {
            if let Item::Speech { id, words } = item
                && *words == Words::Awaited
            {
                if self.late.len() >= MAX_LATE {
                    self.late.pop_front();
                }
                self.late.push_back(id.clone());
            }
        }
        Some(LiveTurn {
            messages: messages(first.instructions, first.items),
            ..first.turn
        })
    }
}

impl Running {
    fn call(&mut self, piece: &ToolCall) {
        let bytes = piece.id.len() + piece.name.len() + piece.arguments.len();
        if self.call_bytes + bytes > MAX_BYTES {
            return;
        }
        self.call_bytes += bytes;
        let known = self.calls.iter_mut().rev();
        match known.into_iter().find(|call| call.index == piece.index) {
            Some(call) if piece.id.is_empty() => call.arguments.push_str(&piece.arguments),
            Some(_) | None => self.calls.push(piece.clone()),
        }
    }

    /// The answer, if it says something.
    fn answer(&mut self) -> Option<Turn> {
        let mut answer = Turn::new(Role::Assistant);
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            answer.parts.push(Part::from(Body::Text(text)));
        }
        answer.tool_calls = std::mem::take(&mut self.calls);
        let says = !answer.parts.is_empty() || !answer.tool_calls.is_empty();
        says.then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response with this text, after which the turns that are ready are returned.
    fn respond(turns: &mut StoredTurns, text: &str, status: ResponseStatus) -> Vec<LiveTurn> {
        let now = Instant::now();
        turns.started(now);
        turns.said(&LivePiece::Transcript(text.to_owned()));
        turns.completed((status, None), &"m".into(), now);
        std::iter::from_fn(|| turns.next(now)).collect()
    }

    fn texts(turn: &LiveTurn) -> Vec<&str> {
        let parts = turn.messages.iter().chain(&turn.answer);
        let parts = parts.flat_map(|message| &message.parts);
        let text = |part| match part {
            &Part {
                body: Body::Text(ref text),
                ..
            } => text.as_str(),
            other => panic!("{other:?}"),
        };
        parts.map(text).collect()
    }

    #[test]
    fn a_response_answers_what_preceded_its_request() {
        let mut turns = StoredTurns::new(None);
        turns.text("one");
        turns.requested();
        turns.text("two");
        let first = respond(&mut turns, "a", ResponseStatus::Completed);
        assert_eq!(texts(&first[0]), ["one", "a"]);
        let second = respond(&mut turns, "b", ResponseStatus::Completed);
        assert_eq!(texts(&second[0]), ["two", "b"]);
        assert_eq!((first[0].position, second[0].position), (1, 2));
    }

    #[test]
    fn speech_that_the_caller_committed_precedes_the_request_after_it() {
        let mut turns = StoredTurns::new(None);
        turns.image();
        turns.commit();
        turns.requested();
        turns.text("two");
        turns.committed("i1", false);
        let first = respond(&mut turns, "a", ResponseStatus::Completed);
        assert_eq!(texts(&first[0]), ["[image]", "[audio]", "a"]);
        let second = respond(&mut turns, "b", ResponseStatus::Completed);
        assert_eq!(texts(&second[0]), ["two", "b"]);
    }

    #[test]
    fn turns_stay_in_order_while_a_transcript_is_awaited() {
        let mut turns = StoredTurns::new(None);
        turns.image();
        turns.committed("i1", true);
        assert!(respond(&mut turns, "a", ResponseStatus::Completed).is_empty());
        turns.text("two");
        assert!(respond(&mut turns, "b", ResponseStatus::Completed).is_empty());
        turns.transcribed("i1", Some("one"));
        let now = Instant::now();
        let first = turns.next(now).unwrap();
        assert_eq!(texts(&first), ["[image]", "one", "a"]);
        assert_eq!(texts(&turns.next(now).unwrap()), ["two", "b"]);
        assert_eq!(turns.bytes(), 0);
    }

    #[test]
    fn a_transcript_that_comes_after_its_turn_is_in_no_other() {
        let mut turns = StoredTurns::new(None);
        turns.committed("i1", true);
        turns.committed("i2", false);
        assert!(respond(&mut turns, "a", ResponseStatus::Completed).is_empty());
        turns.await_nothing(Instant::now());
        let first = turns.next(Instant::now()).unwrap();
        assert_eq!(texts(&first), ["[audio]", "[audio]", "a"]);
        turns.transcribed("i1", Some("late"));
        let second = respond(&mut turns, "b", ResponseStatus::Completed);
        assert_eq!(texts(&second[0]), ["b"]);
        // Speech whose start was not reported.
        turns.transcribed("i9", Some("words"));
        let third = respond(&mut turns, "c", ResponseStatus::Completed);
        assert_eq!(texts(&third[0]), ["words", "c"]);
    }

    #[test]
    fn a_removed_item_and_a_cleared_image_are_in_no_turn() {
        let mut turns = StoredTurns::new(Some("be short".to_owned()));
        turns.committed("i1", false);
        turns.text("one");
        turns.requested();
        turns.removed("i1");
        turns.image();
        turns.cleared();
        turns.committed("i2", false);
        let first = respond(&mut turns, "a", ResponseStatus::Completed);
        assert_eq!(texts(&first[0]), ["be short", "one", "a"]);
    }

    #[test]
    fn tool_calls_of_a_response_that_was_interrupted_are_left_out() {
        for (status, count) in [
            (ResponseStatus::Completed, 1),
            (ResponseStatus::Cancelled, 0),
        ] {
            let mut turns = StoredTurns::new(None);
            let now = Instant::now();
            turns.started(now);
            turns.said(&LivePiece::Text("a".to_owned()));
            for (id, arguments) in [("c", "{"), ("", "}")] {
                turns.said(&LivePiece::ToolCall(Box::new(ToolCall {
                    id: id.to_owned(),
                    arguments: arguments.to_owned(),
                    ..ToolCall::default()
                })));
            }
            assert!(turns.completed((status, None), &"m".into(), now));
            let turn = turns.next(now).unwrap();
            let calls = turn.answer.unwrap().tool_calls;
            assert_eq!(calls.len(), count);
            assert!(calls.iter().all(|call| call.arguments == "{}"));
        }
    }

    #[test]
    fn the_size_of_a_turn_is_bounded() {
        let mut turns = StoredTurns::new(None);
        for _ in 0..MAX_ITEMS + 5 {
            turns.text("a");
        }
        turns.text(&"b".repeat(2 * MAX_BYTES));
        assert_eq!(turns.bytes(), MAX_BYTES);
        for index in 0..MAX_WAITING + 2 {
            turns.committed(&index.to_string(), true);
            turns.started(Instant::now());
            turns.said(&LivePiece::Text("c".repeat(MAX_BYTES + 1)));
            turns.said(&LivePiece::Text("d".to_owned()));
            turns.completed(
                (ResponseStatus::Completed, None),
                &"m".into(),
                Instant::now(),
            );
        }
        let ready = std::iter::from_fn(|| turns.next(Instant::now())).count();
        assert_eq!(ready, 2);
    }

    #[test]
    fn items_that_no_response_answers_are_bounded() {
        let mut turns = StoredTurns::new(None);
        for _ in 0..3 {
            turns.started(Instant::now());
            for _ in 0..MAX_ITEMS {
                turns.text("a");
            }
            let nothing = (ResponseStatus::Cancelled, None);
            assert!(!turns.completed(nothing, &"m".into(), Instant::now()));
        }
        assert_eq!(turns.items.len(), MAX_ITEMS);
        let mut turns = StoredTurns::new(None);
        for index in 0..3 {
            turns.committed(&index.to_string(), true);
        }
        for index in 0..3 {
            turns.transcribed(&index.to_string(), Some(&"a".repeat(MAX_BYTES - 1)));
        }
        assert_eq!(turns.bytes(), MAX_BYTES);
    }

    #[test]
    fn instructions_of_a_refused_update_are_not_stored() {
        let (new, old) = ("new".to_owned(), "old".to_owned());
        let mut turns = StoredTurns::new(None);
        turns.instruct(Some(&new));
        turns.revert(None);
        assert_eq!(
            texts(&respond(&mut turns, "a", ResponseStatus::Completed)[0]),
            ["a"]
        );
        // Instructions that are stored are not stored again.
        turns.instruct(Some(&new));
        turns.revert(Some(&old));
        turns.instruct(None);
        turns.revert(Some(&old));
        assert_eq!(
            texts(&respond(&mut turns, "b", ResponseStatus::Completed)[0]),
            ["b"]
        );
        let mut turns = StoredTurns::new(Some(old.clone()));
        turns.instruct(Some(&new));
        turns.revert(Some(&old));
        assert_eq!(
            texts(&respond(&mut turns, "a", ResponseStatus::Completed)[0]),
            ["old", "a"]
        );
        turns.instruct(Some(&new));
        assert_eq!(
            texts(&respond(&mut turns, "b", ResponseStatus::Completed)[0]),
            ["new", "b"]
        );
        turns.revert(Some(&old));
        assert_eq!(
            texts(&respond(&mut turns, "c", ResponseStatus::Completed)[0]),
            ["old", "c"]
        );
    }
}
