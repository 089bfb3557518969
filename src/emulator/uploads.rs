//! Uploads: the policy from DashScope, and the form post to its object store.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::{BodyExt as _, BodyStream};
use hyper::body::Incoming;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use super::error::ApiError;
use super::object_store::{ObjectMetadata, PendingObject, StoreError};
use super::policy::{Grant, OssError, mark_of};
use super::request_journal::{is_secret, short};
use super::response_plan::Plan;
use super::rule::Reply;
use super::script::Call;
use super::state::{RequestContext, ServerState};
use super::wire_format::{ResponseContent, raw};

/// The lifetime of uploads, as in DashScope.
const LIFETIME: Duration = Duration::from_secs(48 * 3600);
/// The largest form field other than the file: the longest, the policy, has less than 1 KiB.
const FIELD_BYTES: u64 = 64 * 1024;
/// The most form fields, above what clients send.
const FIELDS: usize = 64;

/// A query parameter.
pub(super) fn query(parts: &Parts, name: &str) -> String {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Issues an upload policy.
pub(super) fn policy(state: &ServerState, context: &mut RequestContext, parts: &Parts) -> Plan {
    let model = query(parts, "model");
    let call = Call {
        path: parts.uri.path(),
        model: &model,
        text: "",
        stream: false,
    };
    let reply = state.scripted_reply(call, context);
    let id = context.id.clone();
    let content = if query(parts, "action") != "getPolicy" {
        let error = ApiError::parameter("The action parameter must be getPolicy.");
        ResponseContent::error(&error, false, &id)
    } else if model.is_empty() {
        let words = "Required parameter \"model\" missing from request.";
        let error = ApiError::new(400, "BadRequest.EmptyModel", words);
        ResponseContent::error(&error, false, &id)
    } else {
        let most = state.max_object_bytes;
        let data = state.signer.issue(&model, &id, &context.origin, most);
        ResponseContent::Json(200, json!({"data": data, "request_id": id}))
    };
    scripted(content, &reply, &id)
}

/// The scripted reply if there is one, or the given content.
pub(super) fn scripted(content: ResponseContent, reply: &Reply, id: &str) -> Plan {
    if let Some(bytes) = &reply.raw {
        return raw(reply, &bytes.pieces);
    }
    let content = match &reply.refusal {
        Some(refusal) => ResponseContent::refusal(refusal, false, id, Vec::new()),
        None => content,
    };
    content.into_plan(reply, id)
}

/// Receives a form post, like the object store.
pub(super) async fn post(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    body: Incoming,
) -> Plan {
    let call = Call {
        path: parts.uri.path(),
        model: "",
        text: "",
        stream: false,
    };
    let reply = state.scripted_reply(call, context);
    let answer = if reply.raw.is_some() || reply.refusal.is_some() {
        // The form is still read to its end: a client that is writing does not read the response.
        drain(body).await;
        Ok(Stored::default())
    } else {
        take(state, context, parts, body).await
    };
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let answer = match &reply.refusal {
        Some(refusal) => {
            let (code, message) = (refusal.code.as_str(), refusal.message.as_str());
            Err(OssError::new(refusal.status(), code, message))
        }
        None => answer,
    };
    let content = match answer {
        Ok(stored) => stored.into_content(),
        Err(error) => {
            let host = context.origin.trim_start_matches("http://");
            let xml = error.xml(&context.id, host);
            ResponseContent::Other(error.status, "application/xml", Bytes::from(xml))
        }
    };
    let mut plan = content.into_plan(&reply, &context.id);
    plan.headers
        .retain(|(name, _)| !GATEWAY_HEADERS.contains(&name.as_str()));
    if !reply.headers.contains_key("server") {
        plan.set("server", Some("AliyunOSS"));
    }
    plan.set("x-oss-request-id", Some(&context.id));
    plan
}

/// Headers of DashScope's gateway, which the object store does not send.
const GATEWAY_HEADERS: [&str; 9] = [
    "x-request-id",
    "x-dashscope-call-gateway",
    "x-dashscope-timeout",
    "x-dashscope-finished",
    "req-cost-time",
    "req-arrive-time",
    "resp-start-time",
    "x-envoy-upstream-service-time",
    "vary",
];

async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The form fields that determine how the object is stored.
#[derive(Debug, Default)]
struct Stored {
    key: String,
    status: String,
}

impl Stored {
    fn into_content(self) -> ResponseContent {
        match self.status.as_str() {
            "200" => ResponseContent::Other(200, "", Bytes::new()),
            "201" => {
                let key = self.key.replace('&', "&amp;").replace('<', "&lt;");
                let xml = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>\n  \
                     <Bucket>dashscope-file-mgr</Bucket>\n  <Key>{key}</Key>\n</PostResponse>\n"
                );
                ResponseContent::Other(201, "application/xml", Bytes::from(xml))
            }
            _ => ResponseContent::Other(204, "", Bytes::new()),
        }
    }
}

fn malformed() -> OssError {
    OssError::new(
        400,
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

async fn take(
    state: &ServerState,
    context: &RequestContext,
    parts: &Parts,
    body: Incoming,
) -> Result<Stored, OssError> {
    let mime = parts.headers.get(CONTENT_TYPE);
    let mime = mime.and_then(|mime| mime.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(mime).map_err(|_| malformed())?;
    let data = BodyStream::new(body).filter_map(|frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(error) => Some(Err(error)),
    });
    let most = u64::try_from(state.max_object_bytes).unwrap_or(u64::MAX);
    // The file is checked against its policy as it arrives; this bounds the other fields.
    let limits = SizeLimit::new().per_field(FIELD_BYTES);
    let limits = limits.for_field("file", most.saturating_add(1));
    let limits = Constraints::new().size_limit(limits);
    let mut form = Multipart::with_constraints(data, boundary, limits);
    let mut fields = HashMap::new();
    let mut shown: Vec<Value> = Vec::new();
    let mut stored = None;
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        let name = field.name().unwrap_or_default().to_owned();
        if stored.is_some() {
            // Fields after the file are ignored but read: the response follows the whole form.
            skip(field).await?;
        } else if name == "file" {
            let file = file(state, &fields, field, &mut shown).await;
            context.entry.note("body", json!({ "multipart": shown }));
            match file {
                Ok(file) => stored = Some(file),
                Err(error) => {
                    while let Ok(Some(field)) = form.next_field().await {
                        skip(field).await?;
                    }
                    return Err(error);
                }
            }
        } else {
            let value = field.text().await.map_err(|_| malformed())?;
            let secret = is_secret(&name) && name != "key";
            let seen = if secret {
                "****".to_owned()
            } else {
                short(&value)
            };
            shown.push(json!({"name": name, "value": seen}));
            fields.insert(name.to_lowercase(), value);
            if fields.len() > FIELDS {
                return Err(malformed());
            }
        }
    }
    stored.ok_or_else(|| {
        OssError::new(
            400,
            "IncorrectNumberOfFilesInPOSTRequest",
            "POST requires exactly one file upload per request.",
        )
    })
}

async fn skip(mut field: Field<'_>) -> Result<(), OssError> {
    while field.chunk().await.map_err(|_| malformed())?.is_some() {}
    Ok(())
}

async fn file(
    state: &ServerState,
    fields: &HashMap<String, String>,
    mut field: Field<'_>,
    shown: &mut Vec<Value>,
) -> Result<Stored, OssError> {
    let part_mime = field.content_type().map(ToString::to_string);
    let grant = match state.signer.check(fields) {
        Ok(grant) => grant,
        Err(error) => {
            skip(field).await?;
            return Err(error);
        }
    };
    let mut pending_object = state.store.begin_upload();
    let mut crc = flate2::Crc::new();
    loop {
        let chunk = match field.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(multer::Error::FieldSizeExceeded { .. }) => return Err(too_large()),
            Err(_) => return Err(malformed()),
        };
        crc.update(&chunk);
        if pending_object.len().saturating_add(chunk.len()) > grant.length.1 {
            skip(field).await?;
            return Err(too_large());
        }
        pending_object.push(&chunk).map_err(refused)?;
    }
    let crc = format!("{:08x}", crc.sum());
    shown.push(json!({"name": "file", "bytes": pending_object.len(), "crc32": crc}));
    keep(pending_object, grant, fields, part_mime)
}

fn keep(
    pending_object: PendingObject<'_>,
    grant: Grant,
    fields: &HashMap<String, String>,
    part_mime: Option<String>,
) -> Result<Stored, OssError> {
    if pending_object.len() < grant.length.0 {
        let words = "Your proposed upload is smaller than the minimum allowed size.";
        return Err(OssError::new(400, "EntityTooSmall", words));
    }
    let field = |name: &str| fields.get(name).cloned();
    let mime = field("x-oss-content-type").or_else(|| field("content-type"));
    let metadata = ObjectMetadata {
        key: grant.key.clone(),
        mark: mark_of(&grant.key).to_owned(),
        mime: mime.or(part_mime).unwrap_or_default(),
        lifetime: LIFETIME,
    };
    let forbid = field("x-oss-forbid-overwrite").as_deref() == Some("true");
    pending_object.keep(metadata, forbid).map_err(refused)?;
    Ok(Stored {
        key: grant.key,
        status: field("success_action_status").unwrap_or_default(),
    })
}

fn too_large() -> OssError {
    let words = "Your proposed upload exceeds the maximum allowed size.";
    OssError::new(400, "EntityTooLarge", words)
}

fn refused(why: StoreError) -> OssError {
    match why {
        StoreError::Exists => OssError::new(
            409,
            "FileAlreadyExists",
            "The object you specified already exists and can not be overwritten.",
        ),
        StoreError::Full => OssError::new(
            503,
            "ServiceUnavailable",
            "Please reduce your request rate.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::client::{TestEmulator, TestResponse};
    use crate::emulator::settings::EmulatorConfig;
    use crate::emulator::speech_synthesis::wav;

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

    async fn posted(
        served: &TestEmulator,
        fields: &[(String, String)],
        file: &[u8],
    ) -> TestResponse {
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
        let path = crate::emulator::script::GENERATION;
        served
            .call("POST", path, &headers, body.to_string().as_bytes())
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
        tokio::time::advance(LIFETIME).await;
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
}
