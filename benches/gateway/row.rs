//! The rows: what each one measures, and on whom.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use dashgate::grpc::pb::{self, content};

use crate::args::Options;
use crate::client::{Ask, CONVERSE, Line};
use crate::fake::{ANSWER, Pace, Shared};
use crate::load::Window;
use crate::messages::Question;
use crate::stored::StoreRow;
use crate::subject::{Starter, Subject, Variant};
use crate::{Result, calls, cancels, growth, live, memory, streams, upload};

/// All that rows need.
pub(crate) struct Bench {
    pub(crate) starter: Starter,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    /// When answers were given up, as the fake saw it.
    pub(crate) closed: Mutex<mpsc::Receiver<Instant>>,
}

/// One number of a row.
pub(crate) struct Value {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) number: f64,
    /// Whether its ratio belongs into the picture.
    pub(crate) drawn: bool,
}

impl Value {
    /// A number for the table alone.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, number: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            number,
            drawn: false,
        }
    }

    /// A number for the table and the picture.
    pub(crate) fn drawn(what: impl Into<String>, unit: &'static str, number: f64) -> Self {
        Self {
            drawn: true,
            ..Self::new(what, unit, number)
        }
    }
}

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

    /// Measures it once.
    pub(crate) async fn measure(self, bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
        bench.shared.set(Pace::Burst(200));
        match self {
            Self::Sat => calls::saturated(bench, variant).await,
            Self::Seq => calls::one_by_one(bench, variant).await,
            Self::Low => calls::by_the_clock(bench, variant).await,
            Self::Sse => streams::burst(bench, variant).await,
            Self::Paced => streams::paced(bench, variant).await,
            Self::Sound1 => calls::sound(bench, variant, 1 << 20, 2, 4).await,
            Self::Sound8 => calls::sound(bench, variant, 7_800_000, 2, 2).await,
            Self::Idle => memory::idle(bench, variant).await,
            Self::Start => memory::start(bench, variant).await,
            Self::Cancel => cancels::cancels(bench, variant).await,
            Self::Deadline => cancels::deadlines(bench, variant).await,
            Self::Upload => upload::upload(bench, variant).await,
            Self::InFlight => growth::in_flight(bench, variant).await,
            Self::Connections => growth::connections(bench, variant).await,
            Self::Turns => growth::turns(bench, variant).await,
            Self::Live => live::cost(bench, variant).await,
            Self::LiveLatency => live::latency(bench, variant).await,
            Self::LiveIdle => live::idle(bench, variant).await,
            Self::LivePace => live::pace(bench, variant).await,
            Self::BargeIn => live::barge_in(bench, variant).await,
            Self::LiveWire => live::wire(bench, variant).await,
            Self::Stored(row) => row.measure(bench, variant).await,
        }
    }
}

impl Bench {
    /// Starts a variant and sees that it answers as it should.
    pub(crate) async fn start(&self, variant: Variant, settings: &[&str]) -> Result<Subject> {
        let subject = self.starter.start(variant, settings)?;
        if variant != Variant::Direct {
            let line = Line::connect(subject.address).await?;
            prove(&line, &ask(&subject, CONVERSE, Question::Small)?, variant).await?;
        }
        Ok(subject)
    }

    /// The window of a measurement.
    pub(crate) fn window(&self) -> Window {
        Window {
            warm: self
                .options
                .length
                .mul_f64(0.25)
                .max(Duration::from_millis(100)),
            length: self.options.length,
        }
    }
}

/// A question to a process that serves.
pub(crate) fn ask(subject: &Subject, path: &str, question: Question) -> Result<Ask> {
    let key = subject.key.as_deref();
    Ask::new(subject.address, path, key, "60S", &question.message())
}

/// So many connections.
pub(crate) async fn lines(subject: &Subject, count: usize) -> Result<Vec<Line>> {
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(Line::connect(subject.address).await?);
    }
    Ok(lines)
}

/// Makes one call, and fails when it is not answered with the fake's own words.
pub(crate) async fn prove(line: &Line, ask: &Ask, variant: Variant) -> Result<()> {
    let mut bytes = Vec::new();
    let answer = line.call(ask, Some(&mut bytes)).await?.check()?;
    let message = bytes.get(5..).unwrap_or_default();
    let said = pb::ConverseResponse::decode(message)?;
    let parts = said
        .choices
        .iter()
        .filter_map(|choice| choice.message.as_ref());
    let mut parts = parts.flat_map(|message| &message.content);
    let right = parts.any(
        |part| matches!(&part.kind, Some(content::Kind::Text(text)) if text.as_str() == ANSWER),
    );
    if !right {
        let words: String = format!("{:?}", said.choices).chars().take(300).collect();
        return Err(format!("the answer is something else: {words}").into());
    }
    if variant.is_dashgate() && !answer.head.contains_key("x-request-id") {
        return Err("an answer has no x-request-id".into());
    }
    Ok(())
}
