//! Any order of events of the caller, of DashScope and of time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::config::{LiveConfig, MAX_AGE};
use super::event::{LiveEvent, ResponseTurn};
use super::idle::IdlePolicy;
use super::resume_journal::{Journal, JournalLimits, Read};
use super::session::{Effects, End, LiveOptions, Session};
use crate::chat::live_event::{
    LivePiece, ResponseStatus, SpeechBoundary, TranscriptPart, UpstreamDelta, UpstreamError,
    UpstreamEvent, UpstreamResponse, UpstreamSession,
};
use crate::chat::live_session::{
    ConverseSetup, LiveInput, LiveSetup, LiveTask, ResponseOptions, SessionChanges, SmartTurn,
    TurnDetection,
};
use crate::chat::live_turn::LiveHistory;
use crate::chat::message::ToolCall;
use crate::error::{Error, Reason};
use crate::memory::{CallMemory, Kind, MemoryLedger};
use crate::upstream::{EventId, LiveProfile};

/// What happens.
#[derive(Clone, Debug)]
enum Op {
    Report(UpstreamEvent),
    Input(LiveInput),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Time passes until something is due.
    PassToDue,
    /// The caller reads so many events.
    Read(usize),
    Cut,
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        8 => (0..4_u8).prop_map(|number| format!("r{number}")),
    ]
}

fn piece() -> impl Strategy<Value = LivePiece> {
    prop_oneof![
        Just(LivePiece::Text("a".to_owned())),
        Just(LivePiece::Transcript("b".to_owned())),
        Just(LivePiece::Audio(Bytes::from_static(b"cd"))),
        Just(LivePiece::ToolCall(Box::new(ToolCall {
            id: "call".to_owned(),
            arguments: "{}".to_owned(),
            ..ToolCall::default()
        }))),
    ]
}

fn response() -> impl Strategy<Value = UpstreamEvent> {
    let status = prop_oneof![
        Just(ResponseStatus::Completed),
        Just(ResponseStatus::Cancelled),
        Just(ResponseStatus::Failed),
    ];
    prop_oneof![
        3 => (0..4_u8).prop_map(|number| UpstreamEvent::ResponseCreated {
            response_id: format!("r{number}"),
        }),
        6 => (id(), piece(), any::<bool>()).prop_map(|(response_id, piece, is_snapshot)| {
            UpstreamEvent::Delta(UpstreamDelta {
                response_id,
                item_id: "item".to_owned(),
                piece,
                is_snapshot,
            })
        }),
        2 => id().prop_map(|response_id| UpstreamEvent::ItemDone {
            response_id,
            item_id: "item".to_owned(),
            status: String::new(),
            call: None,
        }),
        3 => (id(), status).prop_map(|(id, status)| {
            UpstreamEvent::ResponseDone(Box::new(UpstreamResponse {
                id,
                status,
                usage: Some(crate::chat::usage::Usage {
                    input_tokens: Some(1),
                    ..crate::chat::usage::Usage::default()
                }),
                ..UpstreamResponse::default()
            }))
        }),
    ]
}

fn report() -> impl Strategy<Value = UpstreamEvent> {
    let boundary = |reason: &str| SpeechBoundary {
        item_id: "speech".to_owned(),
        reason: reason.to_owned(),
        ..SpeechBoundary::default()
    };
    let refusal = |kind: &str, param: &str| {
        UpstreamEvent::Error(UpstreamError {
            kind: kind.to_owned(),
            param: param.to_owned(),
            event_id: "event_3".to_owned(),
            ..UpstreamError::default()
        })
    };
    prop_oneof![
        20 => response(),
        3 => Just(UpstreamEvent::SpeechStarted(boundary(""))),
        3 => Just(UpstreamEvent::SpeechStopped(boundary(""))),
        1 => Just(UpstreamEvent::SpeechStopped(boundary("turn_invalid"))),
        1 => Just(UpstreamEvent::Committed { item_id: "speech".to_owned() }),
        1 => Just(UpstreamEvent::Transcript {
            is_ambient: false,
            part: TranscriptPart { text: "a".to_owned(), ..TranscriptPart::default() },
            usage: None,
        }),
        1 => Just(refusal("invalid_request_error", "response.create")),
        1 => Just(refusal("invalid_request_error", "response.cancel")),
        1 => Just(UpstreamEvent::SessionFinished),
    ]
}

fn input() -> impl Strategy<Value = LiveInput> {
    prop_oneof![
        4 => (1..5_usize).prop_map(|length| LiveInput::Audio(Bytes::from(vec![1; length]))),
        1 => Just(LiveInput::Image(Bytes::from_static(b"jpeg"))),
        1 => Just(LiveInput::Text("hello".to_owned())),
        1 => Just(LiveInput::Commit),
        1 => Just(LiveInput::Clear),
        3 => Just(LiveInput::CreateResponse(ResponseOptions::default())),
        3 => Just(LiveInput::CancelResponse),
        1 => Just(LiveInput::Update(Box::default())),
        1 => Just(LiveInput::DeleteItem("item".to_owned())),
        1 => Just(LiveInput::Finish),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => report().prop_map(Op::Report),
        6 => input().prop_map(Op::Input),
        2 => (1..20_000_u64).prop_map(Op::Pass),
        2 => Just(Op::PassToDue),
        3 => (1..6_usize).prop_map(Op::Read),
        1 => Just(Op::Cut),
    ]
}

fn options() -> impl Strategy<Value = (LiveOptions, Option<TurnDetection>, bool)> {
    let idle = prop_oneof![
        Just(None),
        Just(Some(IdlePolicy::KeepAlive(Duration::from_secs(200)))),
        Just(Some(IdlePolicy::EndAfter(Duration::from_secs(100)))),
    ];
    let detection = prop_oneof![
        Just(None),
        Just(Some(TurnDetection::Manual)),
        Just(Some(TurnDetection::SmartTurn(SmartTurn::default()))),
    ];
    (idle, any::<bool>(), detection, any::<bool>()).prop_map(
        |(idle, continue_after_limit, detection, completes)| {
            let options = LiveOptions {
                idle,
                continue_after_limit,
            };
            (options, detection, completes)
        },
    )
}

/// A session with its journal, and what its caller has read.
struct Bench {
    session: Session,
    journal: Journal,
    reader: u64,
    read: Vec<(i32, LiveEvent)>,
    next_id: u64,
    position: u32,
    is_over: bool,
    /// The number of turns that were stored.
    stored: i64,
}

impl Bench {
    fn new((options, detection, completes): (LiveOptions, Option<TurnDetection>, bool)) -> Self {
        let profile = LiveProfile {
            caller_input_rate: 44_100,
            input_rate: 16_000,
            input_is_pcm: true,
            caller_output_rate: Some(8_000),
            output_rate: 24_000,
            output_is_pcm: true,
            output_is_default: true,
            has_responses: true,
            has_items: true,
            completes_cancelled: completes,
            is_committed: false,
        };
        let config = LiveConfig {
            input_buffer: Duration::from_secs(2),
            output_buffer: Duration::from_secs(5),
            resume_window: Duration::ZERO,
            journal_bytes: 0,
            slow_consumer_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            max_age: MAX_AGE,
        };
        let setup = LiveSetup {
            model: Arc::from("m"),
            task: LiveTask::Converse(Box::new(ConverseSetup {
                changes: SessionChanges {
                    turn_detection: detection,
                    ..SessionChanges::default()
                },
                ..ConverseSetup::default()
            })),
        };
        let limits = JournalLimits {
            unread_bytes: usize::MAX,
            kept_bytes: 0,
            kept_for: Duration::ZERO,
        };
        let memory = CallMemory::new(MemoryLedger::default().share(Kind::Requests));
        let journal = Journal::new(limits, memory);
        let reader = journal.attach(0).unwrap();
        let mut session = Session::new((setup, options), profile, config, Instant::now());
        session.continues(&LiveHistory::default(), None);
        session
            .started(&UpstreamSession::default(), EventId(1))
            .unwrap();
        Self {
            session,
            journal,
            reader,
            read: Vec::new(),
            next_id: 1,
            position: 1,
            is_over: false,
            stored: 0,
        }
    }

    fn apply(&mut self, effects: Effects, now: Instant) {
        for (position, command) in effects.commands {
            self.next_id += 1;
            let id = EventId(self.next_id);
            self.session.sent(id, position, &command, now);
        }
        if let Some(response) = effects.withdraw {
            self.journal.withdraw(&response);
        }
        for event in effects.events {
            self.journal.push(event).unwrap();
        }
        self.store(now);
        let status = match effects.end {
            None => return,
            Some(End::Reconnect) => {
                let effects = self.session.reconnected(now);
                assert!(effects.end.is_none());
                return self.apply(effects, now);
            }
            Some(End::Done) => ResponseStatus::Incomplete,
            Some(End::Failed(_)) => ResponseStatus::Failed,
        };
        for event in self.session.abandon(status, now) {
            self.journal.push(event).unwrap();
        }
        for _ in self.session.last_turns(now) {
            self.stored += 1;
            self.journal.stored(self.stored);
        }
        self.journal.end(Ok(()));
        self.is_over = true;
    }

    /// Stores what is to be stored.
    fn store(&mut self, now: Instant) {
        while self.session.next_turn(now).is_some() {
            self.stored += 1;
            self.journal.stored(self.stored);
        }
    }

    /// Reads until nothing is left, or this many events.
    fn read(&mut self, count: usize) {
        let reading = std::future::poll_fn(|cx| self.journal.poll_read(self.reader, cx));
        let mut reading = Box::pin(reading);
        let mut read = Vec::new();
        while read.len() < count
            && let Some(Read::Event(sequence, event)) = reading.as_mut().now_or_never()
        {
            read.push((sequence, event));
        }
        drop(reading);
        self.read.extend(read);
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Report(event) => {
                let now = Instant::now();
                let effects = self.session.report(event, now);
                self.apply(effects, now);
            }
            Op::Input(input) => {
                self.position += 1;
                let now = Instant::now();
                let effects = self.session.input(self.position, input, now);
                self.apply(effects, now);
            }
            Op::Pass(millis) => {
                self.pass(Instant::now() + Duration::from_millis(millis))
                    .await
            }
            Op::PassToDue => self.pass(self.session.due()).await,
            Op::Read(count) => self.read(count),
            Op::Cut => {
                let error = Error::new(Reason::StreamTruncated, "cut");
                let now = Instant::now();
                let effects = Effects {
                    end: Some(self.session.disconnected(error, now)),
                    ..Effects::default()
                };
                self.apply(effects, now);
            }
        }
    }

    /// Time passes, and what is due is done. Nothing is due again at once.
    async fn pass(&mut self, until: Instant) {
        for _ in 0..1000 {
            let due = self.session.due();
            let now = Instant::now();
            if due <= now {
                let effects = self.session.tick(now);
                self.apply(effects, now);
                if self.is_over {
                    return;
                }
                assert!(self.session.due() > now, "{:?}", self.session);
            } else if now >= until {
                return;
            } else {
                advance(due.min(until) - now).await;
            }
        }
        panic!("time does not pass");
    }

    /// Checks what the caller has read.
    fn check(&self) {
        let mut running: Option<Arc<str>> = None;
        let mut stored = 0;
        let mut ended: HashSet<Arc<str>> = HashSet::new();
        for (expected, (sequence, event)) in (1..).zip(&self.read) {
            assert_eq!(*sequence, expected);
            if let LiveEvent::ResponseStarted { response_id } = event {
                assert_eq!(running, None, "{:?}", self.read);
                assert!(response_id.is_empty() || !ended.contains(response_id));
                running = Some(Arc::clone(response_id));
            } else if let LiveEvent::Delta { response_id, .. } = event {
                assert_eq!(running.as_ref(), Some(response_id), "{:?}", self.read);
            } else if let LiveEvent::ResponseCompleted(end) = event {
                assert_eq!(running.take().as_ref(), Some(&end.response_id));
                ended.insert(Arc::clone(&end.response_id));
                match end.turn {
                    ResponseTurn::None => {}
                    ResponseTurn::Unstored => panic!("{:?}", self.read),
                    ResponseTurn::Stored(number) => {
                        stored += 1;
                        assert_eq!(number, stored);
                    }
                }
            }
        }
        assert!(stored == self.stored || !self.is_over, "{:?}", self.read);
        assert!(running.is_none() || !self.is_over, "{:?}", self.read);
    }
}

proptest! {
    #[test]
    fn each_response_ends_once_with_nothing_after_it_and_sequence_numbers_have_no_gaps(
        options in options(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new(options);
            for op in ops {
                if bench.is_over {
                    break;
                }
                bench.run(op).await;
            }
            bench.read(usize::MAX);
            bench.check();
        });
    }

    #[test]
    fn a_session_whose_caller_has_finished_ends(
        options in options(),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut bench = Bench::new(options);
            for op in ops.into_iter().chain([Op::Input(LiveInput::Finish)]) {
                if bench.is_over {
                    break;
                }
                bench.run(op).await;
            }
            if !bench.is_over {
                bench.pass(Instant::now() + Duration::from_secs(600)).await;
            }
            assert!(bench.is_over, "{:?}", bench.session);
            bench.read(usize::MAX);
            bench.check();
        });
    }
}
