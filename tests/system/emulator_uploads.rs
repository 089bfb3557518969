//! The emulator's temporary storage.

use std::time::Duration;

use dashgate::emulator::EmulatorConfig;
use serde_json::{Value, json};

use crate::support::emulator::{GENERATION, TestEmulator, TestResponse, wav};

const KEY: [(&str, &str); 1] = [("authorization", "Bearer sk-test")];

async fn granted(served: &TestEmulator, model: &str) -> Value {
    let path = format!("/api/v1/uploads?action=getPolicy&model={model}");
    let answer = served.call("GET", &path, &KEY, b"").await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(answer.header("x-request-id"), body["request_id"].as_str());
    let dir = body["data"]["upload_dir"].as_str().unwrap();
    assert!(dir.ends_with(body["request_id"].as_str().unwrap()));
    body["data"].clone()
}

/// The form as the Python SDK sends it.
fn form(data: &Value, name: &str) -> Vec<(String, String)> {
    let text = |name: &str| data[name].as_str().unwrap().to_owned();
    let key = format!("{}/{name}", text("upload_dir"));
    [
        ("OSSAccessKeyId", text("oss_access_key_id")),
        ("Signature", text("signature")),
        ("policy", text("policy")),
        ("key", key),
        ("x-oss-object-acl", text("x_oss_object_acl")),
        ("x-oss-forbid-overwrite", text("x_oss_forbid_overwrite")),
        ("success_action_status", "200".to_owned()),
        ("x-oss-content-type", "audio/x-wav".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn part(name: &str, more: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

async fn posted(served: &TestEmulator, fields: &[(String, String)], file: &[u8]) -> TestResponse {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(part(name, "", value.as_bytes()));
    }
    body.extend(part("file", "; filename=\"a.wav\"", file));
    body.extend(b"--b--\r\n");
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    served.call("POST", "/oss", &headers, &body).await
}

async fn asked(served: &TestEmulator, model: &str, key: &str, resolve: bool) -> TestResponse {
    let body = json!({"model": model, "input": {"messages": [{"role": "user", "content": [
        {"audio": format!("oss://{key}")}, {"text": "what is it?"}]}]}});
    let mut headers = KEY.to_vec();
    if resolve {
        headers.push(("x-dashscope-ossresourceresolve", "enable"));
    }
    served
        .call("POST", GENERATION, &headers, body.to_string().as_bytes())
        .await
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_available_for_48_hours() {
    let served = TestEmulator::plain().await;
    let data = granted(&served, "qwen-audio-turbo").await;
    assert_eq!(
        data["upload_host"],
        format!("http://{}/oss", served.address)
    );
    assert_eq!(data["max_file_size_mb"], 1024);
    let fields = form(&data, "a.wav");
    let file = wav(8000, &[500; 8000]);
    let stored = posted(&served, &fields, &file).await;
    assert_eq!(
        (stored.status, stored.header("server")),
        (200, Some("AliyunOSS"))
    );
    assert_eq!(stored.header("x-dashscope-call-gateway"), None);

    let key = &fields[3].1;
    let answer = asked(&served, "qwen-audio-turbo", key, true).await;
    assert!(answer.text().contains("16044 bytes"), "{}", answer.text());
    for (model, resolve, words) in [
        ("qwen-audio-turbo", false, "does not appear to be valid"),
        (
            "qwen2-audio-instruct",
            true,
            "Don't have authorization to access",
        ),
    ] {
        let refused = asked(&served, model, key, resolve).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
    let again = posted(&served, &fields, &file).await;
    assert_eq!(again.status, 409);
    assert!(again.text().contains("<Code>FileAlreadyExists</Code>"));
    tokio::time::advance(Duration::from_secs(48 * 3600)).await;
    assert_eq!(
        asked(&served, "qwen-audio-turbo", key, true).await.status,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn a_form_is_validated_like_the_object_store_does() {
    let served = TestEmulator::plain().await;
    let good = form(&granted(&served, "m").await, "a.wav");
    let code = async |fields: &[(String, String)]| {
        let answer = posted(&served, fields, b"abc").await;
        let text = answer.text();
        assert_eq!(
            answer.header("content-type"),
            Some("application/xml"),
            "{text}"
        );
        let code = text
            .split("<Code>")
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap();
        (answer.status, code.to_owned())
    };
    let with = |index: usize, value: &str| {
        let mut fields = good.clone();
        fields[index].1 = value.to_owned();
        fields
    };
    for (fields, status, expected) in [
        (with(0, "x"), 403, "InvalidAccessKeyId"),
        (with(1, "x"), 403, "SignatureDoesNotMatch"),
        (with(2, "x"), 403, "SignatureDoesNotMatch"),
        (with(3, "x"), 403, "AccessDenied"),
        (with(4, "public-read"), 403, "AccessDenied"),
        (good[..3].to_vec(), 400, "InvalidArgument"),
        (Vec::new(), 400, "InvalidArgument"),
    ] {
        assert_eq!(
            code(&fields).await,
            (status, expected.to_owned()),
            "{fields:?}"
        );
    }
    tokio::time::advance(Duration::from_secs(301)).await;
    let late = posted(&served, &good, b"abc").await;
    assert_eq!(late.status, 403);
    assert!(
        late.text()
            .contains("Invalid according to Policy: Policy expired.")
    );
}

#[tokio::test(start_paused = true)]
async fn the_file_is_required_and_must_be_last() {
    let served = TestEmulator::plain().await;
    let fields = form(&granted(&served, "m").await, "a.wav");
    let headers = [("content-type", "multipart/form-data; boundary=b")];
    let field = |field: &(String, String)| part(&field.0, "", field.1.as_bytes());
    let file = part("file", "; filename=\"a\"", b"abc");
    let close = b"--b--\r\n".to_vec();
    let all: Vec<u8> = fields.iter().flat_map(field).collect();
    let (first, rest) = all.split_at(field(&fields[0]).len());
    for (body, code) in [
        ([first, &file, rest, &close].concat(), "InvalidArgument"),
        (
            [&all[..], &close].concat(),
            "IncorrectNumberOfFilesInPOSTRequest",
        ),
        ([&all[..], &file].concat(), "MalformedPOSTRequest"),
        (b"nothing".to_vec(), "MalformedPOSTRequest"),
    ] {
        let answer = served.call("POST", "/oss", &headers, &body).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains(&format!("<Code>{code}</Code>")),
            "{}",
            answer.text()
        );
    }
    let plain = served.call("POST", "/oss", &[], b"abc").await;
    assert!(plain.text().contains("MalformedPOSTRequest"));
}

#[tokio::test(start_paused = true)]
async fn the_policy_limits_the_size() {
    let settings = EmulatorConfig {
        store_bytes: 1000,
        ..EmulatorConfig::default()
    };
    let served = TestEmulator::start(settings).await;
    let data = granted(&served, "m").await;
    let large = posted(&served, &form(&data, "a"), &[0; 1001]).await;
    assert_eq!(large.status, 400);
    assert!(
        large.text().contains("<Code>EntityTooLarge</Code>"),
        "{}",
        large.text()
    );
    assert_eq!(
        posted(&served, &form(&data, "a"), &[0; 1000]).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn scripts_can_fail_policies_and_forms() {
    let script = json!({"rules": [
        {"match": {"path": "/api/v1/uploads", "model": "busy"},
         "reply": {"error": {"status": 429, "code": "Throttling", "message": "m"}}},
        {"match": {"path": "/oss"},
         "reply": {"error": {"status": 403, "code": "AccessDenied", "message": "a < b"}}}]});
    let served = TestEmulator::scripted(&script.to_string()).await;
    let path = "/api/v1/uploads?action=getPolicy&model=busy";
    let busy = served.call("GET", path, &KEY, b"").await;
    assert_eq!(
        (busy.status, &busy.json()["code"]),
        (429, &json!("Throttling"))
    );
    let data = granted(&served, "m").await;
    let denied = posted(&served, &form(&data, "a"), b"abc").await;
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("<Message>a &lt; b</Message>"));
    let bad = served
        .call("GET", path, &[("authorization", "Bearer sk-bad")], b"")
        .await;
    assert_eq!(bad.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_form_is_recorded_without_its_secrets() {
    let served = TestEmulator::plain().await;
    let data = granted(&served, "m").await;
    posted(&served, &form(&data, "a"), b"123456789").await;
    let entry = served.ended().await.to_string();
    let secret = data["signature"].as_str().unwrap();
    assert!(!entry.contains(secret), "{entry}");
    assert!(
        entry.contains(r#"{"name":"file","bytes":9,"crc32":"cbf43926"}"#),
        "{entry}"
    );
}
