//! What the documentation says is true: its tables, names, numbers, links and configurations.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot read the project has to fail"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use dashgate::emulator::Script;
use dashgate::error::{Error, Kind, Reason, Sent};
use dashgate::grpc::status::{code, pushback};
use dashgate::grpc::status_code;

#[path = "pages/bounds.rs"]
mod bounds;
#[path = "system/certificates.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a page needs a part of them, and tests share them"
)]
mod certificates;
#[path = "pages/configurations.rs"]
mod configurations;
#[path = "pages/error_reasons.rs"]
mod error_reasons;
#[path = "pages/first_run.rs"]
mod first_run;
#[path = "pages/names.rs"]
mod names;
#[path = "pages/operations.rs"]
mod operations;
#[path = "pages/programs.rs"]
mod programs;
#[path = "pages/sight.rs"]
mod sight;

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// What stands above the tables of the page of errors.
const PREFACE: &str = r"# Errors

A failed call has a gRPC code and a reason. The code says what to do next, the reason what happened.
The reason is in `google.rpc.ErrorInfo` with the domain `dashgate`, whose metadata are `attempts`,
`upstream_code`, `upstream_http_status` and `upstream_request_id` (DashScope's code, HTTP status and
request id); with `CONVERSATION_BUSY` also `running_request_id`, and with `STALE_CONVERSATION` and
`HISTORY_REGRESSED` also `last_turn`. Clients with the schema use `dashgate.v1.CallFailure`
instead, whose `reason` is the enum `dashgate.v1.ErrorReason`. Both are in
`google.rpc.Status.details`, with further details:

| Detail | When | Content |
|---|---|---|
| `CallFailure` | always | the reason, the attempts, whether output began, the usage so far |
| `RequestInfo` | always | the request id, as in the gateway's log |
| `BadRequest` | a field is invalid | its path, the problem, and the fix |
| `RetryInfo` | a retry can help | the time to wait |
| `QuotaFailure` | a limit was reached | the subject of the limit |
| `PreconditionFailure` | something else must be done first | what |
| `ResourceInfo` | something does not exist | its type and name |
| `Help` | DashScope refused the call | a link to DashScope's error codes |

The usage is complete as far as DashScope reported it: it sends the usage with each event of a
stream. If the details were too large for common header limits, `Usage.extra` and texts inside the
usage are omitted, the counts never.

The trailers have `x-request-id`, `x-dashscope-request-id` if DashScope sent one, and
`grpc-retry-pushback-ms`: the time to wait before a retry, or `-1` for no retry. The column *Retry*
below is that time, unless the exact time is known.

`UNAVAILABLE` always means that the model did no work for this call. If the model may have run, the
same reason has the code `INTERNAL` and the pushback `-1`: a retry may be billed again. So has every
error after output has begun, whatever the column says.

The gateway never sends the status `CANCELLED`. It may reset a stream that its caller does not read
(`RST_STREAM` with `CANCEL`, see [slow callers](operations.md#callers-read-too-slowly)), which
libraries report as `CANCELLED` without `ErrorInfo`. Any other error without `ErrorInfo` comes from
your gRPC library or from a proxy: the gateway was not reached, or the connection to it broke.

Files stored with `UploadMedia` expire after 48 hours. After that the gateway refuses their
`oss://` URL with `MEDIA_EXPIRED` before it calls DashScope, as long as it remembers the upload
(the last 16384 that this process stored or has looked up); `BadRequest` has the field and the
expiry. Other uploads are sent to DashScope, whose error for an expired file has the same
reason. The gateway keeps no copy: upload the file again. Media that a call sends as bytes do
not expire: if DashScope cannot read what the gateway stored for the call, it is stored again,
once, before anything is billed.

This page is generated from the code and checked by `cargo test --test pages`.
";

/// The kinds in the order of the page, each with what the caller must do.
const KINDS: [(Kind, &str); 14] = [
    (Kind::Invalid, "Fix the request."),
    (Kind::Unauthenticated, "Send valid credentials."),
    (Kind::Forbidden, "Ask the operator for permission."),
    (Kind::NotFound, "Name something that exists."),
    (Kind::Exists, "Use what exists, or choose another name."),
    (Kind::OutOfRange, "Ask for something that is still kept."),
    (
        Kind::Precondition,
        "Fix something else first: a bill, a key, a file, a conversation that is too long.",
    ),
    (
        Kind::Lost,
        "Compare with what you have, and send what is missing.",
    ),
    (Kind::Exhausted, "Wait, or send less."),
    (Kind::Unavailable, "Retry: the model did no work."),
    (
        Kind::TimedOut,
        "Set a longer deadline, or request less work.",
    ),
    (Kind::Aborted, "Check the state, then decide."),
    (Kind::Unsupported, "Not supported: use another way."),
    (
        Kind::Broken,
        "Report it to the operator. The model may have run.",
    ),
];

#[test]
fn the_page_of_errors_is_what_the_table_says() {
    let page = page();
    if read("docs/errors.md") == page {
        return;
    }
    let right = Path::new(env!("CARGO_TARGET_TMPDIR")).join("errors.md");
    fs::write(&right, page).expect("the folder for temporary files can be written to");
    panic!("outdated, run: cp {} docs/errors.md", right.display());
}

#[test]
fn every_reason_is_on_the_page_once() {
    let page = page();
    for reason in Reason::ALL {
        let row = format!("\n| `{}` |", reason.name());
        assert_eq!(page.matches(&row).count(), 1, "{reason:?}");
    }
}

#[test]
fn the_schema_of_the_file_holds_every_setting_and_shows_its_type() {
    let schema: serde_json::Value =
        serde_json::from_str(&read("docs/config.schema.json")).expect("JSON");
    let mut settings = 0;
    let mut left = vec![(String::new(), &schema)];
    while let Some((key, place)) = left.pop() {
        let Some(inside) = place["properties"].as_object() else {
            let setting = dashgate::config::all_settings::find(&key);
            assert!(setting.is_some(), "there is no setting {key}");
            let typed = place.get("type").or_else(|| place.get("enum"));
            assert!(typed.is_some(), "{key} has no type");
            settings += 1;
            continue;
        };
        assert_eq!(place["additionalProperties"], false, "{key}");
        for (name, below) in inside {
            let dot = if key.is_empty() { "" } else { "." };
            left.push((format!("{key}{dot}{name}"), below));
        }
    }
    assert_eq!(settings, dashgate::config::all_settings::ALL.len());
}

#[test]
fn links_to_files_lead_somewhere() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for page in names::pages() {
        let folder = top.join(&page);
        let folder = folder.parent().expect("a page is in a folder");
        let text = read(&page);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if file.is_empty() {
                top.join(&page)
            } else {
                folder.join(file)
            };
            assert!(file.exists(), "{page}: {link} is not there");
            checked += 1;
            if !heading.is_empty() {
                let text = fs::read_to_string(&file).expect("a page with headings is text");
                let there = text.lines().filter_map(|line| line.strip_prefix('#'));
                assert!(
                    there.map(slug).any(|slug| slug == heading),
                    "{page}: {link}"
                );
            }
        }
    }
    assert!(checked > 100, "{checked} links");
}

/// What links call a heading.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn the_script_to_try_is_one() {
    let script = Script::parse(&read("examples/throttled.json")).expect("it has no fault");
    assert_eq!(script.len(), 2);
}

fn page() -> String {
    let mut page = PREFACE.to_owned();
    for (kind, todo) in KINDS {
        let name = status_code::name(code(kind));
        let _ = write!(
            page,
            "\n## {name}\n\n{todo}\n\n| Reason | Meaning | Retry |\n|---|---|---|\n"
        );
        for reason in Reason::ALL.iter().filter(|reason| reason.kind() == kind) {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} |",
                reason.name(),
                reason.meaning(),
                again(*reason)
            );
        }
    }
    page
}

/// Whether to call again after this fault, when the model did nothing.
fn again(reason: Reason) -> String {
    let error = Error::new(reason, "").with_sent(Sent::Refused);
    match pushback(&error) {
        Some(wait) => format!("after {wait:?}"),
        None => "no".to_owned(),
    }
}

/// The rows of all tables, cell by cell.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(str::trim).collect())
        .collect()
}

/// What a cell has in backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(path).expect("the page is there")
}
