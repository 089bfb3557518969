//! A long run of everything mixed, at half of what the gateway can do: does memory grow, do
//! descriptors stay open?

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::bench::{Bench, ask, lines};
use crate::client::{Ask, CONVERSE, CONVERSE_STREAM, Line};
use crate::console::say;
use crate::error::Result;
use crate::fake::Pace;
use crate::load::Clock;
use crate::messages::Question;
use crate::subject::{Subject, Variant};
use crate::{calls, proc};

/// What is left out of the slope: caches and pools fill, and the allocator finds its size.
const SETTLE: Duration = Duration::from_secs(600);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// A stream every so often, of [`EVENTS`] events.
const STREAM_EACH: Duration = Duration::from_millis(50);
/// A sound of 1 MiB every so often.
const SOUND_EACH: Duration = Duration::from_millis(500);
/// A stream that is given up every so often.
const CANCEL_EACH: Duration = Duration::from_millis(100);
/// The events of a stream, and the pause between them.
const EVENTS: (u64, Duration) = (100, Duration::from_millis(10));

/// How many calls ended, and how.
#[derive(Clone, Default)]
struct Counts(Rc<[Cell<u64>; 5]>);

impl Counts {
    fn add(&self, at: usize) {
        if let Some(cell) = self.0.get(at) {
            cell.set(cell.get() + 1);
        }
    }
}

/// The connections. An old one is replaced by a new one again and again, as callers come and go,
/// and long before the gateway would end it; what runs on it runs on.
type Lines = Rc<RefCell<Vec<Rc<Line>>>>;

/// How many connections there are, and how often one is replaced.
const LINES: (usize, Duration) = (8, Duration::from_secs(10));

/// What a count is of.
const NAMES: [&str; 5] = ["calls", "streams", "sounds", "given up", "failed"];
const FAILED: usize = 4;

/// Runs for so long, and tells how memory went.
pub(crate) async fn soak(bench: &Bench, time: Duration) -> Result<()> {
    let subject = bench.start(Variant::Dashgate, &[]).await?;
    let top = calls::run(bench, Variant::Dashgate, &subject, Question::Small, 4, 64).await?;
    let rate = top.rate() / 2.0;
    say(&format!(
        "it answers {:.0} calls a second; half of that follows\n",
        top.rate()
    ));
    bench.shared.set(Pace::Paced(EVENTS.0, EVENTS.1));
    // The rest of the mix is a small part of the load, and comes on top.
    let counts = Counts::default();
    let first = lines(&subject, LINES.0).await?;
    let line: Lines = Rc::new(RefCell::new(first.into_iter().map(Rc::new).collect()));
    let clock = Clock::start(rate)?;
    let stop = clock.stop;
    let mut due = clock.due;
    let small = Rc::new(ask(&subject, CONVERSE, Question::Small)?);
    let calls = {
        let (line, counts) = (Rc::clone(&line), counts.clone());
        spawn_local(async move {
            let mut turn = 0;
            while due.recv().await.is_some() {
                turn += 1;
                one(0, turn, &line, &small, &counts);
            }
        })
    };
    let sound = ask(&subject, CONVERSE, Question::Sound(1 << 20))?;
    let stream = ask(&subject, CONVERSE_STREAM, Question::Small)?;
    let others = [
        each(1, STREAM_EACH, &line, stream.clone(), &counts),
        each(2, SOUND_EACH, &line, sound, &counts),
        each(3, CANCEL_EACH, &line, stream, &counts),
        spawn_local(replace(subject.address, Rc::clone(&line), counts.clone())),
    ];
    let seen = watch(&subject, time, &counts).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for other in others {
        other.abort();
    }
    calls.await?;
    tell(&seen);
    Ok(())
}

/// One call of a kind, in a task of its own.
fn one(kind: usize, turn: usize, line: &Lines, ask: &Rc<Ask>, counts: &Counts) {
    let line = line.borrow().get(turn % LINES.0).map(Rc::clone);
    let (ask, counts) = (Rc::clone(ask), counts.clone());
    spawn_local(async move {
        let made = async {
            let line = line.ok_or("no connection")?;
            if NAMES.get(kind) == Some(&"given up") {
                let open = line.open(&ask).await?;
                sleep(Duration::from_millis(100)).await;
                drop(open);
                return Ok(());
            }
            line.call(&ask, None).await?.check().map(|_| ())
        };
        let made: Result<()> = made.await;
        counts.add(if made.is_ok() { kind } else { FAILED });
    });
}

fn each(kind: usize, pause: Duration, line: &Lines, ask: Ask, counts: &Counts) -> JoinHandle<()> {
    let (line, ask, counts) = (Rc::clone(line), Rc::new(ask), counts.clone());
    spawn_local(async move {
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0.. {
            ticks.tick().await;
            one(kind, turn, &line, &ask, &counts);
        }
    })
}

async fn replace(address: SocketAddr, line: Lines, counts: Counts) {
    for turn in 0.. {
        sleep(LINES.1).await;
        let Ok(new) = Line::connect(address).await else {
            counts.add(FAILED);
            continue;
        };
        if let Some(old) = line.borrow_mut().get_mut(turn % LINES.0) {
            *old = Rc::new(new);
        }
    }
}

/// What was seen: hours since the start, MiB, descriptors.
type Seen = Vec<(f64, f64, usize)>;

async fn watch(subject: &Subject, time: Duration, counts: &Counts) -> Seen {
    let begun = Instant::now();
    let mut seen = Vec::new();
    while begun.elapsed() < time {
        sleep(LOOK.min(time)).await;
        let (Some(memory), Some(open)) = (subject.memory(), proc::descriptors(subject.process))
        else {
            say("memory is not measured here\n");
            continue;
        };
        let mebibytes = memory.resident as f64 / f64::from(1 << 20);
        let passed = begun.elapsed();
        seen.push((passed.as_secs_f64() / 3600.0, mebibytes, open));
        let counts: Vec<String> = NAMES
            .iter()
            .zip(counts.0.iter())
            .map(|(name, count)| format!("{name} {}", count.get()))
            .collect();
        say(&format!(
            "{:>6.0} s  {mebibytes:>7.1} MiB  {open:>5} descriptors  {}\n",
            passed.as_secs_f64(),
            counts.join(", ")
        ));
    }
    seen
}

fn tell(seen: &Seen) {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else {
        return;
    };
    let settled = SETTLE.as_secs_f64() / 3600.0;
    let from = if last.0 > settled * 1.5 {
        settled
    } else {
        last.0 / 2.0
    };
    let later: Vec<_> = seen.iter().filter(|at| at.0 >= from).collect();
    let many = later.len() as f64;
    let mean =
        |of: fn(&(f64, f64, usize)) -> f64| later.iter().map(|at| of(at)).sum::<f64>() / many;
    let (hours, memory) = (mean(|at| at.0), mean(|at| at.1));
    let products = later.iter().map(|at| (at.0 - hours) * (at.1 - memory));
    let squares = later.iter().map(|at| (at.0 - hours).powi(2));
    let slope = products.sum::<f64>() / squares.sum::<f64>();
    say(&format!(
        "memory grew by {slope:.2} MiB an hour from minute {:.0} on; \
         descriptors went from {} to {}\n",
        from * 60.0,
        first.2,
        last.2
    ));
}
