//! Programs that nobody here wrote, run against the real binary.
//!
//! What cannot be installed on a machine is skipped, with the reason. With
//! `DASHGATE_REQUIRE_PEERS=all` it fails instead, so that a silent skip cannot pass for a success.

use std::process::ExitCode;

use libtest_mimic::{Completion, Failed, Trial};

#[path = "peers/browser.rs"]
mod browser;
#[path = "peers/buf.rs"]
mod buf;
#[expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared with the tests of the whole system, which are written so"
)]
#[path = "system/certificates.rs"]
mod certificates;
#[path = "peers/envoy.rs"]
mod envoy;
#[path = "peers/envoy_web.rs"]
mod envoy_web;
#[path = "peers/grpcurl.rs"]
mod grpcurl;
#[path = "peers/h2spec.rs"]
mod h2spec;
#[path = "support/http_get.rs"]
mod http_get;
#[path = "peers/image.rs"]
mod image;
#[path = "peers/interop.rs"]
mod interop;
#[path = "peers/interop_service.rs"]
mod interop_service;
#[path = "peers/java_calls.rs"]
mod java_calls;
#[path = "peers/java_sessions.rs"]
mod java_sessions;
#[path = "peers/judge.rs"]
mod judge;
#[expect(
    clippy::indexing_slicing,
    reason = "JSON is read by index; what is not there is null, and is judged as that"
)]
#[path = "peers/kubernetes.rs"]
mod kubernetes;
#[path = "peers/languages.rs"]
mod languages;
#[path = "peers/load.rs"]
mod load;
#[expect(
    clippy::indexing_slicing,
    reason = "JSON is read by index; what is not there is null, and is judged as that"
)]
#[path = "peers/manifests.rs"]
mod manifests;
#[path = "peers/mesh.rs"]
mod mesh;
#[path = "peers/openai.rs"]
mod openai;
#[path = "peers/process.rs"]
mod process;
#[path = "peers/prometheus.rs"]
mod prometheus;
#[path = "peers/python.rs"]
mod python;
#[path = "peers/readme.rs"]
mod readme;
#[path = "peers/realtime.rs"]
mod realtime;
#[path = "support/schedule.rs"]
mod schedule;
#[path = "peers/sdk.rs"]
mod sdk;
#[path = "peers/server.rs"]
mod server;
#[path = "support/threads.rs"]
mod threads;
#[path = "peers/tls.rs"]
mod tls;
#[path = "peers/tools.rs"]
mod tools;

use tools::Tool;

/// A test: its name, the program that it needs, what it does with it.
type Case = (
    &'static str,
    Tool,
    fn(&std::path::Path) -> Result<(), String>,
);

fn main() -> ExitCode {
    // Those first whose program takes longest to install.
    let cases = [
        kubernetes::CASES,
        languages::CASES,
        interop::CASES,
        envoy::CASES,
        envoy_web::CASES,
        python::CASES,
        realtime::CASES,
        sdk::CASES,
        java_calls::CASES,
        java_sessions::CASES,
        openai::CASES,
        prometheus::CASES,
        grpcurl::CASES,
        tls::CASES,
        h2spec::CASES,
        buf::CASES,
        readme::CASES,
        browser::CASES,
        image::CASES,
    ];
    let mut groups: Vec<(Tool, Vec<Trial>)> = Vec::new();
    for case in cases.concat() {
        let tool = case.1;
        match groups.iter_mut().find(|(other, _)| *other == tool) {
            Some((_, trials)) => trials.push(trial(case)),
            None => groups.push((tool, vec![trial(case)])),
        }
    }
    let groups = groups.into_iter().map(|(_, trials)| trials).collect();
    let trials = schedule::side_by_side(groups);
    libtest_mimic::run(&threads::arguments(2), trials).exit_code()
}

fn trial((name, tool, run): Case) -> Trial {
    Trial::ignorable_test(name, move || match tools::find(tool) {
        Ok(program) => {
            run(&program).map_err(Failed::from)?;
            Ok(Completion::Completed)
        }
        Err(why) if required() => Err(Failed::from(why)),
        Err(why) => Ok(Completion::ignored_with(why)),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a setting of the tests, not of the server"
)]
fn required() -> bool {
    std::env::var("DASHGATE_REQUIRE_PEERS").is_ok_and(|peers| peers == "all")
}
