//! What the process shows to those who look at it from outside, and what it does when the system
//! has nothing left for it.
#![cfg(target_os = "linux")]

use std::time::Duration;

use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::program::Program;
use crate::support::*;

/// How long something outside may take, at most.
const PATIENCE: Duration = Duration::from_secs(20);

fn core_limit(program: &Program) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.id())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    line.unwrap()
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_memory_is_written_to_no_core_unless_the_operator_wants_it() {
    let program = Program::start("ulimit -c unlimited 2>/dev/null;", &[]);
    assert_eq!(core_limit(&program), "0 0");
    let program = Program::start(
        "ulimit -c unlimited 2>/dev/null; ulimit -c > /dev/null;",
        &["--set", "server.core_dumps=true"],
    );
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let may = own
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    // Where the system forbids them anyway there is nothing to see.
    if may.contains("unlimited") {
        assert_ne!(core_limit(&program), "0 0");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_process_without_descriptors_reports_the_limit_and_recovers() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let base_url = upstream.base_url();
    let program = Program::start("ulimit -n 64;", &["--upstream", &base_url]);
    let endpoint = Endpoint::from_shared(format!("http://{}", program.address)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = ConversationServiceClient::new(channel);
    let mut idle = Vec::new();
    let out_of_descriptors = || {
        program
            .log()
            .contains("accept failed: out of file descriptors")
    };
    for _ in 0..100 {
        idle.push(TcpStream::connect(&program.address).await.unwrap());
    }
    until("the log names it", out_of_descriptors).await;
    assert!(program.log().contains("ulimit -n"), "{}", program.log());
    // On a connection that is there, a call finds no descriptor for the way to DashScope.
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    assert!(status.message().contains("file descriptors"), "{status:?}");
    assert!(upstream.seen().is_empty());
    let log_size = program.log().len();
    assert!(log_size < 100_000, "{log_size}");
    drop(idle);
    let recovered = async {
        while client.converse(ask_whole(question())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, recovered)
        .await
        .expect("it recovers");
}

/// An upstream that writes a key into every text of its error.
#[tokio::test]
async fn a_key_in_a_message_of_an_upstream_is_shown_nowhere() {
    let body = serde_json::json!({
        "code": "Invalid.sk-operators-canary\r\n\u{1b}[31m",
        "message": format!("the key sk-operators-canary is wrong {}", "x".repeat(10_000)),
        "request_id": "id-sk-operators-canary",
    });
    let upstream = Upstream::always(json(400, &body.to_string())).await;
    let base_url = upstream.base_url();
    let program = Program::start(
        "",
        &[
            "--upstream",
            &base_url,
            "--set",
            "upstream.show_messages=true",
        ],
    );
    let endpoint = Endpoint::from_shared(format!("http://{}", program.address)).unwrap();
    let mut client = ConversationServiceClient::new(endpoint.connect().await.unwrap());
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    let shown = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
    assert!(!shown.contains("operators-canary"), "{shown}");
    assert!(!status.message().contains('\u{1b}'), "{status:?}");
    let details = tonic_types::StatusExt::get_error_details(&status);
    let info = details.error_info().unwrap();
    assert_eq!(info.metadata["upstream_code"], "****????31m");
    assert!(
        status.message().len() < 4096 && status.details().len() < 8192,
        "{status:?}"
    );
    until("the call is logged", || {
        program.log().contains("dashgate::call")
    })
    .await;
    let log = program.log();
    assert!(!log.contains("operators-canary"), "{log}");
    let numbers = crate::floods::numbers(&program).await;
    assert!(!numbers.contains("operators-canary"), "{numbers}");
    assert!(numbers.contains("dashgate_upstream_requests_total"));
}
