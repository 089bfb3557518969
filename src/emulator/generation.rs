//! The endpoint that answers conversations.

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use bytes::Bytes;

use super::answer::Answer;
use super::ask::{Ask, Turn, model, subject};
use super::checks::{check, size};
use super::compose::{Stage, compose};
use super::desk::{Desk, Visit};
use super::family::{Family, UsageForm};
use super::fault::Fault;
use super::journal::shown_body;
use super::media::{Medium, Source, find, perceive};
use super::plan::Plan;
use super::render::{Style, frames, whole};
use super::rule::Reply;
use super::script::Call;
use super::staging::{Act, raw};
use super::usage::{Input, usage};

/// Answers a request.
pub(super) async fn generate(desk: &Desk, visit: &mut Visit, parts: &Parts, body: &Bytes) -> Plan {
    let stream = streams(&parts.headers);
    // What is not JSON is judged as null, which DashScope's words fit.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    visit.entry.note("stream", stream.into());
    visit.entry.note("body", shown_body(&body));
    let subject = subject(&body);
    let call = Call {
        path: parts.uri.path(),
        model: model(&body),
        text: &subject,
        stream,
    };
    let mut reply = desk.cue(call, visit);
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let as_stream = reply.wire.stream.unwrap_or(stream);
    let lone = reply.answer.is_none() && !(as_stream && after_chunks(&reply));
    if let Some(refusal) = reply.refusal.as_ref().filter(|_| lone) {
        return Act::refusal(refusal, as_stream, &visit.id, Vec::new()).stage(&reply, &visit.id);
    }
    let made = match reply.answer.take() {
        Some(answer) => Ok(scripted(answer, &body, stream)),
        None => own(desk, visit, call, &parts.headers, &body).await,
    };
    let act = match made {
        Ok(made) => made.act(&reply, as_stream, &visit.id),
        Err(fault) => Act::fault(&fault, as_stream, &visit.id),
    };
    act.stage(&reply, &visit.id)
}

/// Either header asks for a stream: a recorded call has the second alone.
fn streams(headers: &HeaderMap) -> bool {
    let has = |name: &str, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_lowercase().contains(wanted))
    };
    has("x-dashscope-sse", "enable") || has("accept", "text/event-stream")
}

fn after_chunks(reply: &Reply) -> bool {
    let refusal = reply.refusal.as_ref();
    refusal.is_some_and(|refusal| refusal.after_chunks > 0)
}

/// An answer and what is needed to put it on the wire.
struct Made {
    answer: Answer,
    input: Input,
    form: UsageForm,
    style: Style,
}

impl Made {
    fn new(answer: Answer, input: Input, family: Option<&Family>, deltas: bool) -> Self {
        Self {
            answer,
            input,
            form: family.map_or(UsageForm::Detailed, |family| family.usage),
            style: Style {
                deltas,
                empty_last: family.is_some_and(|family| family.empty_last),
                unfinished: false,
            },
        }
    }

    fn act(self, reply: &Reply, stream: bool, id: &str) -> Act {
        let style = Style {
            deltas: reply.wire.incremental.unwrap_or(self.style.deltas),
            unfinished: reply.wire.unfinished,
            ..self.style
        };
        let usage: Map<String, Value> = usage(&self.answer, &self.input, self.form, stream);
        match &reply.refusal {
            Some(refusal) => {
                let frames = frames(&self.answer, &usage, style, id);
                Act::refusal(refusal, stream, id, frames)
            }
            None if stream => Act::frames(frames(&self.answer, &usage, style, id)),
            None => Act::Json(200, whole(&self.answer, &usage, style, id)),
        }
    }
}

/// An answer of a script is given whatever the request is: it may be for a model that is not known.
fn scripted(answer: Answer, body: &Value, stream: bool) -> Made {
    match Ask::read(body, stream) {
        Ok(ask) => {
            let input = Input::count(&ask, &[], (0, 0));
            Made::new(answer, input, Some(ask.family), ask.deltas())
        }
        Err(_) => {
            let asked = body.pointer("/parameters/incremental_output");
            let deltas = asked.and_then(Value::as_bool).unwrap_or(false);
            Made::new(answer, Input::default(), None, deltas)
        }
    }
}

async fn own(
    desk: &Desk,
    visit: &Visit,
    call: Call<'_>,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Made, Fault> {
    if headers.contains_key("x-dashscope-async") {
        let words = "Current user api does not support asynchronous calls.";
        return Err(Fault::new(403, "AccessDenied", words));
    }
    let ask = Ask::read(body, call.stream)?;
    check(&ask)?;
    let sample = desk.samples.cue(call).and_then(|cue| cue.reply.answer);
    if let Some(answer) = sample {
        return Ok(scripted(answer, body, call.stream));
    }
    let media = media(desk, &ask, headers).await?;
    let stage = Stage {
        ask: &ask,
        media: &media,
        id: &visit.id,
        store: &desk.store,
        origin: &visit.origin,
    };
    let answer = compose(&stage)?;
    let input = Input::count(&ask, &media, size(&ask)?);
    Ok(Made::new(answer, input, Some(ask.family), ask.deltas()))
}

/// All media are looked for; those of the last turn that has any are heard and seen.
async fn media(desk: &Desk, ask: &Ask, headers: &HeaderMap) -> Result<Vec<Medium>, Fault> {
    let resolve = headers.get("x-dashscope-ossresourceresolve");
    let resolve = resolve.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enable"));
    let found = |turn: &Turn| find(&turn.parts, ask, resolve, &desk.store);
    let turns = ask.turns.iter().map(found);
    let turns = turns.collect::<Result<Vec<_>, _>>()?;
    let last = turns.into_iter().rfind(|sources| !sources.is_empty());
    let sources: Vec<Source> = last.unwrap_or_default();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let hears_seconds = ask.family.hears_seconds;
    let failed = || Fault::new(500, "InternalError", "The media could not be decoded.");
    let permit = desk.listeners.clone().acquire_owned().await;
    let permit = permit.map_err(|_| failed())?;
    let work = move || {
        // It is held by the work, which goes on when the client has gone.
        let _permit = permit;
        let sources = sources.into_iter();
        let media = sources.map(|source| perceive(source, hears_seconds));
        media.collect::<Result<Vec<_>, _>>()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| failed())?
}
