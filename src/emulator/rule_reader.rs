//! From the JSON of a script to its rules. The format is documented in `docs/emulator.md`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::answer_reader::answer;
use super::reader::{Faults, Fields, Node};
use super::rule::{
    At, Comment, Cut, Delays, LineEnd, Match, Place, Raw, Refusal, Reply, Rule, Wire,
};

/// Longer waits than a day are mistakes.
const DAY_MS: u64 = 86_400_000;
/// More rules than anybody writes; each call looks at all of them.
const RULES: usize = 10_000;
const ANY: u64 = u64::MAX;

/// Reads all rules of a script.
pub(super) fn rules(document: &Value, faults: &mut Faults) -> Vec<Rule> {
    let script = Node::root(document).fields(&["rules"], faults);
    let Some(list) = script.take("rules") else {
        faults.add(
            "rules",
            "is missing; write {\"rules\": [...]}, or an empty list",
        );
        return Vec::new();
    };
    let items = list.items(faults);
    if items.len() > RULES {
        faults.add("rules", format!("must be at most {RULES} rules"));
        return Vec::new();
    }
    items.into_iter().map(|item| rule(item, faults)).collect()
}

fn rule(node: Node<'_>, faults: &mut Faults) -> Rule {
    let fields = node.fields(&["name", "match", "reply"], faults);
    let when = match fields.take("match") {
        Some(node) => conditions(node, faults),
        None => Match {
            path: None,
            model: None,
            text: Vec::new(),
            count: 1..=ANY,
            stream: None,
        },
    };
    let reply = fields.take("reply").map(|node| reply(node, faults));
    if reply.is_none() {
        let place = format!("{}.reply", fields.place);
        faults.add(&place, "is missing; {} is the emulator's own answer");
    }
    Rule {
        name: fields.text("name", faults),
        when,
        reply: reply.unwrap_or_default(),
    }
}

fn conditions(node: Node<'_>, faults: &mut Faults) -> Match {
    let fields = node.fields(&["path", "model", "text", "count", "stream"], faults);
    let count = match fields.take("count") {
        None => 1..=ANY,
        Some(node) if node.value.is_object() => {
            let range = node.fields(&["from", "to"], faults);
            let from = range.number("from", 1..=ANY, faults).unwrap_or(1);
            let to = range.number("to", 1..=ANY, faults).unwrap_or(ANY);
            if from > to {
                faults.add(&range.place, "must have from <= to");
            }
            from..=to
        }
        Some(node) => {
            let one = node.number(1..=ANY, faults).unwrap_or(1);
            one..=one
        }
    };
    Match {
        path: fields.text("path", faults),
        model: fields.text("model", faults),
        text: fields.texts("text", faults),
        count,
        stream: fields.flag("stream", faults),
    }
}

fn reply(node: Node<'_>, faults: &mut Faults) -> Reply {
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
    let fields = node.fields(&known, faults);
    let reply = Reply {
        answer: fields.take("answer").map(|node| answer(node, faults)),
        refusal: fields.take("error").map(|node| refusal(node, faults)),
        raw: fields.take("raw").map(|node| raw(node, faults)),
        status: status(&fields, faults),
        headers: headers(&fields, faults),
        request_id: fields.text("request_id", faults),
        delays: fields
            .take("delays")
            .map(|node| delays(node, faults))
            .unwrap_or_default(),
        wire: fields
            .take("wire")
            .map(|node| wire(node, faults))
            .unwrap_or_default(),
    };
    if reply.raw.is_some() && (reply.answer.is_some() || reply.refusal.is_some()) {
        let place = format!("{}.raw", fields.place);
        faults.add(&place, "conflicts with answer or error; keep one of them");
    }
    if let Some(id) = &reply.request_id
        && http::HeaderValue::from_str(id).is_err()
    {
        let place = format!("{}.request_id", fields.place);
        faults.add(&place, "must be printable ASCII, it is a header too");
    }
    reply
}

fn status(fields: &Fields<'_>, faults: &mut Faults) -> Option<u16> {
    let status = fields.number("status", 200..=599, faults)?;
    u16::try_from(status).ok()
}

fn headers(fields: &Fields<'_>, faults: &mut Faults) -> Vec<(String, Option<String>)> {
    let mut headers = Vec::new();
    let place = format!("{}.headers", fields.place);
    for (name, value) in fields.object("headers", faults).unwrap_or_default() {
        let place = format!("{place}.{name}");
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            faults.add(&place, "is not a name of a header");
        } else if value.is_null() {
            headers.push((name, None));
        } else if let Some(text) = value.as_str()
            && http::HeaderValue::from_str(text).is_ok()
        {
            headers.push((name, Some(text.to_owned())));
        } else {
            faults.add(
                &place,
                "must be a text of one line, or null to leave it out",
            );
        }
    }
    headers
}

fn refusal(node: Node<'_>, faults: &mut Faults) -> Refusal {
    let known = [
        "status",
        "code",
        "message",
        "place",
        "after_chunks",
        "comment",
    ];
    let fields = node.fields(&known, faults);
    let places = [
        ("natural", Place::Natural),
        ("http", Place::Http),
        ("body", Place::Body),
        ("event", Place::Event),
        ("sse", Place::Sse),
    ];
    let comment = match fields.take("comment") {
        None => Comment::True,
        Some(node) => match node.value.as_bool() {
            Some(true) => Comment::True,
            Some(false) => Comment::Absent,
            None => {
                let status = node.number(100..=999, faults).unwrap_or(200);
                Comment::Other(u16::try_from(status).unwrap_or(200))
            }
        },
    };
    let after = fields.number("after_chunks", 0..=1_000_000, faults);
    Refusal {
        status: status(&fields, faults).unwrap_or(400),
        code: fields.text("code", faults).unwrap_or_default(),
        message: fields.text("message", faults).unwrap_or_default(),
        place: fields
            .take("place")
            .and_then(|node| node.word(&places, faults))
            .unwrap_or_default(),
        after_chunks: after.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
        comment,
    }
}

fn raw(node: Node<'_>, faults: &mut Faults) -> Raw {
    let fields = node.fields(&["body", "body_base64", "pieces"], faults);
    let given = ["body", "body_base64", "pieces"]
        .iter()
        .filter(|name| fields.take(name).is_some())
        .count();
    if given > 1 {
        faults.add(
            &fields.place,
            "body, body_base64 and pieces exclude each other; keep one",
        );
    }
    let mut pieces: Vec<(Duration, Bytes)> = Vec::new();
    if let Some(body) = bytes(&fields, "body", "body_base64", faults) {
        pieces.push((Duration::ZERO, body));
    }
    for item in fields
        .take("pieces")
        .map(|node| node.items(faults))
        .unwrap_or_default()
    {
        let item = item.fields(&["text", "base64", "delay_ms"], faults);
        let delay = wait(&item, "delay_ms", faults);
        let body = bytes(&item, "text", "base64", faults);
        pieces.push((delay, body.unwrap_or_default()));
    }
    Raw { pieces }
}

fn bytes(fields: &Fields<'_>, text: &str, base64: &str, faults: &mut Faults) -> Option<Bytes> {
    if let Some(text) = fields.text(text, faults) {
        return Some(Bytes::from(text));
    }
    let encoded = fields.text(base64, faults)?;
    match STANDARD.decode(&encoded) {
        Ok(bytes) => Some(Bytes::from(bytes)),
        Err(error) => {
            let place = format!("{}.{base64}", fields.place);
            faults.add(&place, format!("must be base64 with padding ({error})"));
            None
        }
    }
}

fn wait(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Duration {
    let ms = fields.number(name, 0..=DAY_MS, faults);
    Duration::from_millis(ms.unwrap_or(0))
}

fn delays(node: Node<'_>, faults: &mut Faults) -> Delays {
    let known = ["head_ms", "first_ms", "between_ms", "heartbeat_ms"];
    let fields = node.fields(&known, faults);
    let heartbeat = fields.number("heartbeat_ms", 1..=DAY_MS, faults);
    Delays {
        head: wait(&fields, "head_ms", faults),
        first: wait(&fields, "first_ms", faults),
        between: wait(&fields, "between_ms", faults),
        heartbeat: heartbeat.map(Duration::from_millis),
    }
}

fn wire(node: Node<'_>, faults: &mut Faults) -> Wire {
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
    let fields = node.fields(&known, faults);
    let size = |name: &str, faults: &mut Faults| {
        let number = fields.number(name, 1..=1_000_000_000, faults)?;
        usize::try_from(number).ok()
    };
    let ends = [
        ("lf", LineEnd::Lf),
        ("crlf", LineEnd::CrLf),
        ("cr", LineEnd::Cr),
    ];
    Wire {
        split: size("split_bytes", faults),
        malformed: size("malformed_frame", faults),
        cut: fields.take("cut").and_then(|node| cut(node, faults)),
        line_end: fields
            .take("line_end")
            .and_then(|node| node.word(&ends, faults))
            .unwrap_or_default(),
        no_blank_lines: fields.flag("blank_lines", faults) == Some(false),
        space: fields.flag("space", faults) == Some(true),
        bom: fields.flag("bom", faults) == Some(true),
        gzip: fields.flag("gzip", faults) == Some(true),
        stream: fields
            .take("body")
            .and_then(|node| node.word(&[("sse", true), ("json", false)], faults)),
        unfinished: fields.flag("finish_reason", faults) == Some(false),
        incremental: fields.flag("incremental", faults),
        done: fields.flag("done", faults) == Some(true),
    }
}

fn cut(node: Node<'_>, faults: &mut Faults) -> Option<(Cut, At)> {
    let fields = node.fields(&["how", "before_head", "after_frames", "at_byte"], faults);
    let hows = [
        ("close", Cut::Close),
        ("reset", Cut::Reset),
        ("hang", Cut::Hang),
    ];
    let how = match fields.take("how") {
        Some(node) => node.word(&hows, faults),
        None => {
            let place = format!("{}.how", fields.place);
            faults.add(
                &place,
                "is missing; must be \"close\", \"reset\" or \"hang\"",
            );
            None
        }
    };
    let places = [
        fields
            .flag("before_head", faults)
            .filter(|on| *on)
            .map(|_| At::Head),
        count(&fields, "after_frames", faults).map(At::Frame),
        count(&fields, "at_byte", faults).map(At::Byte),
    ];
    let mut places = places.into_iter().flatten();
    match (places.next(), places.next()) {
        (Some(at), None) => Some((how?, at)),
        _ => {
            faults.add(
                &fields.place,
                "must say one place: \"before_head\": true, \"after_frames\": N or \"at_byte\": N",
            );
            None
        }
    }
}

fn count(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Option<usize> {
    let number = fields.number(name, 0..=1_000_000_000, faults)?;
    usize::try_from(number).ok()
}
