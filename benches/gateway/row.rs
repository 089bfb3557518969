//! The rows: what there is to measure, and on whom.

use crate::error::Result;
use crate::subject::Variant;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    Sat,
    Seq,
    Low,
    Sse,
    Paced,
    Sound1,
    Sound8,
    Idle,
    Start,
    Cancel,
    Deadline,
    Upload,
    InFlight,
    Connections,
    Turns,
    Live,
    LiveLatency,
    LiveIdle,
    LivePace,
    BargeIn,
    LiveWire,
    /// One of the store.
    Stored(StoreRow),
}

use Variant::{Again, Bare, Dashgate, Direct, Other};

const GATEWAYS: &[Variant] = &[Bare, Again, Dashgate, Other];
const WITH_DIRECT: &[Variant] = &[Bare, Again, Dashgate, Other, Direct];
const OURS: &[Variant] = &[Dashgate, Other];
/// For a count that is the same in each round.
const WITHOUT_NOISE: &[Variant] = &[Bare, Dashgate, Other];

impl Row {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 27] = [
        Self::Sat,
        Self::Seq,
        Self::Low,
        Self::Sse,
        Self::Paced,
        Self::Sound1,
        Self::Sound8,
        Self::Idle,
        Self::Start,
        Self::Cancel,
        Self::Deadline,
        Self::Upload,
        Self::InFlight,
        Self::Connections,
        Self::Turns,
        Self::Live,
        Self::LiveLatency,
        Self::LiveIdle,
        Self::LivePace,
        Self::BargeIn,
        Self::LiveWire,
        Self::Stored(StoreRow::Sqlite),
        Self::Stored(StoreRow::SqliteTurns),
        Self::Stored(StoreRow::Postgres),
        Self::Stored(StoreRow::PostgresTurns),
        Self::Stored(StoreRow::LongConversation),
        Self::Stored(StoreRow::Quota),
    ];

    /// Its name, and what it is.
    pub(crate) fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Sat => ("sat", "Converse, 4 connections x 16 calls in flight"),
            Self::Seq => ("seq", "Converse, one call after the other"),
            Self::Low => ("low", "Converse, 200 calls a second, by the clock"),
            Self::Sse => (
                "sse",
                "ConverseStream, 200 events at once, 8 streams in flight",
            ),
            Self::Paced => (
                "paced",
                "ConverseStream, 100 streams, an event each 5 ms, 200 of them",
            ),
            Self::Sound1 => (
                "1m",
                "Converse with a sound of 1 MiB in the message, 4 in flight",
            ),
            Self::Sound8 => (
                "8m",
                "Converse with a sound of 7.8 MB, about the most that goes inline, 2 in flight",
            ),
            Self::Idle => (
                "idle",
                "streams that wait for their next event: memory of each",
            ),
            Self::Start => ("start", "from nothing to serving; the process at rest"),
            Self::Cancel => (
                "cancel",
                "the caller gives up: until DashScope's connection is closed",
            ),
            Self::Deadline => (
                "deadline",
                "DashScope is silent: how late after the deadline the error comes",
            ),
            Self::Upload => (
                "upload",
                "UploadMedia of a large file; bare is a copy from socket to socket",
            ),
            Self::InFlight => (
                "inflight",
                "growth: streams at a time, 10 events each, one each 50 ms",
            ),
            Self::Connections => (
                "conns",
                "growth: connections open, 32 calls in flight over them",
            ),
            Self::Turns => ("turns", "growth: turns of the conversation, 4 in flight"),
            Self::Live => ("live", "ConverseLive, 200 sessions, 100 ms frames each way"),
            Self::LiveLatency => ("livelat", "the same: a frame there and back"),
            Self::LiveIdle => ("liveidle", "ConverseLive without activity: memory of each"),
            Self::LivePace => (
                "livepace",
                "ConverseLive, 20 ms frames each way, in real time",
            ),
            Self::BargeIn => (
                "bargein",
                "ConverseLive, a response is cancelled beside 200",
            ),
            Self::LiveWire => (
                "livewire",
                "bytes; bare is a WebSocket with JSON and base64",
            ),
            Self::Stored(row) => row.title(),
        }
    }

    /// The row of a name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|row| row.title().0 == name);
        found.ok_or_else(|| format!("there is no row {name}; --help lists them").into())
    }

    /// On whom it is measured.
    pub(crate) fn variants(self) -> &'static [Variant] {
        match self {
            Self::Low | Self::Seq | Self::LiveLatency => WITH_DIRECT,
            Self::LiveWire | Self::Stored(StoreRow::LongConversation) => WITHOUT_NOISE,
            Self::Deadline | Self::Stored(StoreRow::Quota) => OURS,
            Self::Sat
            | Self::Sse
            | Self::Paced
            | Self::Sound1
            | Self::Sound8
            | Self::Idle
            | Self::Start
            | Self::Cancel
            | Self::Upload
            | Self::InFlight
            | Self::Connections
            | Self::Turns
            | Self::Live
            | Self::LiveIdle
            | Self::LivePace
            | Self::BargeIn
            | Self::Stored(_) => GATEWAYS,
        }
    }

    /// How many rounds are enough, of those that were asked for.
    pub(crate) fn rounds(self, asked: usize) -> usize {
        match self {
            Self::LiveWire | Self::Stored(StoreRow::LongConversation | StoreRow::Quota) => 1,
            Self::Idle
            | Self::Upload
            | Self::InFlight
            | Self::Connections
            | Self::Turns
            | Self::LiveIdle
            | Self::LivePace => asked.min(3),
            Self::Sat
            | Self::Seq
            | Self::Low
            | Self::Sse
            | Self::Paced
            | Self::Sound1
            | Self::Sound8
            | Self::Start
            | Self::Cancel
            | Self::Deadline
            | Self::Live
            | Self::LiveLatency
            | Self::BargeIn
            | Self::Stored(_) => asked,
        }
    }

    /// Whether it is measured with PostgreSQL.
    pub(crate) fn needs_postgres(self) -> bool {
        matches!(
            self,
            Self::Stored(StoreRow::Postgres | StoreRow::PostgresTurns | StoreRow::Quota)
        )
    }
}

/// A row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreRow {
    Sqlite,
    SqliteTurns,
    Postgres,
    PostgresTurns,
    LongConversation,
    Quota,
}

impl StoreRow {
    /// Its name, and what it is.
    pub(crate) fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Sqlite => (
                "sqlite",
                "turns stored in SQLite, one after the other; bare is dashgate without a store",
            ),
            Self::SqliteTurns => ("sqlite64", "the same, in 64 conversations at the same time"),
            Self::Postgres => (
                "pg",
                "turns stored in PostgreSQL, one after the other; bare is dashgate without a store",
            ),
            Self::PostgresTurns => ("pg64", "the same, in 64 conversations at the same time"),
            Self::LongConversation => (
                "longconv",
                "a stored conversation of 10,000 turns; bare is one of 100",
            ),
            Self::Quota => (
                "quota",
                "1,000 calls/s at 3 replicas with one PostgreSQL, 6,000 calls a minute allowed",
            ),
        }
    }
}
