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
use super::response_steps::{ResponseContent, raw};
use super::script::Call;
use super::script_rule::Reply;
use super::state::{RequestContext, ServerState};

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
