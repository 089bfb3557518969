//! The load of live sessions: audio in real time, or back to back; and a window of time that is
//! measured.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::error::Result;
use crate::live_frames::{Event, Input, Length, OUTPUT_RATE};
use crate::live_session::{Receiver, Sender, Session, Target, open_all};
use crate::load::{Clock, Window};
use crate::proc::Cpu;
use crate::subject::Subject;

/// The longest latency that is distinguished from longer ones, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// The frames of one session that may be unanswered. Further ones are not sent, and count as late.
const MAX_UNANSWERED: usize = 200;

/// How long the answers to the last frames may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ticks of the clock in a second. Frames are due at ticks.
const TICKS: f64 = 1000.0;

/// What was measured.
pub(crate) struct Measured {
    /// Frames that came back.
    pub(crate) frames: u64,
    /// Frames that took longer than a frame of 20 ms plays, or were not sent.
    pub(crate) late: u64,
    /// From the time a frame was due until its answer, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// The time of the process on a core.
    pub(crate) cpu: Option<Duration>,
    /// The time of the load and of the fake on theirs.
    pub(crate) load_cpu: Option<Duration>,
    /// The length of the window.
    pub(crate) took: Duration,
}

impl Measured {
    /// Microseconds on a core for each frame.
    pub(crate) fn cpu_each(&self) -> Option<f64> {
        let cpu = self.cpu?;
        (self.frames > 0).then(|| cpu.as_secs_f64() * 1e6 / self.frames as f64)
    }

    /// A quantile of the latency, in microseconds.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The share of the window that a process was on its core, in percent.
    pub(crate) fn busy(&self, cpu: Option<Duration>) -> Option<f64> {
        Some(cpu?.as_secs_f64() / self.took.as_secs_f64() * 100.0)
    }
}

/// What the sessions have received.
struct Tally {
    counts: Cell<bool>,
    frames: Cell<u64>,
    late: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    error: RefCell<Option<String>>,
}

impl Tally {
    fn new() -> Result<Rc<Self>> {
        Ok(Rc::new(Self {
            counts: Cell::new(false),
            frames: Cell::new(0),
            late: Cell::new(0),
            latency: RefCell::new(Histogram::new_with_bounds(1, LONGEST, 3)?),
            error: RefCell::new(None),
        }))
    }

    fn begin(&self) {
        self.frames.set(0);
        self.late.set(0);
        self.latency.borrow_mut().reset();
        self.counts.set(true);
    }

    fn answered(&self, since: Instant) {
        if self.counts.get() {
            let took = since.elapsed();
            self.frames.set(self.frames.get() + 1);
            if took > Duration::from_millis(20) {
                self.late();
            }
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(LONGEST);
            self.latency.borrow_mut().saturating_record(nanoseconds);
        }
    }

    fn late(&self) {
        if self.counts.get() {
            self.late.set(self.late.get() + 1);
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) {
        self.error.borrow_mut().get_or_insert(error.to_string());
    }

    fn check(&self) -> Result<()> {
        match self.error.borrow().clone() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// The start of a window.
struct Begun {
    at: Instant,
    cpu: Option<Cpu>,
    load: Option<Cpu>,
}

impl Begun {
    fn now(subject: &Subject, tally: &Tally) -> Self {
        tally.begin();
        Self {
            at: Instant::now(),
            cpu: subject.cpu(),
            load: Cpu::of(std::process::id()),
        }
    }

    fn end(self, subject: &Subject, tally: &Tally) -> Result<Measured> {
        tally.counts.set(false);
        tally.check()?;
        let since = |now: Option<Cpu>, before: Option<Cpu>| {
            now.zip(before).map(|(now, before)| now.since(&before))
        };
        Ok(Measured {
            frames: tally.frames.get(),
            late: tally.late.get(),
            latency: tally.latency.borrow().clone(),
            cpu: since(subject.cpu(), self.cpu),
            load_cpu: since(Cpu::of(std::process::id()), self.load),
            took: self.at.elapsed(),
        })
    }
}

/// When the unanswered frames of a session were due.
type Unanswered = Rc<RefCell<VecDeque<Instant>>>;

/// Sessions that send and receive audio in real time.
pub(crate) struct Load {
    tally: Rc<Tally>,
    input: Input,
    length: Length,
    senders: Vec<(Sender, Unanswered)>,
    /// Each task receives for a session, until it is dropped.
    receivers: JoinSet<()>,
    ticks: usize,
}

impl Load {
    /// Sessions with frames of this length; none yet.
    pub(crate) fn new(length: Length) -> Result<Self> {
        Ok(Self {
            tally: Tally::new()?,
            input: Input::audio(length),
            length,
            senders: Vec::new(),
            receivers: JoinSet::new(),
            ticks: 0,
        })
    }

    /// Opens sessions until there are so many.
    pub(crate) async fn grow(&mut self, target: &Target, count: usize) -> Result<()> {
        let open = self.senders.len();
        for session in open_all(target, open, count.saturating_sub(open)).await? {
            let unanswered = Unanswered::default();
            self.senders.push((session.sender, Rc::clone(&unanswered)));
            let (tally, bytes) = (Rc::clone(&self.tally), self.length.bytes(OUTPUT_RATE));
            let receiving = receive(session.receiver, unanswered, tally, bytes);
            self.receivers.spawn_local(receiving);
        }
        Ok(())
    }

    /// Sends audio in real time, and measures a window of it.
    pub(crate) async fn run(&mut self, subject: &Subject, window: Window) -> Result<Measured> {
        let mut clock = Clock::start(TICKS)?;
        let (first, mut begun) = (Instant::now(), None);
        while let Some(at) = clock.due.recv().await {
            self.tick(at).await?;
            self.tally.check()?;
            let elapsed = at.saturating_duration_since(first);
            if begun.is_none() && elapsed >= window.warm {
                begun = Some(Begun::now(subject, &self.tally));
            }
            if elapsed >= window.warm + window.length {
                break;
            }
        }
        clock.stop.store(true, Relaxed);
        let measured = begun
            .ok_or("the clock stopped")?
            .end(subject, &self.tally)?;
        self.drain().await?;
        Ok(measured)
    }

    /// Sends the frames that are due at a tick: each session has its own phase.
    async fn tick(&mut self, at: Instant) -> Result<()> {
        let cycle = self.length.millis();
        let due = self.senders.iter_mut().skip(self.ticks % cycle);
        for (sender, unanswered) in due.step_by(cycle) {
            if unanswered.borrow().len() >= MAX_UNANSWERED {
                self.tally.late();
                continue;
            }
            unanswered.borrow_mut().push_back(at);
            sender.send(&self.input).await?;
        }
        self.ticks += 1;
        Ok(())
    }

    /// Waits until every frame is answered.
    async fn drain(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self
            .senders
            .iter()
            .any(|(_, sent)| !sent.borrow().is_empty())
        {
            self.tally.check()?;
            if Instant::now() >= until {
                return Err("frames of audio were not answered".into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

async fn receive(mut receiver: Receiver, sent: Unanswered, tally: Rc<Tally>, bytes: usize) {
    loop {
        match receiver.next().await {
            Ok(Event::Audio(length)) if length == bytes => {
                let due = sent.borrow_mut().pop_front();
                match due {
                    Some(due) => tally.answered(due),
                    None => return tally.failed(&"a frame came that was not asked for"),
                }
            }
            Ok(Event::Audio(length)) => {
                return tally.failed(&format!("a frame of {length} bytes came"));
            }
            Ok(Event::Started | Event::Completed | Event::Other) => {}
            Err(error) => return tally.failed(&error),
        }
    }
}

/// Sessions that send a frame as soon as the one before it is answered.
pub(crate) async fn back_to_back(
    subject: &Subject,
    sessions: Vec<Session>,
    length: Length,
    window: Window,
) -> Result<Measured> {
    let tally = Tally::new()?;
    let input = Rc::new(Input::audio(length));
    let mut tasks = JoinSet::new();
    for session in sessions {
        let (tally, input) = (Rc::clone(&tally), Rc::clone(&input));
        tasks.spawn_local(async move {
            if let Err(error) = exchange(session, &input, &tally).await {
                tally.failed(&error);
            }
        });
    }
    sleep(window.warm).await;
    let begun = Begun::now(subject, &tally);
    sleep(window.length).await;
    begun.end(subject, &tally)
}

async fn exchange(mut session: Session, input: &Input, tally: &Tally) -> Result<()> {
    loop {
        let at = Instant::now();
        session.sender.send(input).await?;
        while !matches!(session.receiver.next().await?, Event::Audio(_)) {}
        tally.answered(at);
    }
}
