//! Prometheus's own parser of its text, and one of PromQL: neither was written here.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dashgate::telemetry::metric_definitions::{ALL, Kind};
use serde_json::Value;

use super::Case;
use super::judge::{equal, holds, json};
use super::process::ask;
use super::server::Server;
use super::tools::Tool;

/// Python takes its time to import.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str = include_str!("prometheus.py");

pub(crate) const CASES: &[Case] = &[(
    "prometheus_reads_the_numbers_and_what_asks_for_them",
    Tool::Python,
    reads_the_numbers,
)];

fn reads_the_numbers(python: &Path) -> Result<(), String> {
    let server = Server::watched()?;
    let asked = ask(
        Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(["ask", "--server", server.address(), "How are you?"])
            .env_clear(),
        LIMIT,
    )?;
    equal("the exit code of ask", asked.code, Some(0)).map_err(|why| why + &asked.err)?;
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.txt");
    fs::write(&page, server.look("/metrics")?).map_err(|error| error.to_string())?;
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let mut command = Command::new(python);
    command
        .args(["-c", SCRIPT])
        .arg(&page)
        .args([deploy.join("dashboard.json"), deploy.join("alerts.yaml")]);
    let said = ask(&mut command, LIMIT)?;
    equal("the exit code", said.code, Some(0)).map_err(|why| why + &said.err)?;
    let read = json(&said.out)?;
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // This parser takes the end off counters, as OpenMetrics does.
        let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
        let found = read.pointer(&format!("/kinds/{name}"));
        // Some are there only once something went wrong or was paid for.
        if let Some(found) = found {
            equal(metric.name, found.as_str(), Some(kind))?;
        }
    }
    let samples = read.pointer("/samples").and_then(Value::as_array);
    let has = |name: &str| samples.is_some_and(|all| all.iter().any(|found| found == name));
    for name in [
        "grpc_server_handled_total",
        "grpc_server_handling_seconds_bucket",
        "dashgate_time_to_first_token_seconds_bucket",
        "dashgate_tokens_total",
        "dashgate_upstream_requests_total",
        "dashgate_build_info",
        "process_resident_memory_bytes",
    ] {
        holds(name, has(name), &read)?;
    }
    Ok(())
}
