//! Runs one case of the conformance suite: a job on standard input, its result on standard output.
//!
//! `tests/conformance/README.md` documents both. The runner does not know the expected result.

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod calls;
mod content;
mod job;
mod job_stored;
mod live;
mod over;
mod result;
mod stored;
mod streams;
mod tools;

use job::Job;
use result::CaseResult;

type Fault = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _written = writeln!(std::io::stderr(), "{fault}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Fault> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let job: Job = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let began = Instant::now();
    let mut case_result = CaseResult::default();
    runtime.block_on(calls::make(job, &mut case_result))?;
    case_result.elapsed_ms = u64::try_from(began.elapsed().as_millis())?;
    let result: Value = json!(case_result);
    writeln!(std::io::stdout(), "{result}")?;
    // What is cancelled is on its way when the runtime has ended.
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}
