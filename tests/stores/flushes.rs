//! A disk that does not take what was written: the process must not go on as if it had.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dashgate::config::StoreSettings;
use dashgate::grpc::pb::conversation_service_client::ConversationServiceClient;
use tokio::time::{Instant, sleep};

use crate::kept::text;
use crate::replicas::process;
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        a_call_that_cannot_be_written_is_refused_and_the_process_ends,
        an_answer_that_cannot_be_written_is_an_error_and_the_process_ends,
    ]
}

/// A process whose writes reach the disk until a file is created.
struct Disk {
    library: PathBuf,
    fault: PathBuf,
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
        }
    }

    fn process(&self, upstream: &Upstream, store: &StoreSettings) -> Process {
        let settings = [
            ("DASHGATE_STORE_URL", store.url.expose()),
            ("server.drain_delay", "0s"),
        ];
        let (library, fault) = (self.library.display(), self.fault.display());
        let variables = format!("export LD_PRELOAD={library} FLUSH_FAULT={fault}");
        Process::start(upstream.address, &settings, &variables)
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
