//! Temporary storage: the policy that DashScope gives, and the form post to its object store.

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

use super::desk::{Desk, Visit};
use super::fault::Fault;
use super::journal::{is_secret, short};
use super::plan::Plan;
use super::policy::{Grant, OssFault, mark_of};
use super::rule::Reply;
use super::script::Call;
use super::staging::{Act, raw};
use super::store::{Arrival, Labels, Refused};

/// Uploads are kept as long as DashScope keeps them.
const LIFETIME: Duration = Duration::from_secs(48 * 3600);
/// Fields of the form but the file: the longest is the policy, of less than 1 KiB.
const FIELD_BYTES: u64 = 64 * 1024;
/// More fields than any client sends.
const FIELDS: usize = 64;

/// A value in a query.
pub(super) fn query(parts: &Parts, name: &str) -> String {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Gives a policy for uploads.
pub(super) fn policy(desk: &Desk, visit: &mut Visit, parts: &Parts) -> Plan {
    let model = query(parts, "model");
    let call = Call {
        path: parts.uri.path(),
        model: &model,
        text: "",
        stream: false,
    };
    let reply = desk.cue(call, visit);
    let id = visit.id.clone();
    let act = if query(parts, "action") != "getPolicy" {
        let fault = Fault::parameter("The action parameter must be getPolicy.");
        Act::fault(&fault, false, &id)
    } else if model.is_empty() {
        let words = "Required parameter \"model\" missing from request.";
        let fault = Fault::new(400, "BadRequest.EmptyModel", words);
        Act::fault(&fault, false, &id)
    } else {
        let most = desk.max_object_bytes;
        let data = desk.signer.issue(&model, &id, &visit.origin, most);
        Act::Json(200, json!({"data": data, "request_id": id}))
    };
    scripted(act, &reply, &id)
}

/// What a script says instead of something, or the thing itself.
pub(super) fn scripted(act: Act, reply: &Reply, id: &str) -> Plan {
    if let Some(bytes) = &reply.raw {
        return raw(reply, &bytes.pieces);
    }
    let act = match &reply.refusal {
        Some(refusal) => Act::refusal(refusal, false, id, Vec::new()),
        None => act,
    };
    act.stage(reply, id)
}

/// Takes a form post, as the object store does.
pub(super) async fn post(desk: &Desk, visit: &mut Visit, parts: &Parts, body: Incoming) -> Plan {
    let call = Call {
        path: parts.uri.path(),
        model: "",
        text: "",
        stream: false,
    };
    let reply = desk.cue(call, visit);
    let answer = if reply.raw.is_some() || reply.refusal.is_some() {
        // The form is read to its end all the same: a client that still writes reads no answer.
        drain(body).await;
        Ok(Stored::default())
    } else {
        take(desk, visit, parts, body).await
    };
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let answer = match &reply.refusal {
        Some(refusal) => {
            let (code, message) = (refusal.code.as_str(), refusal.message.as_str());
            Err(OssFault::new(refusal.status, code, message))
        }
        None => answer,
    };
    let act = match answer {
        Ok(stored) => stored.act(),
        Err(fault) => {
            let host = visit.origin.trim_start_matches("http://");
            let xml = fault.xml(&visit.id, host);
            Act::Other(fault.status, "application/xml", Bytes::from(xml))
        }
    };
    let mut plan = act.stage(&reply, &visit.id);
    plan.headers
        .retain(|(name, _)| !OURS.contains(&name.as_str()));
    if !reply.headers.iter().any(|(name, _)| name == "server") {
        plan.set("server", Some("AliyunOSS"));
    }
    plan.set("x-oss-request-id", Some(&visit.id));
    plan
}

/// Headers of DashScope's gateway, which does not stand before the object store.
const OURS: [&str; 9] = [
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

/// What a form asks for when its object is stored.
#[derive(Debug, Default)]
struct Stored {
    key: String,
    status: String,
}

impl Stored {
    fn act(self) -> Act {
        match self.status.as_str() {
            "200" => Act::Other(200, "", Bytes::new()),
            "201" => {
                let key = self.key.replace('&', "&amp;").replace('<', "&lt;");
                let xml = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>\n  \
                     <Bucket>dashscope-file-mgr</Bucket>\n  <Key>{key}</Key>\n</PostResponse>\n"
                );
                Act::Other(201, "application/xml", Bytes::from(xml))
            }
            _ => Act::Other(204, "", Bytes::new()),
        }
    }
}

fn malformed() -> OssFault {
    OssFault::new(
        400,
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

async fn take(
    desk: &Desk,
    visit: &Visit,
    parts: &Parts,
    body: Incoming,
) -> Result<Stored, OssFault> {
    let mime = parts.headers.get(CONTENT_TYPE);
    let mime = mime.and_then(|mime| mime.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(mime).map_err(|_| malformed())?;
    let data = BodyStream::new(body).filter_map(|frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(error) => Some(Err(error)),
    });
    let most = u64::try_from(desk.max_object_bytes).unwrap_or(u64::MAX);
    // The file is measured against its policy as it comes; this bounds the other fields.
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
            // What follows the file is ignored, but read: the answer waits for the whole form.
            skip(field).await?;
        } else if name == "file" {
            let file = file(desk, &fields, field, &mut shown).await;
            visit.entry.note("body", json!({ "multipart": shown }));
            match file {
                Ok(file) => stored = Some(file),
                Err(fault) => {
                    while let Ok(Some(field)) = form.next_field().await {
                        skip(field).await?;
                    }
                    return Err(fault);
                }
            }
        } else {
            let value = field.text().await.map_err(|_| malformed())?;
            let seen = if is_secret(&name) {
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
        OssFault::new(
            400,
            "IncorrectNumberOfFilesInPOSTRequest",
            "POST requires exactly one file upload per request.",
        )
    })
}

async fn skip(mut field: Field<'_>) -> Result<(), OssFault> {
    while field.chunk().await.map_err(|_| malformed())?.is_some() {}
    Ok(())
}

async fn file(
    desk: &Desk,
    fields: &HashMap<String, String>,
    mut field: Field<'_>,
    shown: &mut Vec<Value>,
) -> Result<Stored, OssFault> {
    let part_mime = field.content_type().map(ToString::to_string);
    let grant = match desk.signer.check(fields) {
        Ok(grant) => grant,
        Err(fault) => {
            skip(field).await?;
            return Err(fault);
        }
    };
    let mut arrival = desk.store.arrive();
    let mut crc = flate2::Crc::new();
    loop {
        let chunk = match field.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(multer::Error::FieldSizeExceeded { .. }) => return Err(too_large()),
            Err(_) => return Err(malformed()),
        };
        crc.update(&chunk);
        if arrival.len().saturating_add(chunk.len()) > grant.length.1 {
            skip(field).await?;
            return Err(too_large());
        }
        arrival.push(&chunk).map_err(refused)?;
    }
    let crc = format!("{:08x}", crc.sum());
    shown.push(json!({"name": "file", "bytes": arrival.len(), "crc32": crc}));
    keep(arrival, grant, fields, part_mime)
}

fn keep(
    arrival: Arrival<'_>,
    grant: Grant,
    fields: &HashMap<String, String>,
    part_mime: Option<String>,
) -> Result<Stored, OssFault> {
    if arrival.len() < grant.length.0 {
        let words = "Your proposed upload is smaller than the minimum allowed size.";
        return Err(OssFault::new(400, "EntityTooSmall", words));
    }
    let field = |name: &str| fields.get(name).cloned();
    let mime = field("x-oss-content-type").or_else(|| field("content-type"));
    let labels = Labels {
        key: grant.key.clone(),
        mark: mark_of(&grant.key).to_owned(),
        mime: mime.or(part_mime).unwrap_or_default(),
        lifetime: LIFETIME,
    };
    let forbid = field("x-oss-forbid-overwrite").as_deref() == Some("true");
    arrival.keep(labels, forbid).map_err(refused)?;
    Ok(Stored {
        key: grant.key,
        status: field("success_action_status").unwrap_or_default(),
    })
}

fn too_large() -> OssFault {
    let words = "Your proposed upload exceeds the maximum allowed size.";
    OssFault::new(400, "EntityTooLarge", words)
}

fn refused(why: Refused) -> OssFault {
    match why {
        Refused::Exists => OssFault::new(
            409,
            "FileAlreadyExists",
            "The object you specified already exists and can not be overwritten.",
        ),
        Refused::Full => OssFault::new(
            503,
            "ServiceUnavailable",
            "Please reduce your request rate.",
        ),
    }
}
