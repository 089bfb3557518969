//! What the gateway asked of DashScope, beside what an official client asked.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::emulator_answers::words;
use crate::response_forms::form;
use crate::sdk_differences::{DIFFERENCES, HEADER_DIFFERENCES, rename};
use crate::support::*;

const GENERATION: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Checks all that the scripted DashScope was asked in the course of a case.
pub fn check_requests(case: &Value, seen: &[Seen]) {
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
    for (at, request) in rest.iter().enumerate() {
        // The last try after failures of a whole answer goes by stream: some models only do that.
        let streams = request.header("x-dashscope-sse").is_some();
        if at > 0 && at + 1 == rest.len() && streams && !is_stream(&case["sent"]["headers"]) {
            continue;
        }
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

fn is_stream(headers: &Value) -> bool {
    let headers = headers.as_object().unwrap();
    headers
        .keys()
        .any(|name| name.eq_ignore_ascii_case("x-dashscope-sse"))
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
        let form = form(request);
        let parts = &form.parts;
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
    match value {
        Value::Object(fields) => match fields.get("data").and_then(Value::as_str) {
            Some(data) => {
                let bytes = STANDARD.decode(data);
                let mime_type = fields["mime_type"].as_str().unwrap().to_owned();
                vec![(mime_type, bytes.unwrap())]
            }
            None => fields.values().flat_map(inline).collect(),
        },
        Value::Array(items) => items.iter().flat_map(inline).collect(),
        _ => Vec::new(),
    }
}
