//! The history that a call sends: which turns, which media, in which order.

use bytes::Bytes;

use crate::chat::call::{Call, Tenant};
use crate::chat::estimate;
use crate::chat::media::VideoSource;
use crate::chat::message::{Body, Role, Turn};
use crate::chat::stored::{HistoryMedia, HistoryPolicy, HistoryUsed, StoredConversation};
use crate::error::Error;
use crate::store::turn::OwnedTurn;
use crate::store::turn_list::{LatestTurn, TurnContent};

use super::Conversations;
use super::content::{Loaded, decode, load_media};
use super::errors::too_long;

/// The maximum bytes of a history, messages and media together. More than any upstream accepts in
/// one request.
const MAX_BYTES: i64 = 32 << 20;

/// The bytes of messages that one statement reads. It takes a connection from other callers only as
/// long as that, and not more exists both as bytes and decoded.
const PART_BYTES: i64 = 1 << 20;

/// The bytes of messages that are read with the sizes of the turns.
const FIRST_BYTES: i64 = 256 << 10;

/// The bytes of a turn whose messages may be read with its size.
const SMALL_TURN: i64 = 8 << 10;

/// What is read of a history first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstRead {
    /// The number of turns.
    turns: i64,
    /// A number above theirs: live sessions may have appended later turns.
    before: i64,
    /// The bytes of a turn whose messages are read.
    small: i64,
}

impl FirstRead {
    /// For the history of this turn.
    pub fn of(turn: &OwnedTurn, of: &StoredConversation) -> Self {
        Self::before((turn.number, turn.turns_before), of)
    }

    /// For a history of this many turns before this number.
    pub(super) fn before((before, turns): (i64, i64), of: &StoredConversation) -> Self {
        let turns = turns.min(i64::from(of.policy.max_turns));
        Self {
            turns,
            before,
            small: SMALL_TURN.min(FIRST_BYTES / turns.max(1)),
        }
    }

    /// The bytes of messages that are read at most.
    pub fn bytes(self) -> usize {
        usize::try_from(self.turns * self.small).unwrap_or_default()
    }
}

/// The turns that a call will send, before all of them are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPlan {
    /// The latest turn is the first.
    turns: Vec<LatestTurn>,
    /// The bytes of their messages and media.
    pub bytes: usize,
}

/// The messages of a turn, with references to its media.
#[derive(Debug)]
struct Decoded {
    number: i64,
    messages: Vec<Turn>,
    answer: Vec<Turn>,
}

impl Decoded {
    fn new(content: &TurnContent) -> Result<Self, Error> {
        Ok(Self {
            number: content.number,
            messages: decode(&content.messages)?,
            answer: decode(&content.answer)?,
        })
    }
}

/// The messages of a call with the history before them.
#[derive(Clone, Debug)]
pub struct WithHistory {
    /// All messages.
    pub messages: Vec<Turn>,
    /// Where the new messages are.
    pub positions: Positions,
    /// What was sent of the history.
    pub used: HistoryUsed,
    /// The bytes of the history.
    pub bytes: usize,
}

/// For each message that is sent, its index among the new messages of the call, if it is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(Vec<Option<usize>>);

impl Positions {
    /// The path of a field of the call, from that in the messages that are sent.
    pub fn of_call(&self, field: String) -> String {
        const MESSAGES: &str = "conversation.messages[";
        let at = field.strip_prefix(MESSAGES).and_then(|rest| {
            let (index, rest) = rest.split_once(']')?;
            let index: usize = index.parse().ok()?;
            Some((*self.0.get(index)?, rest))
        });
        match at {
            Some((Some(index), rest)) => format!("{MESSAGES}{index}]{rest}"),
            Some((None, _)) => "history".to_owned(),
            None => field,
        }
    }
}

impl Conversations {
    /// Chooses the history of a call that is the turn with this number. A live session may have
    /// appended later turns.
    pub async fn plan(
        &self,
        tenant: &Tenant,
        of: &StoredConversation,
        first: FirstRead,
    ) -> Result<HistoryPlan, Error> {
        let latest = self.latest(tenant, of, first).await?;
        choose(latest, of.policy)
    }

    /// What is read of a history first, the latest turn first.
    pub(super) async fn latest(
        &self,
        tenant: &Tenant,
        of: &StoredConversation,
        first: FirstRead,
    ) -> Result<Vec<LatestTurn>, Error> {
        let FirstRead {
            turns,
            before,
            small,
        } = first;
        if turns <= 0 {
            return Ok(Vec::new());
        }
        let latest = (before, turns, small);
        self.store.latest_turns((tenant, &of.id), latest).await
    }

    /// The messages of a turn that has begun, with the history before them.
    pub async fn with_history(
        &self,
        call: &Call,
        (turn, of): (&OwnedTurn, &StoredConversation),
        plan: HistoryPlan,
    ) -> Result<WithHistory, Error> {
        let (tenant, policy) = (&call.tenant, of.policy);
        let mut contents = Vec::with_capacity(plan.turns.len());
        let mut bytes = 0;
        for part in parts(plan.turns) {
            let part = match part {
                Part::Read(content) => vec![content],
                Part::Unread(first, last) => {
                    let range = (first, last);
                    self.store.turn_contents((tenant, &of.id), range).await?
                }
            };
            bytes += byte_count(&part);
            for content in &part {
                contents.push(Decoded::new(content)?);
            }
        }
        let own_system = call
            .prompt
            .turns
            .iter()
            .any(|turn| turn.role == Role::System);
        let sent_from = contents.first().map_or(i64::MAX, |content| content.number);
        let keeps_thinking = call.prompt.options.preserve_thinking == Some(true);
        let mut history = assemble(contents, policy.media, keeps_thinking);
        if own_system {
            history.system.clear();
        } else if turn.system_turn > 0 && turn.system_turn < sent_from {
            let number = turn.system_turn;
            let latest = self.store.turn_contents((tenant, &of.id), (number, number));
            let latest = latest.await?;
            bytes += byte_count(&latest);
            history.system = instructions(&latest)?;
        }
        let (mut estimated, mut media) = (0, Loaded::new());
        for messages in [&mut history.system, &mut history.messages] {
            load_media(&self.store, tenant, messages, &mut media).await?;
            estimated += estimate::input_tokens(messages);
        }
        bytes += media.values().map(Bytes::len).sum::<usize>();
        let used = HistoryUsed {
            turn: turn.number,
            turns_sent: history.turns,
            turns_left_out: turn.turns_before - history.turns,
            media_left_out: history.media_left_out,
            estimated_input_tokens: i64::try_from(estimated).unwrap_or(i64::MAX),
        };
        let (messages, positions) = joined(history, &call.prompt.turns);
        Ok(WithHistory {
            messages,
            positions,
            used,
            bytes,
        })
    }
}

/// The bytes of messages as they are stored.
fn byte_count(contents: &[TurnContent]) -> usize {
    let bytes = |content: &TurnContent| content.messages.len() + content.answer.len();
    contents.iter().map(bytes).sum()
}

/// The instructions of these turns.
fn instructions(contents: &[TurnContent]) -> Result<Vec<Turn>, Error> {
    let mut system = Vec::new();
    for content in contents {
        system.extend(decode(&content.messages)?);
    }
    system.retain(|message| message.role == Role::System);
    Ok(system)
}

/// The turns to send. `turns` begins with the latest.
fn choose(mut turns: Vec<LatestTurn>, policy: HistoryPolicy) -> Result<HistoryPlan, Error> {
    let (mut chosen, mut tokens, mut bytes) = (0, 0, 0);
    for (index, LatestTurn { size, .. }) in turns.iter().enumerate() {
        tokens += u64::try_from(size.tokens).unwrap_or_default();
        if policy.max_input_tokens.is_some_and(|most| tokens > most) {
            break;
        }
        let with_media = match policy.media {
            HistoryMedia::All => true,
            HistoryMedia::LastTurn => index == 0,
            HistoryMedia::None => false,
        };
        bytes += size.bytes + if with_media { size.media_bytes } else { 0 };
        if bytes > MAX_BYTES {
            return Err(too_long());
        }
        chosen = index + 1;
    }
    turns.truncate(chosen);
    Ok(HistoryPlan {
        turns,
        bytes: usize::try_from(bytes).unwrap_or_default(),
    })
}

/// Turns of a history.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// One that was read first.
    Read(TurnContent),
    /// Those with numbers in this range, which are read at once.
    Unread(i64, i64),
}

/// All turns, the earliest first.
pub(super) fn parts(turns: Vec<LatestTurn>) -> Vec<Part> {
    let mut parts = Vec::with_capacity(turns.len());
    let mut bytes = 0;
    for LatestTurn { size, content } in turns.into_iter().rev() {
        bytes += size.bytes;
        match (content, parts.last_mut()) {
            (Some(content), _) => parts.push(Part::Read(content)),
            (None, Some(Part::Unread(_, last))) if bytes <= PART_BYTES => *last = size.number,
            (None, _) => {
                parts.push(Part::Unread(size.number, size.number));
                bytes = size.bytes;
            }
        }
    }
    parts
}

/// A history, with references to its media.
#[derive(Debug, Default)]
struct History {
    system: Vec<Turn>,
    messages: Vec<Turn>,
    turns: i64,
    media_left_out: i64,
}

fn assemble(contents: Vec<Decoded>, media: HistoryMedia, keeps_thinking: bool) -> History {
    let mut history = History::default();
    let latest = contents.last().map(|content| content.number);
    for content in contents {
        let (system, mut messages): (Vec<_>, Vec<_>) = content
            .messages
            .into_iter()
            .partition(|message| message.role == Role::System);
        if !system.is_empty() {
            history.system = system;
        }
        let is_first = history.messages.is_empty();
        let is_result = messages
            .first()
            .is_some_and(|first| first.role == Role::Tool);
        if is_first && is_result {
            // The tool call that it answers was left out.
            continue;
        }
        let with_media = match media {
            HistoryMedia::All => true,
            HistoryMedia::LastTurn => Some(content.number) == latest,
            HistoryMedia::None => false,
        };
        for mut answer in content.answer {
            answer
                .parts
                .retain(|part| !matches!(part.body, Body::Audio(_)));
            answer.annotations.clear();
            if !keeps_thinking {
                answer.reasoning.clear();
            }
            messages.push(answer);
        }
        if !with_media {
            history.media_left_out += leave_out_media(&mut messages);
        }
        history.turns += 1;
        history.messages.append(&mut messages);
    }
    history
}

/// Replaces media by texts. Returns how many there were.
pub(super) fn leave_out_media(messages: &mut [Turn]) -> i64 {
    let mut count = 0;
    for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
        let (media, text) = match &part.body {
            Body::Text(_) | Body::Other => continue,
            Body::Audio(_) => (1, "[audio]"),
            Body::Image(_) => (1, "[image]"),
            Body::Video(video) => match &video.source {
                VideoSource::File(_) => (1, "[video]"),
                VideoSource::Frames(frames) => (frames.len(), "[video]"),
            },
        };
        count += i64::try_from(media).unwrap_or_default();
        part.body = Body::Text(text.to_owned());
        part.extra = crate::chat::document::Object::default();
    }
    count
}

/// Instructions first, then the history, then the new messages.
fn joined(history: History, new: &[Turn]) -> (Vec<Turn>, Positions) {
    let mut messages = history.system;
    let mut positions = vec![None; messages.len()];
    let mut add = |of_system: bool, messages: &mut Vec<Turn>| {
        for (index, message) in new.iter().enumerate() {
            if (message.role == Role::System) == of_system {
                messages.push(message.clone());
                positions.push(Some(index));
            }
        }
    };
    add(true, &mut messages);
    let count = history.messages.len();
    messages.extend(history.messages);
    let mut rest = Vec::new();
    add(false, &mut rest);
    let of_rest = positions.split_off(positions.len() - rest.len());
    positions.extend(std::iter::repeat_n(None, count));
    positions.extend(of_rest);
    messages.extend(rest);
    (messages, Positions(positions))
}

#[cfg(test)]
mod tests {
    use crate::store::turn_list::TurnSize;

    use super::*;

    fn sizes(tokens: &[i64]) -> Vec<LatestTurn> {
        let numbers = (1..=i64::try_from(tokens.len()).unwrap()).rev();
        let size = |(number, tokens): (i64, &i64)| LatestTurn {
            size: TurnSize {
                number,
                tokens: *tokens,
                bytes: 10,
                media_bytes: MAX_BYTES / 2,
            },
            content: None,
        };
        numbers.zip(tokens).map(size).collect()
    }

    fn policy(max_input_tokens: Option<u64>, media: HistoryMedia) -> HistoryPolicy {
        HistoryPolicy {
            max_turns: 100,
            max_input_tokens,
            media,
        }
    }

    #[test]
    fn the_latest_turns_within_the_token_limit_are_chosen() {
        let sizes = sizes(&[5, 5, 5]);
        let none = HistoryMedia::None;
        for (limit, expected) in [
            (None, Some((1, 3))),
            (Some(15), Some((1, 3))),
            (Some(14), Some((2, 3))),
            (Some(5), Some((3, 3))),
            (Some(4), None),
        ] {
            let plan = choose(sizes.clone(), policy(limit, none)).unwrap();
            let range = plan.turns.last().zip(plan.turns.first());
            let range = range.map(|(first, last)| (first.size.number, last.size.number));
            assert_eq!(range, expected);
            assert_eq!(plan.bytes, 10 * plan.turns.len());
        }
        let nothing = choose(Vec::new(), policy(None, none)).unwrap();
        assert_eq!(nothing, HistoryPlan::default());
    }

    #[test]
    fn a_history_is_read_in_parts_of_bounded_size() {
        let turn = |(number, bytes)| LatestTurn {
            size: TurnSize {
                number,
                bytes,
                ..TurnSize::default()
            },
            content: None,
        };
        let half = PART_BYTES / 2;
        for (turns, expected) in [
            (vec![], vec![]),
            (vec![(7, 1), (5, 1), (4, 1)], vec![(4, 7)]),
            (vec![(4, half), (3, half), (2, 1)], vec![(2, 3), (4, 4)]),
            (
                vec![(3, 1), (2, 9 * PART_BYTES), (1, 1)],
                vec![(1, 1), (2, 2), (3, 3)],
            ),
        ] {
            let turns = turns.into_iter().map(turn).collect();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(first, last)| Part::Unread(first, last))
                .collect();
            assert_eq!(parts(turns), expected);
        }
    }

    #[test]
    fn turns_that_were_read_first_are_not_read_again() {
        let content = TurnContent {
            number: 3,
            messages: Vec::new(),
            answer: Vec::new(),
        };
        let turn = |number| LatestTurn {
            size: TurnSize {
                number,
                ..TurnSize::default()
            },
            content: (number == 3).then(|| content.clone()),
        };
        let expected = [
            Part::Unread(1, 2),
            Part::Read(content.clone()),
            Part::Unread(4, 4),
        ];
        assert_eq!(parts((1..5).rev().map(turn).collect()), expected);
    }

    #[test]
    fn what_is_read_first_is_bounded() {
        let turn = |turns_before| OwnedTurn {
            conversation: "c".into(),
            number: turns_before + 1,
            turns_before,
            system_turn: 0,
        };
        for (turns_before, max_turns, expected) in [
            (0, 20, (0, SMALL_TURN)),
            (7, 0, (0, SMALL_TURN)),
            (7, 20, (7, SMALL_TURN)),
            (500, 256, (256, 1 << 10)),
        ] {
            let of = StoredConversation {
                id: "c".into(),
                uses_model: false,
                expected_turn: None,
                policy: HistoryPolicy {
                    max_turns,
                    ..policy(None, HistoryMedia::All)
                },
            };
            let first = FirstRead::of(&turn(turns_before), &of);
            assert_eq!((first.turns, first.small), expected);
            assert!(first.bytes() <= FIRST_BYTES as usize);
        }
    }

    #[test]
    fn media_count_for_the_size_only_if_they_are_sent() {
        let sizes = sizes(&[5, 5, 5]);
        assert!(choose(sizes.clone(), policy(None, HistoryMedia::All)).is_err());
        let latest = choose(sizes, policy(None, HistoryMedia::LastTurn)).unwrap();
        assert_eq!(latest.bytes, 30 + usize::try_from(MAX_BYTES / 2).unwrap());
    }

    #[test]
    fn fields_of_new_messages_have_their_index_in_the_call() {
        let new = [Turn::new(Role::System), Turn::new(Role::User)];
        let history = History {
            messages: vec![Turn::new(Role::User), Turn::new(Role::Assistant)],
            ..History::default()
        };
        let (messages, positions) = joined(history, &new);
        let roles: Vec<_> = messages.iter().map(|message| message.role).collect();
        assert_eq!(
            roles,
            [Role::System, Role::User, Role::Assistant, Role::User]
        );
        for (sent, of_call) in [
            (
                "conversation.messages[0].role",
                "conversation.messages[0].role",
            ),
            ("conversation.messages[1].role", "history"),
            (
                "conversation.messages[3].x[0]",
                "conversation.messages[1].x[0]",
            ),
            ("options.seed", "options.seed"),
        ] {
            assert_eq!(positions.of_call(sent.to_owned()), of_call);
        }
    }
}
