//! Ten times the load that the gateway can sustain: what is too much is refused at once and costs
//! no memory, and what is not is answered as before.
//!
//! The real program, because the memory of this one holds the callers and DashScope as well; and
//! real time, because a paused clock offers nothing at a rate.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::grpc::pb::{self, content};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::*;

/// The calls that the gateway takes at one time.
const PLACES: usize = 16;
/// The callers of the load that it can sustain, and of ten times that.
const SUSTAINABLE: usize = PLACES;
const TOO_MANY: usize = 10 * PLACES;
/// They share these.
const CONNECTIONS: usize = 4;
/// What each call brings.
const PAYLOAD: usize = 512 * 1024;

/// How long DashScope takes for an answer.
const HOLD: Duration = Duration::from_millis(800);
/// How often each caller calls, and what it waits at least before it calls again: a place is free
/// again before the next call wants it.
const PERIOD: Duration = Duration::from_millis(900);
const PAUSE: Duration = Duration::from_millis(50);
/// How long a load is offered.
const SPAN: Duration = Duration::from_millis(1700);

/// What the process may have resident at ten times the load beyond what it had at the load that it
/// can sustain: what its connections may hold unread, and what the calls in flight took once more,
/// for one thread's allocator keeps what another could use. What the calls that are refused at one
/// time bring is half as much again, and must not be among it.
const BEYOND: usize = CONNECTIONS * CONNECTION_WINDOW + PLACES * 3 * PAYLOAD;
const CONNECTION_WINDOW: usize = 4 * 1024 * 1024;
const _: () = assert!(BEYOND * 3 / 2 < (TOO_MANY - PLACES) * PAYLOAD);

/// The program, until it is dropped.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(upstream: &Upstream) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--upstream", &upstream.base_url()])
            .arg("--set")
            .arg(format!("server.max_in_flight={PLACES}"))
            .env_clear()
            .env("DASHSCOPE_API_KEY", "sk-anything")
            // Freed memory is given back at once. Otherwise each thread keeps some for a while, and
            // the peak depends on which of them run.
            .env("MIMALLOC_PURGE_DELAY", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on ").unwrap();
        let address = format!("http://{address}");
        Self { child, address }
    }

    /// The most memory that it ever had resident.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kibibytes.parse::<usize>().unwrap() * 1024
    }

    async fn channels(&self) -> Vec<Channel> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Channel::from_shared(self.address.clone()).unwrap();
            channels.push(endpoint.connect().await.unwrap());
        }
        channels
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // That it has ended on its own is the one way in which these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of the calls of a load.
#[derive(Default)]
struct Outcome {
    /// How long each answered call took.
    answered: Vec<Duration>,
    /// How each refused call was refused, and how long that took.
    refused: Vec<(Status, Duration)>,
}

impl Outcome {
    fn median_of_refused(&self) -> Duration {
        median(self.refused.iter().map(|(_, took)| *took))
    }

    fn median_of_answered(&self) -> Duration {
        median(self.answered.iter().copied())
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// So many callers call for a while, all at one moment and again and again; then each waits for the
/// answer of its last call.
async fn offer(channels: &[Channel], callers: usize) -> Outcome {
    let audio = pb::Audio {
        mime_type: "audio/wav".to_owned(),
        source: Some(pb::audio::Source::Data(vec![7; PAYLOAD].into())),
        ..pb::Audio::default()
    };
    let question = conversation("qwen-audio-turbo", vec![content::Kind::Audio(audio)]);
    let began = Instant::now();
    let mut loads = JoinSet::new();
    for number in 0..callers {
        let channel = channels[number % channels.len()].clone();
        let mut client = ConversationServiceClient::new(channel);
        let question = question.clone();
        let mut next = began;
        loads.spawn(async move {
            let mut outcome = Outcome::default();
            while next < began + SPAN {
                tokio::time::sleep_until(next).await;
                let asked = Instant::now();
                match client.converse(ask_whole(question.clone())).await {
                    Ok(_) => outcome.answered.push(asked.elapsed()),
                    Err(status) => outcome.refused.push((status, asked.elapsed())),
                }
                next = (next + PERIOD).max(Instant::now() + PAUSE);
            }
            outcome
        });
    }
    let mut all = Outcome::default();
    while let Some(outcome) = loads.join_next().await {
        let outcome = outcome.unwrap();
        all.answered.extend(outcome.answered);
        all.refused.extend(outcome.refused);
    }
    all
}

#[tokio::test]
async fn memory_is_bounded_at_ten_times_the_load_and_what_is_too_much_is_refused_at_once() {
    let answer = [vec![Step::Pause(HOLD)], json(200, &whole("x"))].concat();
    let upstream = Upstream::always(answer).await;
    let program = Program::start(&upstream);
    let channels = program.channels().await;

    let sustained = offer(&channels, SUSTAINABLE).await;
    assert!(sustained.refused.is_empty(), "{:?}", sustained.refused);
    let usual = program.peak();

    let mut asked = sustained.answered.len();
    for _ in 0..2 {
        let began = Instant::now();
        let outcome = offer(&channels, TOO_MANY).await;
        let rounds = began.elapsed().div_duration_f64(HOLD).ceil() as usize;
        let peak = program.peak();
        println!(
            "{} answered and {} refused, half of them within {:?}; {:.1} MiB at most, {:.1} MiB \
             at the sustainable load",
            outcome.answered.len(),
            outcome.refused.len(),
            outcome.median_of_refused(),
            mebibytes(peak),
            mebibytes(usual),
        );
        assert!(peak <= usual + BEYOND, "{usual} bytes, then {peak}");
        for (status, _) in &outcome.refused {
            assert_fault(status, Code::Unavailable, "OVERLOADED");
            let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
            let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
            assert!((50..500).contains(&pushback), "{pushback} ms");
        }
        // A call that waited for a place would have waited for an answer of DashScope's. On a busy
        // machine both take longer.
        let (refused, answered) = (outcome.median_of_refused(), outcome.median_of_answered());
        assert!(refused < answered, "{refused:?} and {answered:?}");
        assert!(outcome.refused.len() > outcome.answered.len());
        // The places are never idle, and never more than they are.
        assert!(
            outcome.answered.len() >= sustained.answered.len() / 2,
            "{}",
            outcome.answered.len()
        );
        assert!(
            outcome.answered.len() <= PLACES * rounds,
            "{}",
            outcome.answered.len()
        );
        asked += outcome.answered.len();
        assert_eq!(
            upstream.seen().len(),
            asked,
            "what is refused reaches nobody"
        );
    }
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
