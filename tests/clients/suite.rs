//! The suite on trial: what is wrong must be judged wrong, or nothing that it says means anything.

use serde_json::{Map, Value, json};

use super::case::{self, CALLS, Case};
use super::judge::{MATCHERS, faults};
use super::{made, notation, papers};

/// The fewest cases that the suite is worth its name with.
const FEWEST: usize = 60;

type TrialOf = (&'static str, fn() -> Result<(), String>);

/// All trials.
pub(crate) const ALL: [TrialOf; 7] = [
    ("every_matcher_accepts_and_refuses", matchers),
    ("every_kind_of_call_has_a_case", kinds),
    ("a_case_that_is_wrong_is_refused", wrong_cases),
    ("an_error_that_no_case_speaks_of_is_a_fault", silent_errors),
    ("results_are_read_in_every_spelling", spellings),
    ("media_are_the_same_each_time", media),
    ("regions_and_blocks_are_found", regions),
];

/// What all cases together must be.
pub(crate) fn cases(cases: &[Case], faults: &[String]) -> Result<(), String> {
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    if cases.len() < FEWEST {
        return Err(format!("only {} cases", cases.len()));
    }
    for case in cases {
        if !case.about.ends_with('.') || case.about.len() < 10 {
            return Err(format!("{}: what is it about?", case.name));
        }
        if case.expect.is_empty() {
            return Err(format!("{} expects nothing", case.name));
        }
    }
    Ok(())
}

fn holds(is_so: bool, what: impl std::fmt::Debug) -> Result<(), String> {
    if is_so {
        Ok(())
    } else {
        Err(format!("{what:?}"))
    }
}

/// Each with an expectation, what fits it, and what does not.
const TABLE: &str = include_str!("../conformance/matchers.json");

fn matchers() -> Result<(), String> {
    let table: Vec<Value> = serde_json::from_str(TABLE).map_err(|error| error.to_string())?;
    let mut tried = Vec::new();
    for row in &table {
        let column = |name: &str| row.get(name).ok_or_else(|| format!("{row} has no {name}"));
        let (expected, fits, fails) = (column("expected")?, column("fits")?, column("fails")?);
        let said = faults(expected, fits);
        holds(said.is_empty(), (row, said))?;
        holds(!faults(expected, fails).is_empty(), row)?;
        let first = column("tries")?
            .as_str()
            .and_then(|it| it.split(' ').next());
        tried.extend(first);
    }
    let untried = MATCHERS.iter().filter(|name| !tried.contains(name));
    let untried: Vec<_> = untried.collect();
    holds(untried.is_empty(), untried)?;
    let unknown = faults(&json!({"$new": 1}), &json!(1));
    holds(!unknown.is_empty(), "an unknown matcher accepts")
}

fn kinds() -> Result<(), String> {
    let (cases, _) = case::all();
    let does = |case: &Case| case.job.call.get("do").cloned();
    let done: Vec<Value> = cases.iter().filter_map(does).collect();
    let missing = CALLS
        .iter()
        .filter(|(name, _)| !done.contains(&json!(name)));
    let missing: Vec<_> = missing.map(|(name, _)| name).collect();
    holds(missing.is_empty(), missing)
}

fn wrong_cases() -> Result<(), String> {
    let right = json!({
        "about": "It is right.",
        "job": {"call": {"do": "sniff", "vectors": []}},
        "expect": {"mime_types": []},
    });
    let said = case::parse("right", &right.to_string());
    holds(said.is_ok(), said)?;
    let change = |pointer: &str, key: &str, value: Value| {
        let mut wrong = right.clone();
        if let Some(Value::Object(fields)) = wrong.pointer_mut(pointer) {
            fields.insert(key.to_owned(), value);
        }
        wrong.to_string()
    };
    for wrong in [
        change("", "abuot", json!("")),
        change("", "gateway", json!({"setings": {}})),
        change("", "gateway", json!({"played": [{"mesages": []}]})),
        change(
            "",
            "gateway",
            json!({"played": [{"status": {"code": "NO"}}]}),
        ),
        change("", "gateway", json!({"played": []})),
        change("/job", "optoins", json!({})),
        change("/job/call", "do", json!("sing")),
        change("/job/call", "file", json!("a")),
        change("/job", "options", json!({"key": 1})),
        change("/expect", "anwsers", json!([])),
        change("/expect", "seen", json!([])),
        change("/expect", "answers", json!({"$regx": "a"})),
        change("/expect", "answers", json!([{"$any": true, "text": "a"}])),
    ] {
        holds(case::parse("wrong", &wrong).is_err(), wrong)?;
    }
    holds(
        case::parse("Not_A_Name", &right.to_string()).is_err(),
        "a name",
    )
}

fn silent_errors() -> Result<(), String> {
    let case = json!({
        "about": "It says nothing of errors.",
        "job": {"call": {"do": "sniff", "vectors": []}},
        "expect": {"mime_types": ["a"]},
    });
    let case = case::parse("case", &case.to_string())?;
    let expected = super::play::expected(&case);
    let found = json!({"mime_types": ["a"], "error": {"code": "INTERNAL"}});
    holds(
        !faults(&expected, &found).is_empty(),
        "an error is overlooked",
    )?;
    let said = faults(&expected, &json!({"mime_types": ["a"]}));
    holds(said.is_empty(), said)
}

fn spellings() -> Result<(), String> {
    let told = |text: Value| notation::result(&text.to_string());
    let one = told(json!({
        "answers": [{
            "text": "",
            "raw": {"requestId": "a", "choices": [], "usage": {"input_tokens": 0}},
        }],
        "events": [{"sequence": 1, "heartbeat": {}}],
        "error": {"code": "INTERNAL", "reason": "", "attempts": null},
        "deltas": [], "conversation": null,
    }))?;
    let other = told(json!({
        "answers": [{"text": "", "raw": {"request_id": "a", "usage": {"inputTokens": 0}}}],
        "events": [{"sequence": 1, "heartbeat": {}}],
        "error": {"code": "INTERNAL"},
    }))?;
    holds(one == other, (&one, &other))?;
    for wrong in [
        json!({"anwsers": []}),
        json!({"answers": [{"txet": ""}]}),
        json!({"answers": [{"raw": {"choises": []}}]}),
        json!({"error": {"status": 1}}),
        json!([]),
    ] {
        holds(told(wrong.clone()).is_err(), wrong)?;
    }
    Ok(())
}

fn media() -> Result<(), String> {
    let files = json!({"file": {"png": [3, 2]}, "a": [{"audio_bytes_of": {"wav_seconds": 1}}]});
    let (one, other) = (made::with_files(&files)?, made::with_files(&files)?);
    holds(one == other, (&one, &other))?;
    let sound = one.pointer("/a/0/audio_bytes_of").and_then(Value::as_str);
    let size = std::fs::metadata(sound.unwrap_or_default()).map_err(|error| error.to_string())?;
    holds(size.len() == 32_044, size.len())?;
    let bytes = made::with_bytes(&json!([{"$bytes": 3}]));
    holds(
        bytes
            .pointer("/0")
            .and_then(Value::as_str)
            .is_some_and(|it| it.len() == 4),
        bytes,
    )?;
    let missing = Map::from_iter([("file".to_owned(), json!("no-such-file"))]);
    holds(
        made::with_files(&Value::Object(missing)).is_err(),
        "a file that is not there",
    )
}

fn regions() -> Result<(), String> {
    let code =
        "a\n  // region one\n  b\n    // region two\n    c\n    // endregion\n  // endregion\nd\n";
    let one = papers::region(code, "one")?;
    holds(one == ["b", "  c"], &one)?;
    holds(
        papers::region(code, "three").is_err(),
        "a region that is not there",
    )?;
    let readme = "<!-- from examples/a.x#one -->\n\n```rust\nb\n```\n```sh\nls\n```\n";
    holds(papers::blocks(readme)?.len() == 1, readme)?;
    holds(
        papers::blocks("```go\nx\n```\n").is_err(),
        "code from nowhere",
    )
}
