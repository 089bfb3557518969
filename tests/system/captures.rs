//! What DashScope's own clients send and get, and what the same call is over gRPC.
//!
//! Each case under `tests/captures` holds one call: as gRPC (`call`), as an official client sent it
//! (`sent`), what was answered to it (`served`), what that client made of the answer (`understood`,
//! for people), and what a caller of the gateway gets (`gives`). Cases whose client is `by hand` were
//! not recorded: they are written from what is known of DashScope.
//!
//! The gateway must send the same, but for the differences that a case names. [`DIFFERENCES`] says
//! what each of them is and why; one that a case names but that does not occur is a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use dashgate::grpc::pb::converse_stream_response::Event;
use dashgate::grpc::pb::{self, delta};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::forms::{Form, OSS_PATH, form};
use crate::notation::message;
use crate::support::*;

const GENERATION: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Makes of the body that a client sent the one that the gateway sends.
type Difference = fn(&mut Value);

/// What the gateway says in other words than DashScope's own clients, and why.
const DIFFERENCES: &[(&str, &str, Difference)] = &[
    (
        "incremental_output",
        "a stream is always asked for in pieces, because the default differs by model",
        |body| body["parameters"]["incremental_output"] = json!(true),
    ),
    (
        "no_incremental_output",
        "what is asked for whole has no pieces",
        |body| {
            parameters(body).remove("incremental_output");
        },
    ),
    (
        "nulls",
        "a parameter that is null says nothing; a null in a list is an item of it and stays",
        |body| parameters(body).retain(|_, value| !value.is_null()),
    ),
    ("deep_nulls", "so does one deeper down", |body| {
        drop_nulls(&mut body["parameters"])
    }),
    (
        "string_content",
        "content is always a list, which every model takes",
        |body| {
            for message in body["input"]["messages"].as_array_mut().unwrap() {
                if message["content"].is_string() {
                    message["content"] = json!([{"text": message["content"]}]);
                }
            }
        },
    ),
    (
        "enable_search",
        "the Java client says that it does not search, asked or not",
        |body| {
            parameters(body).remove("enable_search");
        },
    ),
    (
        "empty_messages",
        "the Java client sends an empty list beside the text to speak",
        |body| {
            body["input"].as_object_mut().unwrap().remove("messages");
        },
    ),
    (
        "stop_text",
        "one text to stop at is a list of one",
        |body| body["parameters"]["stop"] = json!([body["parameters"]["stop"]]),
    ),
    (
        "stop_tokens",
        "one sequence of tokens to stop at is a list of one",
        |body| body["parameters"]["stop"] = json!([body["parameters"]["stop"]]),
    ),
    (
        "tool_call_index",
        "a call of a tool always says which one it is",
        |body| {
            for message in body["input"]["messages"].as_array_mut().unwrap() {
                let calls = message.get_mut("tool_calls").into_iter();
                let calls = calls.flat_map(|calls| calls.as_array_mut().unwrap());
                for (index, call) in calls.enumerate() {
                    call["index"] = json!(index);
                }
            }
        },
    ),
    (
        "object_name",
        "a stored file has a name that nothing else has, because the storage refuses to overwrite",
        |body| rename(&mut body["input"]),
    ),
    (
        "text_stays_text",
        "a text is never a file, even if a file has its name",
        |body| {
            let parts = body["input"]["messages"][0]["content"].as_array_mut();
            for part in parts.unwrap() {
                if part["text"].is_string() {
                    part["text"] = json!("/etc/prompt.txt");
                }
            }
        },
    ),
];

/// Header lines that the gateway does not send, or sends with another value, and why.
const HEADER_DIFFERENCES: &[(&str, &str)] = &[
    (
        "x-custom",
        "a caller sets no headers of DashScope's but two",
    ),
    ("x-dashscope-async", "the gateway waits for every answer"),
    ("accept", "the gateway says what it reads"),
    (
        "content-type",
        "the gateway says in which characters it writes",
    ),
    (
        "x-dashscope-ossresourceresolve",
        "a text that is no file needs no storage",
    ),
    (
        "x-dashscope-workspace",
        "storage is asked for in the workspace of the call",
    ),
];

fn parameters(body: &mut Value) -> &mut serde_json::Map<String, Value> {
    body["parameters"].as_object_mut().unwrap()
}

/// Drops what is null in objects, but not in lists.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Puts a sign in the place of the name of every stored file.
fn rename(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((folder, _)) = text.rsplit_once('/')
                && text.starts_with("oss://")
            {
                *text = format!("{folder}/NAME");
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        Value::Object(fields) => fields.values_mut().for_each(rename),
        _ => {}
    }
}

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
async fn conversations_are_asked_and_answered_as_the_clients_do() {
    run("conversations").await;
}

#[tokio::test(start_paused = true)]
async fn streams_are_asked_and_answered_as_the_clients_do() {
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
async fn calls_of_the_java_client_are_asked_and_answered_alike() {
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

fn words(list: &Value) -> Vec<String> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let word = |item: &Value| item.as_str().unwrap().to_owned();
    items.iter().map(word).collect()
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

/// Answers as the case says: the storage to uploads, then each answer once, the last one again.
async fn upstream(case: &Value) -> Upstream {
    let policy = case["upload"]["policy"]["served"].clone();
    let served = case["served"].as_array().unwrap().clone();
    let mut asked = 0;
    Upstream::start(move |_, request| {
        if request.path.starts_with("/api/v1/uploads") {
            let host = request.header("host").unwrap();
            let text = policy.to_string().replace("UPSTREAM", host);
            return steps(&serde_json::from_str(&text).unwrap());
        }
        if request.path == OSS_PATH {
            return http(200, "x-oss-request-id: 6870A0C9\r\n", b"");
        }
        let answer = &served[asked.min(served.len() - 1)];
        asked += 1;
        steps(answer)
    })
    .await
}

/// What is served, as steps.
fn steps(answer: &Value) -> Vec<Step> {
    let then = match answer["then"].as_str() {
        None => None,
        Some("reset") => Some(Step::Reset),
        Some("close") => Some(Step::Close),
        Some("hang") => Some(Step::Hang),
        Some(other) => panic!("nothing is called {other}"),
    };
    let Some(status) = answer["status"].as_u64() else {
        return vec![then.unwrap()];
    };
    let mut headers = String::new();
    for (name, value) in answer["headers"].as_object().unwrap() {
        headers.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
    }
    let gzip = answer["gzip"] == true;
    if gzip {
        headers.push_str("content-encoding: gzip\r\n");
    }
    if let Some(body) = answer["body"].as_str() {
        let body = if gzip { packed(body) } else { body.into() };
        return http(status as u16, &headers, &body);
    }
    let head = format!("HTTP/1.1 {status} X\r\n{headers}transfer-encoding: chunked\r\n\r\n");
    let mut steps = vec![Step::Write(head.into_bytes())];
    let chunks = words(&answer["chunks"]);
    if gzip {
        steps.extend(packed(&chunks.concat()).chunks(7).map(piece));
    } else {
        steps.extend(chunks.iter().map(piece));
    }
    steps.push(then.unwrap_or_else(end));
    steps
}

fn packed(text: &str) -> Vec<u8> {
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
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

/// The events without their numbers, which are checked, without heartbeats, and without the names and
/// times of the call.
fn plain(
    events: Vec<Result<pb::ConverseStreamResponse, Status>>,
) -> Vec<pb::ConverseStreamResponse> {
    let mut plain = Vec::new();
    for (at, event) in events.into_iter().enumerate() {
        let mut event = event.unwrap();
        assert_eq!(event.sequence, at as i64 + 1);
        event.sequence = 0;
        if matches!(event.event, Some(Event::Heartbeat(_))) {
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

/// The events with neighbouring texts as one: where DashScope repeats what it said, how the new text
/// is cut says nothing.
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

fn check_requests(case: &Value, seen: &[Seen]) {
    let (uploads, rest): (Vec<_>, Vec<_>) =
        seen.iter().partition(|request| request.path != GENERATION);
    check_uploads(case, &uploads);
    let fault = &case["gives"]["fault"];
    let named = words(&case["differences"]);
    if case["refused"].is_string() || case.get("sent").is_none() {
        assert!(rest.is_empty(), "nothing may be sent");
        return;
    }
    let attempts = [&fault["attempts"], &case["gives"]["attempts"]];
    let attempts = attempts.iter().find_map(|n| n.as_u64()).unwrap_or(1);
    assert_eq!(rest.len() as u64, attempts, "requests");
    for request in rest {
        let mut expected = case["sent"]["body"].clone();
        for name in &named {
            let known = DIFFERENCES.iter().find(|(known, _, _)| known == name);
            let (_, _, difference) = known.unwrap_or_else(|| panic!("{name} is not known"));
            let before = expected.clone();
            difference(&mut expected);
            assert_ne!(expected, before, "the difference {name} does not occur");
        }
        let mut found = request.json();
        if named.iter().any(|name| name == "object_name") {
            rename(&mut found["input"]);
        }
        assert_eq!(found, expected, "{}", case["case"]);
        check_headers(
            &case["sent"]["headers"],
            &case["header_differences"],
            request,
        );
    }
}

/// Compares every header that means something to DashScope.
fn check_headers(sent: &Value, differences: &Value, request: &Seen) {
    let mut expected: BTreeMap<String, String> = serde_json::from_value(sent.clone()).unwrap();
    let mut found: BTreeMap<String, String> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| {
            name.starts_with("x-") || matches!(name.as_str(), "accept" | "content-type")
        })
        .collect();
    for name in words(differences) {
        let known = HEADER_DIFFERENCES.iter().any(|(known, _)| *known == name);
        assert!(known, "{name} is not known");
        let (theirs, ours) = (expected.remove(&name), found.remove(&name));
        assert_ne!(theirs, ours, "the header {name} does not differ");
    }
    assert_eq!(found, expected);
    let agent = concat!("dashgate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.header("user-agent"), Some(agent));
    assert_eq!(request.header("authorization"), Some("Bearer sk-canary"));
}

fn check_uploads(case: &Value, seen: &[&Seen]) {
    let upload = &case["upload"];
    if !upload.is_object() {
        assert!(seen.is_empty(), "nothing is uploaded: {seen:?}");
        return;
    }
    let policy = &upload["policy"];
    let (asked, forms) = seen.split_first().unwrap();
    assert_eq!(asked.method, "GET");
    assert_eq!(asked.path, policy["path"].as_str().unwrap());
    assert_eq!(asked.header("authorization"), Some("Bearer sk-canary"));
    // What is read is JSON whether it is asked for or not; only what DashScope obeys is compared.
    let mut sent = policy["headers"].clone();
    sent.as_object_mut().unwrap().remove("accept");
    let mut bare = (**asked).clone();
    bare.headers.retain(|(name, _)| name != "accept");
    check_headers(&sent, &policy["header_differences"], &bare);

    let parts = upload["forms"].as_array().cloned().unwrap_or_default();
    assert_eq!(forms.len(), parts.len(), "forms");
    let certificate: Value = match policy["served"]["body"].as_str() {
        Some(body) => serde_json::from_str(body).unwrap(),
        None => Value::Null,
    };
    let data = inline(&case["call"]["message"]);
    let mut keys = BTreeSet::new();
    for ((request, names), (mime_type, bytes)) in forms.iter().zip(&parts).zip(data) {
        assert_eq!(request.header("authorization"), None);
        let Form { parts, .. } = form(request);
        let found: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(found, words(names));
        let value = |name: &str| {
            let part = parts.iter().find(|part| part.name == name).unwrap();
            String::from_utf8(part.value.clone()).unwrap()
        };
        for (part, key) in [
            ("OSSAccessKeyId", "oss_access_key_id"),
            ("Signature", "signature"),
            ("policy", "policy"),
            ("x-oss-object-acl", "x_oss_object_acl"),
            ("x-oss-forbid-overwrite", "x_oss_forbid_overwrite"),
        ] {
            assert_eq!(value(part), certificate["data"][key].as_str().unwrap());
        }
        assert_eq!(value("success_action_status"), "200");
        assert_eq!(value("x-oss-content-type"), mime_type);
        let folder = certificate["data"]["upload_dir"].as_str().unwrap();
        let key = value("key");
        assert!(key.starts_with(&format!("{folder}/")), "{key}");
        assert!(keys.insert(key), "every file has a name of its own");
        assert_eq!(parts.last().unwrap().value, bytes);
    }
}

/// The media of a call that are bytes, in their order.
fn inline(value: &Value) -> Vec<(String, Vec<u8>)> {
    use base64::Engine as _;
    match value {
        Value::Object(fields) => match fields.get("data").and_then(Value::as_str) {
            Some(data) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(data);
                let mime_type = fields["mime_type"].as_str().unwrap().to_owned();
                vec![(mime_type, bytes.unwrap())]
            }
            None => fields.values().flat_map(inline).collect(),
        },
        Value::Array(items) => items.iter().flat_map(inline).collect(),
        _ => Vec::new(),
    }
}
