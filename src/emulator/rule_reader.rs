//! Reads the rules of a script. The format is documented in `docs/emulator.md`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::answer_reader::answer;
use super::reader::{Errors, Fields, Node};
use super::rule::{
    At, Comment, Cut, Delays, ErrorPlacement, LineEnd, Match, Raw, Refusal, Reply, Rule, Wire,
};

/// The longest wait: more than a day is a mistake.
const DAY_MS: u64 = 86_400_000;
/// The most rules, above any real script; each call is matched against all of them.
const RULES: usize = 10_000;
const ANY: u64 = u64::MAX;

/// Reads all rules of a script.
pub(super) fn rules(document: &Value, errors: &mut Errors) -> Vec<Rule> {
    let script = Node::root(document).fields(&["rules"], errors);
    let Some(list) = script.take("rules") else {
        errors.add(
            "rules",
            "is missing; write {\"rules\": [...]}, or an empty list",
        );
        return Vec::new();
    };
    let items = list.items(errors);
    if items.len() > RULES {
        errors.add("rules", format!("must be at most {RULES} rules"));
        return Vec::new();
    }
    items.into_iter().map(|item| rule(item, errors)).collect()
}

fn rule(node: Node<'_>, errors: &mut Errors) -> Rule {
    let fields = node.fields(&["name", "match", "reply"], errors);
    let when = match fields.take("match") {
        Some(node) => conditions(node, errors),
        None => Match {
            path: None,
            model: None,
            text: Vec::new(),
            count: 1..=ANY,
            stream: None,
        },
    };
    let reply = fields.take("reply").map(|node| reply(node, errors));
    if reply.is_none() {
        let path = format!("{}.reply", fields.path);
        errors.add(&path, "is missing; {} is the emulator's own answer");
    }
    Rule {
        name: fields.text("name", errors),
        when,
        reply: reply.unwrap_or_default(),
    }
}

fn conditions(node: Node<'_>, errors: &mut Errors) -> Match {
    let fields = node.fields(&["path", "model", "text", "count", "stream"], errors);
    let count = match fields.take("count") {
        None => 1..=ANY,
        Some(node) if node.value.is_object() => {
            let range = node.fields(&["from", "to"], errors);
            let from = range.number("from", 1..=ANY, errors).unwrap_or(1);
            let to = range.number("to", 1..=ANY, errors).unwrap_or(ANY);
            if from > to {
                errors.add(&range.path, "must have from <= to");
            }
            from..=to
        }
        Some(node) => {
            let one = node.number(1..=ANY, errors).unwrap_or(1);
            one..=one
        }
    };
    Match {
        path: fields.text("path", errors),
        model: fields.text("model", errors),
        text: fields.texts("text", errors),
        count,
        stream: fields.flag("stream", errors),
    }
}

fn reply(node: Node<'_>, errors: &mut Errors) -> Reply {
    let known = [
        "answer",
        "error",
        "raw",
        "status",
        "headers",
        "request_id",
        "delays",
        "wire",
    ];
    let fields = node.fields(&known, errors);
    let reply = Reply {
        answer: fields.take("answer").map(|node| answer(node, errors)),
        refusal: fields.take("error").map(|node| refusal(node, errors)),
        raw: fields.take("raw").map(|node| raw(node, errors)),
        status: status(&fields, errors),
        headers: headers(&fields, errors),
        request_id: fields.text("request_id", errors),
        delays: fields
            .take("delays")
            .map(|node| delays(node, errors))
            .unwrap_or_default(),
        wire: fields
            .take("wire")
            .map(|node| wire(node, errors))
            .unwrap_or_default(),
    };
    if reply.raw.is_some() && (reply.answer.is_some() || reply.refusal.is_some()) {
        let path = format!("{}.raw", fields.path);
        errors.add(&path, "conflicts with answer or error; keep one of them");
    }
    if let Some(id) = &reply.request_id
        && http::HeaderValue::from_str(id).is_err()
    {
        let path = format!("{}.request_id", fields.path);
        errors.add(&path, "must be printable ASCII, it is a header too");
    }
    reply
}

fn status(fields: &Fields<'_>, errors: &mut Errors) -> Option<u16> {
    let status = fields.number("status", 200..=599, errors)?;
    u16::try_from(status).ok()
}

fn headers(fields: &Fields<'_>, errors: &mut Errors) -> Vec<(String, Option<String>)> {
    let mut headers = Vec::new();
    let path = format!("{}.headers", fields.path);
    for (name, value) in fields.object("headers", errors).unwrap_or_default() {
        let path = format!("{path}.{name}");
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            errors.add(&path, "is not a name of a header");
        } else if value.is_null() {
            headers.push((name, None));
        } else if let Some(text) = value.as_str()
            && http::HeaderValue::from_str(text).is_ok()
        {
            headers.push((name, Some(text.to_owned())));
        } else {
            errors.add(&path, "must be a text of one line, or null to leave it out");
        }
    }
    headers
}

fn refusal(node: Node<'_>, errors: &mut Errors) -> Refusal {
    let known = [
        "status",
        "code",
        "message",
        "place",
        "after_chunks",
        "comment",
    ];
    let fields = node.fields(&known, errors);
    let placements = [
        ("natural", ErrorPlacement::Natural),
        ("http", ErrorPlacement::Http),
        ("body", ErrorPlacement::Body),
        ("event", ErrorPlacement::Event),
        ("sse", ErrorPlacement::Sse),
    ];
    let comment = match fields.take("comment") {
        None => Comment::True,
        Some(node) => match node.value.as_bool() {
            Some(true) => Comment::True,
            Some(false) => Comment::Absent,
            None => {
                let status = node.number(100..=999, errors).unwrap_or(200);
                Comment::Other(u16::try_from(status).unwrap_or(200))
            }
        },
    };
    let after = fields.number("after_chunks", 0..=1_000_000, errors);
    Refusal {
        status: status(&fields, errors).unwrap_or(400),
        code: fields.text("code", errors).unwrap_or_default(),
        message: fields.text("message", errors).unwrap_or_default(),
        placement: fields
            .take("place")
            .and_then(|node| node.word(&placements, errors))
            .unwrap_or_default(),
        after_chunks: after.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        comment,
    }
}

fn raw(node: Node<'_>, errors: &mut Errors) -> Raw {
    let fields = node.fields(&["body", "body_base64", "pieces"], errors);
    let given = ["body", "body_base64", "pieces"]
        .iter()
        .filter(|name| fields.take(name).is_some())
        .count();
    if given > 1 {
        errors.add(
            &fields.path,
            "body, body_base64 and pieces exclude each other; keep one",
        );
    }
    let mut pieces: Vec<(Duration, Bytes)> = Vec::new();
    if let Some(body) = bytes(&fields, "body", "body_base64", errors) {
        pieces.push((Duration::ZERO, body));
    }
    for item in fields
        .take("pieces")
        .map(|node| node.items(errors))
        .unwrap_or_default()
    {
        let item = item.fields(&["text", "base64", "delay_ms"], errors);
        let delay = wait(&item, "delay_ms", errors);
        let body = bytes(&item, "text", "base64", errors);
        pieces.push((delay, body.unwrap_or_default()));
    }
    Raw { pieces }
}

fn bytes(fields: &Fields<'_>, text: &str, base64: &str, errors: &mut Errors) -> Option<Bytes> {
    if let Some(text) = fields.text(text, errors) {
        return Some(Bytes::from(text));
    }
    let encoded = fields.text(base64, errors)?;
    match STANDARD.decode(&encoded) {
        Ok(bytes) => Some(Bytes::from(bytes)),
        Err(error) => {
            let path = format!("{}.{base64}", fields.path);
            errors.add(&path, format!("must be base64 with padding ({error})"));
            None
        }
    }
}

fn wait(fields: &Fields<'_>, name: &str, errors: &mut Errors) -> Duration {
    let ms = fields.number(name, 0..=DAY_MS, errors);
    Duration::from_millis(ms.unwrap_or(0))
}

fn delays(node: Node<'_>, errors: &mut Errors) -> Delays {
    let known = ["head_ms", "first_ms", "between_ms", "heartbeat_ms"];
    let fields = node.fields(&known, errors);
    let heartbeat = fields.number("heartbeat_ms", 1..=DAY_MS, errors);
    Delays {
        head: wait(&fields, "head_ms", errors),
        first: wait(&fields, "first_ms", errors),
        between: wait(&fields, "between_ms", errors),
        heartbeat: heartbeat.map(Duration::from_millis),
    }
}

fn wire(node: Node<'_>, errors: &mut Errors) -> Wire {
    let known = [
        "cut",
        "line_end",
        "blank_lines",
        "space",
        "bom",
        "split_bytes",
        "gzip",
        "body",
        "malformed_frame",
        "finish_reason",
        "incremental",
        "done",
    ];
    let fields = node.fields(&known, errors);
    let size = |name: &str, errors: &mut Errors| {
        let number = fields.number(name, 1..=1_000_000_000, errors)?;
        usize::try_from(number).ok()
    };
    let ends = [
        ("lf", LineEnd::Lf),
        ("crlf", LineEnd::CrLf),
        ("cr", LineEnd::Cr),
    ];
    Wire {
        split: size("split_bytes", errors),
        malformed: size("malformed_frame", errors),
        cut: fields.take("cut").and_then(|node| cut(node, errors)),
        line_end: fields
            .take("line_end")
            .and_then(|node| node.word(&ends, errors))
            .unwrap_or_default(),
        no_blank_lines: fields.flag("blank_lines", errors) == Some(false),
        space: fields.flag("space", errors) == Some(true),
        bom: fields.flag("bom", errors) == Some(true),
        gzip: fields.flag("gzip", errors) == Some(true),
        stream: fields
            .take("body")
            .and_then(|node| node.word(&[("sse", true), ("json", false)], errors)),
        unfinished: fields.flag("finish_reason", errors) == Some(false),
        incremental: fields.flag("incremental", errors),
        done: fields.flag("done", errors) == Some(true),
    }
}

fn cut(node: Node<'_>, errors: &mut Errors) -> Option<(Cut, At)> {
    let fields = node.fields(&["how", "before_head", "after_frames", "at_byte"], errors);
    let hows = [
        ("close", Cut::Close),
        ("reset", Cut::Reset),
        ("hang", Cut::Hang),
    ];
    let how = match fields.take("how") {
        Some(node) => node.word(&hows, errors),
        None => {
            let path = format!("{}.how", fields.path);
            errors.add(
                &path,
                "is missing; must be \"close\", \"reset\" or \"hang\"",
            );
            None
        }
    };
    let placements = [
        fields
            .flag("before_head", errors)
            .filter(|on| *on)
            .map(|_| At::Head),
        count(&fields, "after_frames", errors).map(At::Frame),
        count(&fields, "at_byte", errors).map(At::Byte),
    ];
    let mut placements = placements.into_iter().flatten();
    match (placements.next(), placements.next()) {
        (Some(at), None) => Some((how?, at)),
        _ => {
            errors.add(
                &fields.path,
                "must say one place: \"before_head\": true, \"after_frames\": N or \"at_byte\": N",
            );
            None
        }
    }
}

fn count(fields: &Fields<'_>, name: &str, errors: &mut Errors) -> Option<usize> {
    let number = fields.number(name, 0..=1_000_000_000, errors)?;
    usize::try_from(number).ok()
}
