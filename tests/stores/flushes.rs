//! A disk that does not take what was written: the process must not go on as if it had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use dashgate::store::migrations::LATEST;
use tokio::time::{Instant, sleep};

use crate::kept::{create, mine, say, text};
use crate::replicas::process;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_call_that_cannot_be_written_is_refused_and_the_process_ends,
        an_answer_that_cannot_be_written_is_an_error_and_the_process_ends,
        a_schema_that_cannot_be_written_is_an_error_and_can_be_changed_later,
        a_disk_that_takes_nothing_at_the_start_is_an_error_at_once,
        transactions_succeed_after_commits_that_failed,
    ]
}

/// A process whose writes reach the disk until a file is created, and can be made until another
/// one is.
struct Disk {
    library: PathBuf,
    fault: PathBuf,
    full: PathBuf,
}

impl Disk {
    fn new(store: &StoreSettings) -> Self {
        let file = Path::new(store.url.expose().trim_start_matches("sqlite:"));
        let library = file.with_file_name("flush_fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/flush_fault.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
        let output = compiler.arg(source).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self {
            library,
            fault: file.with_file_name("fault"),
            full: file.with_file_name("full"),
        }
    }

    fn process(&self, upstream: &Upstream, store: &StoreSettings) -> Process {
        let settings = [
            ("DASHGATE_STORE_URL", store.url.expose()),
            ("server.drain_delay", "0s"),
            ("store.max_connections", "1"),
        ];
        let (library, fault) = (self.library.display(), self.fault.display());
        let full = self.full.display();
        let variables = format!("export LD_PRELOAD={library} FLUSH_FAULT={fault} DISK_FULL={full}");
        Process::start(upstream.address, &settings, &variables)
    }

    /// Runs a command to its end.
    async fn run(&self, store: &StoreSettings, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
        command
            .args(arguments)
            .env_clear()
            .env("DASHGATE_STORE_URL", store.url.expose())
            .env("LD_PRELOAD", &self.library)
            .env("FLUSH_FAULT", &self.fault);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    }

    fn fail(&self) {
        fs::write(&self.fault, "").unwrap();
    }

    fn recover(&self) {
        fs::remove_file(&self.fault).unwrap();
    }
}

fn client(process: &Process) -> ConversationServiceClient<Client> {
    ConversationServiceClient::with_origin(process.client(), process.origin())
}

async fn ends_with_an_error(mut process: Process) {
    let begun = Instant::now();
    let code = loop {
        if let Some(code) = process.exit_code() {
            break code;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(code, 3);
}

async fn a_call_that_cannot_be_written_is_refused_and_the_process_ends(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let disk = Disk::new(&store);
    let one = disk.process(&upstream, &store);
    client(&one).converse(named("a")).await.unwrap();
    disk.fail();
    let refused = client(&one).converse(named("b")).await.unwrap_err();
    assert_eq!(reason(&refused), "STORE_DOWN");
    // The next flush would succeed, and be no proof that the first write is there.
    disk.recover();
    client(&one).converse(named("c")).await.unwrap_err();
    assert_eq!(upstream.seen().len(), 1);
    ends_with_an_error(one).await;
    let again = process(&upstream, &store);
    let kept = client(&again).converse(named("a")).await.unwrap();
    assert_eq!(text(kept.get_ref()), "answer 0");
    assert_eq!(upstream.seen().len(), 1);
    let made = client(&again).converse(named("b")).await.unwrap();
    assert_eq!(text(made.get_ref()), "answer 1");
}

async fn an_answer_that_cannot_be_written_is_an_error_and_the_process_ends(store: StoreSettings) {
    let upstream = numbering(Duration::from_secs(1)).await;
    let disk = Disk::new(&store);
    let one = disk.process(&upstream, &store);
    let mut caller = client(&one);
    let call = tokio::spawn(async move { caller.converse(named("a")).await });
    upstream.wait_for_requests(1).await;
    disk.fail();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(reason(&error), "ANSWER_NOT_SAVED", "{error:?}");
    ends_with_an_error(one).await;
}

async fn a_schema_that_cannot_be_written_is_an_error_and_can_be_changed_later(
    store: StoreSettings,
) {
    let disk = Disk::new(&store);
    let (code, output) = disk.run(&store, &["store", "migrate"]).await;
    assert_eq!(code, 0, "{output}");
    let before = (LATEST - 1).to_string();
    let back = ["store", "migrate", "--to", &before];
    disk.fail();
    let (code, output) = disk.run(&store, &back).await;
    assert!(code != 0 && output.contains("fsync failed"), "{output}");
    disk.recover();
    // The change may be there nevertheless.
    for arguments in [&back[..], &["store", "migrate"]] {
        let (code, output) = disk.run(&store, arguments).await;
        assert_eq!(code, 0, "{output}");
    }
}

async fn a_disk_that_takes_nothing_at_the_start_is_an_error_at_once(store: StoreSettings) {
    let disk = Disk::new(&store);
    disk.fail();
    let begun = Instant::now();
    let (code, output) = disk
        .run(&store, &["serve", "--listen", "127.0.0.1:0"])
        .await;
    assert_eq!(code, 3, "{output}");
    assert!(output.contains("disk I/O error"), "{output}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

// The driver took each of them for a transaction that still runs, and refused all others.
async fn transactions_succeed_after_commits_that_failed(store: StoreSettings) {
    let upstream = numbering(Duration::ZERO).await;
    let disk = Disk::new(&store);
    let one = disk.process(&upstream, &store);
    create(&mut client(&one)).await;
    fs::write(&disk.full, "").unwrap();
    for _ in 0..3 {
        let refused = client(&one).converse(mine(say("hello"))).await;
        assert_eq!(reason(&refused.unwrap_err()), "STORE_FULL");
    }
    fs::remove_file(&disk.full).unwrap();
    for number in 0..3 {
        let answer = client(&one).converse(mine(say("hello"))).await.unwrap();
        assert_eq!(text(answer.get_ref()), format!("answer {number}"));
    }
}
