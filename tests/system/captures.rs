//! What DashScope's own clients send and get, and what the same call is over gRPC.
//!
//! Each case under `tests/captures` holds one call: as gRPC (`call`), as an official client sent it
//! (`sent`), what was answered to it (`served`), what that client made of the answer (`understood`,
//! for people), and what a caller of the gateway gets (`gives`). Cases whose client is `by hand`
//! were not recorded: they are written from what is known of DashScope.
//!
//! The gateway must send the same, but for the differences that a case names. [`DIFFERENCES`] says
//! what each of them is and why; one that a case names but that does not occur is a failure.

use std::collections::BTreeSet;

use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, delta};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::emulator_answers::{upstream, words};
use crate::notation::message;
use crate::requests::check_requests;
use crate::sdk_differences::{DIFFERENCES, HEADER_DIFFERENCES};
use crate::support::*;

fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/captures/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs every case of a file, and tells all that fail.
async fn run(file: &str) {
    let mut failed = Vec::new();
    let cases = cases(file);
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["case"].as_str().unwrap().to_owned();
        if tokio::spawn(check(case)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these cases of {file} fail: {failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn conversations_have_the_requests_and_answers_of_the_clients() {
    run("conversations").await;
}

#[tokio::test(start_paused = true)]
async fn streams_have_the_requests_and_answers_of_the_clients() {
    run("streams").await;
}

#[tokio::test(start_paused = true)]
async fn files_are_uploaded_as_the_clients_do() {
    run("uploads").await;
}

#[tokio::test(start_paused = true)]
async fn faults_become_statuses() {
    run("faults").await;
}

#[tokio::test(start_paused = true)]
async fn the_gateway_answers_the_java_client_as_others() {
    run("java").await;
}

#[test]
fn every_difference_is_used_by_a_case_and_every_name_is_used_once() {
    let mut used = BTreeSet::new();
    let mut names = BTreeSet::new();
    for file in ["conversations", "streams", "uploads", "faults", "java"] {
        for case in cases(file) {
            let name = case["case"].as_str().unwrap().to_owned();
            assert!(names.insert(name.clone()), "{name} is there twice");
            used.extend(words(&case["differences"]));
            used.extend(words(&case["header_differences"]));
            used.extend(words(&case["upload"]["policy"]["header_differences"]));
        }
    }
    let bodies = DIFFERENCES.iter().map(|(name, _, _)| *name);
    let headers = HEADER_DIFFERENCES.iter().map(|(name, _)| *name);
    let known: BTreeSet<String> = bodies.chain(headers).map(str::to_owned).collect();
    assert_eq!(used, known);
}

async fn check(case: Value) {
    let upstream = upstream(&case).await;
    let mut settings = settings(&upstream);
    for (key, value) in case["settings"].as_object().into_iter().flatten() {
        match key.as_str() {
            "inline_limit" => settings.upstream.inline_limit = value.as_u64().unwrap() as usize,
            "after_reset" => settings.retry.after_reset = value.as_bool().unwrap(),
            other => panic!("no setting is called {other}"),
        }
    }
    let gateway = gateway_with(settings).await;
    match case["call"]["method"].as_str().unwrap() {
        "Converse" => check_whole(&case, &gateway).await,
        "ConverseStream" => check_stream(&case, &gateway).await,
        other => panic!("no method is called {other}"),
    }
    check_requests(&case, &upstream.seen());
}

fn request<M>(case: &Value, message: M) -> Request<M> {
    let mut request = Request::new(message);
    for (name, value) in case["call"]["metadata"].as_object().into_iter().flatten() {
        let name = tonic::metadata::MetadataKey::from_bytes(name.as_bytes()).unwrap();
        let value = value.as_str().unwrap().parse().unwrap();
        request.metadata_mut().insert(name, value);
    }
    request
}

async fn check_whole(case: &Value, gateway: &Running) {
    let call = request(case, message(&case["call"]["message"]));
    let outcome = gateway.conversation().converse(call).await;
    let gives = &case["gives"];
    if gives["fault"].is_object() {
        return check_fault(&gives["fault"], &outcome.unwrap_err());
    }
    let mut response = outcome.unwrap().into_inner();
    let timing = response.timing.take().unwrap();
    let attempts = gives["attempts"].as_i64().unwrap_or(1);
    assert_eq!(i64::from(timing.attempts), attempts);
    assert!(!std::mem::take(&mut response.request_id).is_empty());
    let expected: pb::ConverseResponse = message(&gives["response"]);
    assert_eq!(response, expected, "{}", case["case"]);
}

async fn check_stream(case: &Value, gateway: &Running) {
    let call = request(case, message(&case["call"]["message"]));
    let outcome = gateway.conversation().converse_stream(call).await;
    let gives = &case["gives"];
    let expected: Vec<pb::ConverseStreamResponse> = gives["events"]
        .as_array()
        .map(|events| events.iter().map(message).collect())
        .unwrap_or_default();
    if expected.is_empty() {
        // A fault before the first event comes without a stream, so that meshes see it.
        return check_fault(&gives["fault"], &outcome.map(|_| ()).unwrap_err());
    }
    let stream = outcome.unwrap().into_inner();
    let mut events: Vec<_> = stream.collect().await;
    if gives["fault"].is_object() {
        check_fault(&gives["fault"], &events.pop().unwrap().unwrap_err());
    }
    let events = plain(events);
    let events = if gives["joined"] == true {
        joined(events)
    } else {
        events
    };
    assert_eq!(events, expected, "{}", case["case"]);
}

/// The events without their numbers, which are checked, without heartbeats, and without the names
/// and times of the call.
pub fn plain(
    events: Vec<Result<pb::ConverseStreamResponse, Status>>,
) -> Vec<pb::ConverseStreamResponse> {
    let mut plain = Vec::new();
    let mut number = 0;
    for event in events {
        let mut event = event.unwrap();
        let is_heartbeat = matches!(event.event, Some(Event::Heartbeat(_)));
        number += i32::from(!is_heartbeat);
        assert_eq!(event.sequence, number);
        event.sequence = 0;
        if is_heartbeat {
            continue;
        }
        match event.event.as_mut().unwrap() {
            Event::Started(started) => started.request_id.clear(),
            Event::Completed(completed) => assert!(completed.timing.take().is_some()),
            Event::Delta(_) | Event::Heartbeat(_) => {}
        }
        plain.push(event);
    }
    plain
}

/// The events with neighbouring texts as one: where DashScope repeats what it said, how the new
/// text is cut says nothing.
fn joined(events: Vec<pb::ConverseStreamResponse>) -> Vec<pb::ConverseStreamResponse> {
    let mut joined: Vec<pb::ConverseStreamResponse> = Vec::new();
    for mut event in events {
        if let (Some(new), Some(last)) = (
            text(&mut event).cloned(),
            joined.last_mut().and_then(|last| text(last)),
        ) {
            last.push_str(&new);
        } else {
            joined.push(event);
        }
    }
    joined
}

fn text(event: &mut pb::ConverseStreamResponse) -> Option<&mut String> {
    match event.event.as_mut()? {
        Event::Delta(pb::Delta {
            part: Some(delta::Part::Text(text)),
            ..
        }) => Some(text),
        _ => None,
    }
}

fn check_fault(expected: &Value, status: &Status) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{status:?}"));
    let found = json!({"code": format!("{:?}", status.code()), "reason": info.reason});
    let wanted = json!({"code": expected["code"], "reason": expected["reason"]});
    assert_eq!(found, wanted, "{status:?}");
    assert_fault(status, status.code(), &info.reason);
    for key in ["attempts", "upstream_code", "upstream_http_status"] {
        if let Some(expected) = expected.get(key) {
            let expected = expected.to_string().trim_matches('"').to_owned();
            assert_eq!(info.metadata.get(key), Some(&expected), "{key}: {status:?}");
        }
    }
    if let Some(wait) = expected["pushback_ms"].as_u64() {
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        assert_eq!(pushback, &wait.to_string()[..], "{status:?}");
    }
    if expected.get("fields").is_some() {
        assert_eq!(violations(status), words(&expected["fields"]));
    }
}
