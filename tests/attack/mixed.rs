//! One caller misbehaves in every way that this suite knows, and nine others must not notice.
//!
//! The real program, below it the real emulator. Each minute begins with a quiet part, which its
//! other part is compared with: a shared machine is not as fast from minute to minute.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::{self, content};
use tokio::time::Instant;
use tonic::Request;

use super::memory::Client;
use super::mixed_attacks::ATTACKS;
use super::mixed_target::Target;
use crate::support::keys::Folder;
use crate::support::*;

/// How many minutes it takes, unless `MIXED_LOAD_MINUTES` says otherwise.
const MINUTES: u64 = 60;

const CALLERS: usize = 9;

/// How often each of them calls. Every fifth call is a stream.
const EVERY: Duration = Duration::from_millis(200);

/// The longest that a call of theirs may take. It is an error beyond that.
const LIMIT: Duration = Duration::from_secs(10);

/// The quiet part of a minute, how long one attack goes on, and what is not measured in between:
/// the gateway closes what the attack left.
const QUIET: Duration = Duration::from_secs(12);
const SLOT: Duration = Duration::from_secs(6);
const SETTLING: Duration = Duration::from_secs(2);

/// No more than this is a matter of the machine alone, even of one that is busy.
const SANE: Duration = Duration::from_secs(5);

/// What goes on: nothing that is measured, nothing at all, or the attack of this number.
const UNMEASURED: usize = usize::MAX;
const NOTHING: usize = usize::MAX - 1;

/// The emulator in a process of its own.
struct Emulator(Child);

impl Emulator {
    fn start() -> (Self, std::net::SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(["emulate", "--listen", "127.0.0.1:0"])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
        let address = line
            .trim()
            .rsplit([' ', '/'])
            .find(|word| word.contains(':'));
        let address = address.unwrap().parse().unwrap();
        (Self(child), address)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A call of one of the nine.
#[derive(Clone, Copy)]
struct Sample {
    minute: u64,
    during: usize,
    is_stream: bool,
    took: Duration,
}

/// What the nine noticed.
#[derive(Default)]
struct Noticed {
    during: AtomicUsize,
    minute: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
    errors: Mutex<Vec<String>>,
}

/// The names of what goes on.
fn name(during: usize) -> &'static str {
    ATTACKS.get(during).map_or("nothing", |attack| attack.0)
}

/// One of the nine, with a connection of its own.
struct Caller {
    client: ConversationServiceClient<Client>,
    authorization: tonic::metadata::MetadataValue<tonic::metadata::Ascii>,
}

impl Caller {
    fn new(process: &Process, key: &str) -> Self {
        Self {
            client: ConversationServiceClient::with_origin(process.client(), process.origin()),
            authorization: format!("Bearer {key}").parse().unwrap(),
        }
    }

    fn request<T>(&self, ask: impl FnOnce(pb::Conversation) -> T) -> Request<T> {
        let text = content::Kind::Text("hello".to_owned());
        let mut request = Request::new(ask(conversation("qwen3-vl-plus", vec![text])));
        let authorization = self.authorization.clone();
        request
            .metadata_mut()
            .insert("authorization", authorization);
        request
    }

    async fn whole(&mut self) -> Result<(), tonic::Status> {
        let request = self.request(ask_whole);
        self.client.converse(request).await.map(drop)
    }

    async fn stream(&mut self) -> Result<(), tonic::Status> {
        use pb::converse_stream_response::Event;
        let request = self.request(ask_stream);
        let mut events = self.client.converse_stream(request).await?.into_inner();
        let mut is_whole = false;
        while let Some(event) = events.message().await? {
            is_whole |= matches!(event.event, Some(Event::Completed(_)));
        }
        let unfinished = || tonic::Status::data_loss("the stream is not whole");
        is_whole.then_some(()).ok_or_else(unfinished)
    }
}

/// One of the nine, until it is dropped.
async fn behave(number: usize, process: Arc<Process>, key: String, noticed: Arc<Noticed>) {
    let mut caller = Caller::new(&process, &key);
    let offset = EVERY / CALLERS as u32 * number as u32;
    let mut due = Instant::now() + offset;
    for call in 0u64.. {
        tokio::time::sleep_until(due).await;
        due = (due + EVERY).max(Instant::now());
        let during = noticed.during.load(Ordering::Relaxed);
        let is_stream = call % 5 == 4;
        let begun = Instant::now();
        let called = async {
            match is_stream {
                true => caller.stream().await,
                false => caller.whole().await,
            }
        };
        let answer = tokio::time::timeout(LIMIT, called).await;
        let took = begun.elapsed();
        let late = |_| Err(tonic::Status::deadline_exceeded("no answer in time"));
        if let Err(status) = answer.unwrap_or_else(late) {
            let (code, said) = (status.code(), status.message());
            let error = format!("caller {number}, during {}: {code:?} {said}", name(during));
            println!("{error}");
            noticed.errors.lock().unwrap().push(error);
        }
        noticed.samples.lock().unwrap().push(Sample {
            minute: noticed.minute.load(Ordering::Relaxed) as u64,
            during,
            is_stream,
            took,
        });
    }
}

/// The median and the 99th percentile in milliseconds, and how many there are.
fn percentiles(samples: impl Iterator<Item = Sample>) -> (f64, f64, usize) {
    let mut all: Vec<_> = samples.map(|sample| sample.took).collect();
    all.sort_unstable();
    let at = |percent: usize| {
        let index = all.len().saturating_sub(1) * percent / 100;
        all.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    (at(50), at(99), all.len())
}

/// A row of the table: of these samples those of quiet times, and those during attacks.
fn row(title: &str, samples: &[Sample], is_quiet: impl Fn(&Sample) -> bool) {
    let measured = samples.iter().filter(|sample| sample.during != UNMEASURED);
    let (quiet, loud): (Vec<_>, Vec<_>) = measured.partition(|sample| is_quiet(sample));
    print!("{title:<30}");
    for is_stream in [false, true] {
        let of = |samples: &[&Sample]| {
            let of_kind = samples
                .iter()
                .filter(|sample| sample.is_stream == is_stream);
            percentiles(of_kind.map(|sample| **sample))
        };
        let ((p50, p99, _), (loud_p50, loud_p99, count)) = (of(&quiet), of(&loud));
        let ratio = loud_p99 / p99;
        print!(" | {p50:5.1} {p99:6.1} | {loud_p50:5.1} {loud_p99:6.1} {count:6} {ratio:5.2}");
    }
    println!();
}

fn heading() {
    println!(
        "milliseconds: p50 and p99 when it is quiet, p50, p99, calls and ratio beside attacks"
    );
    println!("{:<30} | unary{:33} | streams", "", "");
}

/// Attacks by the minute for so long. Which attack is next goes on from minute to minute.
async fn misbehave(minutes: u64, target: Target, noticed: &Noticed) {
    let mut next = 0;
    heading();
    for minute in 0..minutes {
        noticed.minute.store(minute as usize, Ordering::Relaxed);
        let during = |what| noticed.during.store(what, Ordering::Relaxed);
        let begun = Instant::now();
        during(NOTHING);
        tokio::time::sleep(QUIET).await;
        while begun.elapsed() + SLOT + SETTLING < Duration::from_secs(60) {
            let number = next % ATTACKS.len();
            next += 1;
            during(number);
            let attack = (ATTACKS[number].1)(target.clone());
            let _over = tokio::time::timeout(SLOT, attack).await;
        }
        during(UNMEASURED);
        tokio::time::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed())).await;
        let samples = noticed.samples.lock().unwrap().clone();
        let of_minute: Vec<_> = samples
            .into_iter()
            .filter(|sample| sample.minute == minute)
            .collect();
        row(&format!("minute {}", minute + 1), &of_minute, |sample| {
            sample.during == NOTHING
        });
    }
}

/// `cargo test --release --test attack mixed_load -- --ignored --nocapture`
#[test]
#[ignore = "it takes an hour, or as many minutes as MIXED_LOAD_MINUTES says"]
#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the server"
)]
fn mixed_load_of_nine_callers_beside_one_that_misbehaves() {
    let minutes = std::env::var("MIXED_LOAD_MINUTES");
    let minutes = minutes.map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let folder = Folder::new();
    let (_, hostile) = folder.key("hostile", |_| ());
    let (_, limited) = folder.key("limited", |entry| {
        entry.limits.requests_per_minute = Some(10);
    });
    let keys: Vec<_> = (0..CALLERS)
        .map(|number| folder.key(&format!("caller-{number}"), |_| ()).1)
        .collect();
    let (_emulator, upstream) = Emulator::start();
    let keys_file = folder.keys();
    let settings = [("callers.keys_file", keys_file.to_str().unwrap())];
    let process = Arc::new(Process::start(upstream, &settings, ""));
    let noticed = Arc::new(Noticed::default());
    noticed.during.store(UNMEASURED, Ordering::Relaxed);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    // The nine have a thread of their own, so that the attacker keeps none of them waiting.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (of_nine, nine_noticed) = (Arc::clone(&process), Arc::clone(&noticed));
    let nine = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for (number, key) in keys.into_iter().enumerate() {
                let noticed = Arc::clone(&nine_noticed);
                all.spawn(behave(number, Arc::clone(&of_nine), key, noticed));
            }
            let _dropped = stopped.await;
        });
    });
    let target = Target {
        address: process.address,
        authorization: format!("Bearer {hostile}"),
        limited: format!("Bearer {limited}"),
        process: Arc::clone(&process),
    };
    runtime().block_on(misbehave(minutes, target, &noticed));
    drop(stop);
    nine.join().unwrap();
    let samples = noticed.samples.lock().unwrap().clone();
    let is_quiet = |sample: &Sample| sample.during == NOTHING;
    println!();
    heading();
    for (number, (name, _)) in ATTACKS.iter().enumerate() {
        let of_attack: Vec<_> = samples
            .iter()
            .filter(|sample| is_quiet(sample) || sample.during == number)
            .copied()
            .collect();
        row(name, &of_attack, is_quiet);
    }
    row("all", &samples, is_quiet);
    println!("peak of the process: {} MiB", process.peak() >> 20);
    let errors = noticed.errors.lock().unwrap();
    assert!(errors.is_empty(), "{} errors: {errors:#?}", errors.len());
    let (_, worst, calls) = percentiles(samples.iter().copied());
    assert!(calls > 0 && worst < SANE.as_secs_f64() * 1e3, "{worst} ms");
}
