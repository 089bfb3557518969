//! Going down while whoever takes the log or the traces does not take them.
//!
//! The real program, because it is the process that must end; each test is bounded by a clock.

use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tokio::time::Instant;

use crate::support::*;

/// How long the program may take to end once nothing but its log is in the way: that waits for a
/// second, and the machine may be busy.
const SOON: Duration = Duration::from_secs(10);

/// A pipe that is full and stays full as long as its reader lives.
fn full_pipe() -> (std::io::PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    // It ends when the reader goes.
    std::thread::spawn(move || while filler.write_all(&[b'x'; 4096]).is_ok() {});
    (reader, writer)
}

/// The program, whose stderr nobody reads.
struct Program {
    child: Child,
    address: String,
    _stderr: std::io::PipeReader,
}

impl Program {
    fn start(upstream: &Upstream, drain_timeout: &str) -> Self {
        let (reader, writer) = full_pipe();
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--upstream", &upstream.base_url()])
            .args(["--set", &format!("server.drain_timeout={drain_timeout}")])
            .args(["--set", "server.drain_delay=0s"])
            .env_clear()
            .env("DASHSCOPE_API_KEY", "sk-anything")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(writer)
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on ").unwrap();
        let address = format!("http://{address}");
        // Read on, so that only the log is in the way.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Self {
            child,
            address,
            _stderr: reader,
        }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Whether it ends within this time.
    async fn ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Makes a call that does not end, and waits until it has reached DashScope.
    async fn call(&self, upstream: &Upstream) {
        let address = self.address.clone();
        tokio::spawn(async move {
            let mut client = ConversationServiceClient::connect(address).await.unwrap();
            let _ = client.converse(ask_whole(question())).await;
        });
        upstream.wait_for_requests(1).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // That it has ended on its own is the one way in which these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn p1_a_process_whose_log_is_not_read_ends_at_a_signal() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&upstream, "60s");
        program.signal(signal);
        assert!(program.ends_within(SOON).await, "{signal}");
    }
}

#[tokio::test]
async fn p2_a_process_whose_log_is_not_read_ends_after_its_drain() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let mut program = Program::start(&upstream, "1s");
    program.call(&upstream).await;
    program.signal("TERM");
    assert!(program.ends_within(SOON).await);
}

#[tokio::test]
async fn a_second_signal_ends_a_program_whose_log_nobody_reads() {
    for second in ["TERM", "INT"] {
        let upstream = Upstream::always(vec![Step::Hang]).await;
        let mut program = Program::start(&upstream, "1h");
        program.call(&upstream).await;
        program.signal("TERM");
        assert!(!program.ends_within(Duration::from_secs(2)).await);
        program.signal(second);
        assert!(program.ends_within(SOON).await, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_receiver_of_traces_that_hangs_does_not_keep_a_gateway_from_its_end() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let receiver = Upstream::always(vec![Step::Hang]).await;
    let mut settings = settings(&upstream);
    settings.telemetry.otlp_endpoint = Some(format!("http://{}", receiver.address));
    settings.telemetry.trace_ratio = 1.0;
    settings.server.drain_delay = Duration::ZERO;
    let gateway = gateway_with(settings).await;
    for _ in 0..600 {
        let answer = gateway.conversation().converse(ask_whole(question())).await;
        answer.unwrap();
    }
    receiver.wait_for_requests(1).await;
    let start = Instant::now();
    gateway.stop().await;
    gateway.ended().await;
    let passed = start.elapsed();
    assert!(passed <= Duration::from_secs(6), "{passed:?}");
}
