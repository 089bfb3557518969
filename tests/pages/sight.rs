//! docs/observability.md, the dashboard and the alerts name every metric, and none that is gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dashgate::telemetry::call_report;
use dashgate::telemetry::metric_definitions::{self, Kind, Metric};

use super::read;

const PAGE: &str = "docs/observability.md";

/// The fields of the log line of a call.
const MEANINGS: &[(&str, &str)] = &[
    ("request_id", "the request id, as in `x-request-id`"),
    ("method", "the gRPC method"),
    ("caller", "the caller's name, if callers have names"),
    ("model", "the requested model"),
    ("answered_by", "the model that answered"),
    ("outcome", "`OK`, `CANCELLED`, or the error reason"),
    ("attempts", "the number of requests to DashScope"),
    ("first_event_ms", "time to the first event"),
    ("ttft_ms", "time to the first chunk of a streamed answer"),
    ("total_ms", "duration of the call"),
    ("chunks", "the number of chunks of the answer"),
    ("upstream_request_id", "DashScope's request id"),
    ("upstream_code", "DashScope's error code"),
    (
        "input_tokens",
        "input tokens, as DashScope counted them until the call ended",
    ),
    ("output_tokens", "output tokens, likewise"),
    (
        "usage_estimated",
        "whether the caller was charged by an estimate, because the answer ended before DashScope \
         reported its tokens",
    ),
    ("uploaded_bytes", "size of an upload"),
    ("trace_id", "the id of the call's trace"),
    (
        "joined",
        "whether the answer came from another call with the same `request_id`",
    ),
    ("responses", "live sessions: the responses that ended"),
    (
        "cancelled_responses",
        "live sessions: those that were cancelled by the caller or its speech",
    ),
    (
        "input_audio_ms",
        "live sessions: the caller's audio, in playing time",
    ),
    (
        "output_audio_ms",
        "live sessions: the audio of responses, in playing time",
    ),
    (
        "reconnects",
        "live sessions: how often it continued on a new connection to DashScope",
    ),
    (
        "resumes",
        "live sessions: how often its caller resumed it on another stream",
    ),
];

#[test]
fn the_page_has_every_metric_and_no_other() {
    part("metrics", &metrics_table());
}

#[test]
fn the_page_has_every_field_of_the_line_of_a_call() {
    let fields: Vec<_> = MEANINGS.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, call_report::FIELDS);
    let mut table = "| Field | Meaning |\n|---|---|\n".to_owned();
    for (field, meaning) in MEANINGS {
        let _ = writeln!(table, "| `{field}` | {meaning} |");
    }
    part("fields", &table);
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let text = read("deploy/observability/dashboard.json");
    let board: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = board["panels"].as_array().expect("it has panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let mut shown = BTreeSet::new();
    for target in targets {
        let expression = target["expr"].as_str().expect("a target asks something");
        shown.extend(metric_names("the dashboard", expression));
    }
    // Everything that is counted can be seen, but what panels have no use for.
    for metric in metric_definitions::ALL {
        let hidden = [
            metric_definitions::STARTED.name,
            metric_definitions::BUILD.name,
            metric_definitions::PROCESS_MAX_FDS.name,
            metric_definitions::PROCESS_START.name,
        ];
        let wanted = !hidden.contains(&metric.name);
        assert_eq!(shown.contains(metric.name), wanted, "{}", metric.name);
    }
    let mut places: Vec<_> = panels
        .iter()
        .map(|panel| panel["gridPos"].to_string())
        .collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), panels.len(), "two panels lie on each other");
}

#[test]
fn the_image_shows_this_dashboard() {
    let board = read("deploy/observability/dashboard.json");
    let board: serde_json::Value = serde_json::from_str(&board).expect("it is JSON");
    let image = read("docs/dashboard.svg");
    for panel in board["panels"].as_array().expect("it has panels") {
        let title = panel["title"].as_str().expect("a panel has a title");
        let drawn = format!(">{}</text>", title.replace(' ', "\u{a0}"));
        let how = "run deploy/observability/dashboard.py";
        assert!(image.contains(&drawn), "{title}: {how}");
    }
}

#[test]
fn the_alerts_watch_metrics_that_exist() {
    let text = read("deploy/observability/alerts.yaml");
    let alerts = text.matches("- alert: Dashgate").count();
    assert!(alerts >= 10, "{alerts}");
    for part in ["expr:", "severity:", "summary:", "description:"] {
        assert_eq!(text.matches(part).count(), alerts, "{part}");
    }
    let plain: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("description:") && !line.contains("summary:"))
        .collect();
    assert!(metric_names("the alerts", &plain.join("\n")).len() > 10);
}

/// The metrics that a text names. Fails for one that does not exist.
pub(crate) fn metric_names(page: &str, text: &str) -> BTreeSet<&'static str> {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !word(letter))
        .filter(|name| {
            let counted = ["dashgate_", "process_", "grpc_server_"];
            counted.iter().any(|begin| name.starts_with(begin))
        })
        .map(|name| {
            // A page names a histogram; an expression names one of its series.
            let whole = |metric: &Metric| page.ends_with(".md") && metric.name == name;
            let mut all = metric_definitions::ALL.iter();
            let metric = all.find(|metric| whole(metric) || fits(metric, name));
            metric
                .unwrap_or_else(|| panic!("{page}: no metric {name}"))
                .name
        })
        .collect()
}

fn fits(metric: &Metric, name: &str) -> bool {
    match (metric.kind, name.strip_prefix(metric.name)) {
        (Kind::Histogram(_), Some(end)) => ["_bucket", "_sum", "_count"].contains(&end),
        (Kind::Counter | Kind::Gauge, Some(end)) => end.is_empty(),
        (_, None) => false,
    }
}

fn metrics_table() -> String {
    let mut table = "| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n".to_owned();
    for metric in metric_definitions::ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, labels, help) = (metric.name, labels.join(", "), metric.help);
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    }
    table
}

/// Checks what stands on the page between the two marks of this name.
fn part(name: &str, right: &str) {
    let page = read(PAGE);
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->\n"),
    );
    let found = page
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once(&end))
        .map(|(found, _)| found);
    let found = found.expect("the page has both marks");
    if found == right {
        return;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-observability.md"));
    let fixed = page.replace(
        &format!("{begin}{found}{end}"),
        &format!("{begin}{right}{end}"),
    );
    fs::write(&target, fixed).expect("the folder for temporary files can be written to");
    panic!("outdated, run: cp {} {PAGE}", target.display());
}
