//! The multimodal generation endpoint.

use http::HeaderMap;
use http::request::Parts;
use serde_json::{Map, Value};

use bytes::Bytes;

use super::answer::Answer;
use super::answerer::{AnswerInputs, build_answer};
use super::checks::{check, size};
use super::decode_budget::Budget;
use super::error::{ApiError, DATA_URI_BYTES};
use super::family::{Family, UsageForm};
use super::media::{MediaLocations, Medium, Source, analyse_media, find};
use super::media_limits::{frames as frames_fit, sizes};
use super::render::{RenderStyle, frames, whole};
use super::request::{GenerationRequest, Message, model, subject};
use super::request_journal::shown_body;
use super::response_plan::Plan;
use super::response_steps::{ResponseContent, raw};
use super::script::Call;
use super::script_rule::{BodyFormat, Reply};
use super::state::{RequestContext, ServerState};
use super::usage::{Input, usage};

/// Answers a generation request.
pub(super) async fn generate(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    body: &Bytes,
) -> Plan {
    let stream = streams(&parts.headers);
    // A body that is not JSON is processed as null, for which DashScope has the same error.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    context.entry.note("stream", stream.into());
    context.entry.note("body", shown_body(&body));
    let subject = subject(&body);
    let call = Call {
        path: parts.uri.path(),
        model: model(&body),
        text: &subject,
        stream,
    };
    let mut reply = state.scripted_reply(call, context);
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let as_stream = reply
        .wire
        .body
        .map_or(stream, |body| body == BodyFormat::Sse);
    let lone = reply.answer.is_none() && !(as_stream && after_chunks(&reply));
    if let Some(refusal) = reply.refusal.as_ref().filter(|_| lone) {
        return ResponseContent::refusal(refusal, as_stream, &context.id, Vec::new())
            .into_plan(&reply, &context.id);
    }
    let made = match reply.answer.take() {
        Some(answer) => Ok(scripted(answer, &body, stream)),
        None => generate_answer(state, context, call, &parts.headers, &body).await,
    };
    let content = match made {
        Ok(made) => made.into_content(&reply, as_stream, &context.id),
        Err(error) => ResponseContent::error(&error, as_stream, &context.id),
    };
    content.into_plan(&reply, &context.id)
}

/// Either header requests a stream: one recorded call has only the second.
fn streams(headers: &HeaderMap) -> bool {
    let has = |name: &str, wanted: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_lowercase().contains(wanted))
    };
    has("x-dashscope-sse", "enable") || has("accept", "text/event-stream")
}

/// Whether some of the answer precedes the error of a script.
pub(super) fn after_chunks(reply: &Reply) -> bool {
    let refusal = reply.refusal.as_ref();
    refusal.is_some_and(|refusal| refusal.after_chunks > Some(0))
}

/// An answer, and what its encoding depends on.
struct GeneratedAnswer {
    answer: Answer,
    input: Input,
    form: UsageForm,
    style: RenderStyle,
}

impl GeneratedAnswer {
    fn new(answer: Answer, input: Input, family: Option<&Family>, deltas: bool) -> Self {
        Self {
            answer,
            input,
            form: family.map_or(UsageForm::Detailed, |family| family.usage),
            style: RenderStyle {
                deltas,
                empty_last: family.is_some_and(|family| family.empty_last),
                unfinished: false,
                no_reason: family.is_some_and(|family| family.no_reason),
            },
        }
    }

    fn into_content(self, reply: &Reply, stream: bool, id: &str) -> ResponseContent {
        let style = RenderStyle {
            deltas: reply.wire.incremental.unwrap_or(self.style.deltas),
            unfinished: reply.wire.finish_reason == Some(false),
            ..self.style
        };
        let usage: Map<String, Value> = usage(&self.answer, &self.input, self.form, stream);
        match &reply.refusal {
            Some(refusal) => {
                let frames = frames(&self.answer, &usage, style, id);
                ResponseContent::refusal(refusal, stream, id, frames)
            }
            None if stream => ResponseContent::frames(frames(&self.answer, &usage, style, id)),
            None => ResponseContent::Json(200, whole(&self.answer, &usage, style, id)),
        }
    }
}

/// The answer of a script, which is independent of the request: the model may be unknown.
fn scripted(answer: Answer, body: &Value, stream: bool) -> GeneratedAnswer {
    match GenerationRequest::read(body, stream) {
        Ok(request) => {
            let input = Input::count(&request, &[], (0, 0));
            GeneratedAnswer::new(answer, input, Some(request.family), request.deltas())
        }
        Err(_) => {
            let asked = body.pointer("/parameters/incremental_output");
            let deltas = asked.and_then(Value::as_bool).unwrap_or(false);
            GeneratedAnswer::new(answer, Input::default(), None, deltas)
        }
    }
}

async fn generate_answer(
    state: &ServerState,
    context: &RequestContext,
    call: Call<'_>,
    headers: &HeaderMap,
    body: &Value,
) -> Result<GeneratedAnswer, ApiError> {
    if says_enable(headers, "x-dashscope-async") {
        let words = "Current user api does not support asynchronous calls.";
        return Err(ApiError::new(403, "AccessDenied", words));
    }
    let request = GenerationRequest::read(body, call.stream)?;
    check(&request)?;
    let sample = state
        .samples
        .matching_rule(call)
        .and_then(|matching_rule| matching_rule.reply.answer);
    if let Some(answer) = sample {
        return Ok(scripted(answer, body, call.stream));
    }
    frames_fit(&request)?;
    let locations = MediaLocations {
        resolve: resolves_storage(headers),
        data_uri_bytes: DATA_URI_BYTES,
        store: &state.store,
        origin: &context.origin,
    };
    let media = media(state, &request, locations).await?;
    sizes(&request, &media)?;
    let inputs = AnswerInputs {
        request: &request,
        media: &media,
        id: &context.id,
        store: &state.store,
        origin: &context.origin,
    };
    let answer = build_answer(&inputs)?;
    let input = Input::count(&request, &media, size(&request)?);
    Ok(GeneratedAnswer::new(
        answer,
        input,
        Some(request.family),
        request.deltas(),
    ))
}

fn says_enable(headers: &HeaderMap, name: &str) -> bool {
    let value = headers.get(name);
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enable"))
}

/// Whether a request may refer to uploads.
pub(super) fn resolves_storage(headers: &HeaderMap) -> bool {
    says_enable(headers, "x-dashscope-ossresourceresolve")
}

/// Resolves all media, and analyses those of the last message that has any.
///
/// # Errors
///
/// DashScope's error for the first medium that cannot be resolved or decoded.
pub(super) async fn media(
    state: &ServerState,
    request: &GenerationRequest,
    locations: MediaLocations<'_>,
) -> Result<Vec<Medium>, ApiError> {
    let found = |message: &Message| find(&message.parts, request, locations);
    let messages = request.messages.iter().map(found);
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let last = messages.into_iter().rfind(|sources| !sources.is_empty());
    let sources: Vec<Source> = last.unwrap_or_default();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let max_audio_seconds = request.family.max_audio_seconds;
    let failed = || ApiError::new(500, "InternalError", "The media could not be decoded.");
    let permit = state.decode_permits.clone().acquire_owned().await;
    let permit = permit.map_err(|_| failed())?;
    // Dropped with this call, which cancels the decoding when the client disconnects.
    let (mut budget, _guard) = Budget::guarded();
    let work = move || {
        // Held by the work, which ends shortly after the client has disconnected.
        let _permit = permit;
        let sources = sources.into_iter();
        let media = sources.map(|source| analyse_media(source, max_audio_seconds, &mut budget));
        media.collect::<Result<Vec<_>, _>>()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| failed())?
}
