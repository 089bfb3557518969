//! The rows of live sessions.

use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{Bench, Value};
use crate::client::Line;
use crate::counted;
use crate::error::Result;
use crate::live_frames::{Event, Input, Length};
use crate::live_load::{Load, Measured, back_to_back};
use crate::live_session::{ON_A_CONNECTION, Session, Target, ask, direct, open, open_all};
use crate::load::Window;
use crate::memory::{SETTLE, streams};
use crate::subject::{Subject, Variant};

/// The sessions of most rows.
const SESSIONS: usize = 200;

/// The sessions that exchange frames back to back.
const BACK_TO_BACK: usize = 32;

/// The most sessions that are silent.
const SILENT: usize = 2000;

/// The numbers of sessions that are tried in real time, as long as no frame is late.
const STEPS: [usize; 11] = [50, 100, 200, 300, 400, 500, 600, 700, 850, 1000, 1200];

/// How often a number of sessions is tried: another process may delay a frame.
const TRIES: usize = 3;

/// The responses that are cancelled.
const CANCELS: usize = 500;

/// How long the fake may take to receive a cancellation.
const NOTICE: Duration = Duration::from_secs(5);

/// The playing time that is sent to count bytes.
const COUNTED: Duration = Duration::from_secs(5);

fn sessions(bench: &Bench) -> usize {
    if bench.options.quick { 20 } else { SESSIONS }
}

/// Starts a variant that admits so many sessions.
async fn start(bench: &Bench, variant: Variant, count: usize) -> Result<Subject> {
    let most = format!("server.max_in_flight={}", 2 * count + 100);
    bench.start(variant, &[&most]).await
}

/// Sessions in real time with frames of 100 ms.
async fn talk(bench: &Bench, variant: Variant, subject: &Subject) -> Result<Measured> {
    let count = sessions(bench);
    let target = Target::new(subject, variant, (count, Length::Long)).await?;
    let mut load = Load::new(Length::Long)?;
    load.grow(&target, count).await?;
    load.run(subject, window(bench)).await
}

/// A window with some frames of each session, even if it is to be short.
fn window(bench: &Bench) -> Window {
    let window = bench.window();
    Window {
        warm: window.warm.max(Duration::from_millis(200)),
        length: window.length.max(Duration::from_millis(200)),
    }
}

/// What a frame each way costs.
pub(crate) async fn cost(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = start(bench, variant, sessions(bench) + BACK_TO_BACK).await?;
    let mut values = Vec::new();
    let real_time = talk(bench, variant, &subject).await?;
    if let Some(each) = real_time.cpu_each() {
        values.push(Value::drawn("CPU of a frame each way", "us", each));
    }
    let target = Target::new(&subject, variant, (BACK_TO_BACK, Length::Long)).await?;
    let open = open_all(&target, 0, BACK_TO_BACK).await?;
    let fast = back_to_back(&subject, open, Length::Long, window(bench)).await?;
    if let Some(each) = fast.cpu_each() {
        values.push(Value::drawn("the same, back to back", "us", each));
    }
    let rate = fast.frames as f64 / fast.took.as_secs_f64();
    values.push(Value::new("frames each way, back to back", "/s", rate));
    Ok(values)
}

/// How long a frame takes there and back.
pub(crate) async fn latency(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = start(bench, variant, sessions(bench)).await?;
    let measured = talk(bench, variant, &subject).await?;
    Ok(vec![
        Value::drawn("latency p50", "us", measured.quantile(0.5)),
        Value::new("latency p99", "us", measured.quantile(0.99)),
    ])
}

/// What a session without activity takes.
pub(crate) async fn idle(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let count = streams(bench).min(SILENT);
    let subject = start(bench, variant, count).await?;
    let target = Target::new(&subject, variant, (count, Length::Long)).await?;
    sleep(SETTLE).await;
    let before = subject.memory();
    let open = open_all(&target, 0, count).await?;
    sleep(SETTLE).await;
    let Some((before, now)) = before.zip(subject.memory()) else {
        return Ok(Vec::new());
    };
    let grown = now.resident.saturating_sub(before.resident) as f64;
    let each = grown / open.len() as f64 / 1024.0;
    Ok(vec![
        Value::drawn("memory of a silent session", "KiB", each),
        Value::new("sessions", "", open.len() as f64),
    ])
}

/// How many sessions have real time with frames of 20 ms: none of their frames takes longer than
/// that, so that a caller which buffers one frame hears no gap.
pub(crate) async fn pace(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let steps = if bench.options.quick { 1 } else { STEPS.len() };
    let steps = STEPS.iter().copied().take(steps);
    let most = steps.clone().max().unwrap_or_default();
    let subject = start(bench, variant, most).await?;
    let target = Target::new(&subject, variant, (most, Length::Short)).await?;
    let mut load = Load::new(Length::Short)?;
    let (mut on_time, mut nearly) = (0, 0);
    let mut last: Option<(usize, Measured)> = None;
    for count in steps {
        load.grow(&target, count).await?;
        let (mut is_on_time, mut is_nearly) = (false, false);
        for _ in 0..TRIES {
            let measured = load.run(&subject, window(bench)).await?;
            is_on_time |= measured.late == 0;
            is_nearly |= measured.late * 1000 <= measured.frames;
            if is_nearly {
                last = Some((count, measured));
            }
            if is_on_time {
                break;
            }
        }
        on_time = if is_on_time { count } else { on_time };
        if !is_nearly {
            break;
        }
        nearly = count;
    }
    // Their numbers are results, unlike others without a unit.
    let mut values = vec![
        Value::new("no frame late: sessions", "n", on_time as f64),
        Value::new("1 frame in 1000 late: sessions", "n", nearly as f64),
    ];
    if let Some((count, measured)) = last {
        if let Some(busy) = measured.busy(measured.cpu) {
            values.push(Value::new("of its core at that number", "%", busy));
            let full = count as f64 / busy * 100.0;
            values.push(Value::new("a full core by its CPU: sessions", "n", full));
        }
        if let Some(busy) = measured.busy(measured.load_cpu) {
            values.push(Value::new("of the load's core", "%", busy));
        }
    }
    Ok(values)
}

/// From the caller's cancel to its frame at DashScope, while others talk.
pub(crate) async fn barge_in(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let mut cancelled = bench.closed.try_lock()?;
    let count = sessions(bench);
    let subject = start(bench, variant, count + 1).await?;
    let target = Target::new(&subject, variant, (count, Length::Long)).await?;
    let mut load = Load::new(Length::Long)?;
    load.grow(&target, count).await?;
    let line = Line::connect(subject.address).await?;
    let session = open(&line, &ask(&subject)?).await?;
    let cancels = if bench.options.quick { 20 } else { CANCELS };
    let others = Window {
        warm: Duration::ZERO,
        length: NOTICE * u32::try_from(cancels)?,
    };
    let took = tokio::select! {
        ended = load.run(&subject, others) => {
            ended?;
            return Err("the other sessions ended".into());
        }
        took = cancel(session, cancels, &mut cancelled) => took?,
    };
    let milliseconds = |quantile| took.value_at_quantile(quantile) as f64 / 1e6;
    Ok(vec![
        Value::new("until DashScope has it, p50", "ms", milliseconds(0.5)),
        Value::new("until DashScope has it, p99", "ms", milliseconds(0.99)),
    ])
}

async fn cancel(
    mut session: Session,
    count: usize,
    cancelled: &mut mpsc::Receiver<Instant>,
) -> Result<Histogram<u64>> {
    let (audio, cancel) = (Input::audio(Length::Long), Input::cancel());
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    while cancelled.try_recv().is_ok() {}
    for _ in 0..count {
        session.sender.send(&audio).await?;
        while !matches!(session.receiver.next().await?, Event::Audio(_)) {}
        // Not in step with the frames of the others.
        sleep(Duration::from_millis(3)).await;
        let at = Instant::now();
        session.sender.send(&cancel).await?;
        let seen = timeout(NOTICE, cancelled.recv()).await?;
        let late = seen
            .ok_or("the fake is gone")?
            .saturating_duration_since(at);
        took.saturating_record(u64::try_from(late.as_nanos())?);
        while session.receiver.next().await? != Event::Completed {}
    }
    Ok(took)
}

/// The bytes of a second of audio each way, on the caller's connection. `bare` is a WebSocket with
/// JSON and base64, as DashScope's clients have it.
pub(crate) async fn wire(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let subject = if variant == Variant::Bare {
        None
    } else {
        Some(start(bench, variant, ON_A_CONNECTION).await?)
    };
    let mut values = Vec::new();
    for length in [Length::Long, Length::Short] {
        let bytes = counted::Bytes::default();
        let mut session = match &subject {
            None => direct(bench.starter.fake, length, &bytes).await?,
            Some(subject) => {
                let line = Line::counted(subject.address, &bytes).await?;
                open(&line, &ask(subject)?).await?
            }
        };
        let input = Input::audio(length);
        let frames = COUNTED.as_millis() / length.millis() as u128;
        let before = bytes.so_far();
        for _ in 0..frames {
            session.sender.send(&input).await?;
            while !matches!(session.receiver.next().await?, Event::Audio(_)) {}
        }
        let second = (bytes.so_far() - before) as f64 / COUNTED.as_secs_f64();
        let what = format!("a second in frames of {} ms", length.millis());
        values.push(Value::drawn(what, "KB", second / 1e3));
    }
    Ok(values)
}
