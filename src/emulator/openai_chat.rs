//! Chat completions in the OpenAI style.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::Value;

use super::answer::Answer;
use super::answerer::{AnswerInputs, build_answer};
use super::checks::check;
use super::dialect::Dialect;
use super::error::{ApiError, DATA_URI_BYTES};
use super::generation::{after_chunks, media, resolves_storage};
use super::media::MediaLocations;
use super::media_limits::{frames as frames_fit, sizes};
use super::openai_error::OpenAiError;
use super::openai_parts::subject;
use super::openai_request::{ChatOptions, read_request};
use super::openai_response::{ResponseHead, whole};
use super::openai_stream::chunks;
use super::openai_usage::usage;
use super::openai_wire::OpenAiContent;
use super::request::GenerationRequest;
use super::request_journal::shown_body;
use super::response_plan::Plan;
use super::response_steps::raw;
use super::script::Call;
use super::script_rule::{BodyFormat, Reply};
use super::state::{RequestContext, ServerState};
use super::usage::{Input, Tokens};

/// Answers a request for a chat completion.
pub(super) async fn chat(
    state: &ServerState,
    context: &mut RequestContext,
    parts: &Parts,
    dialect: Dialect,
    body: &Bytes,
) -> Plan {
    // A body that is not JSON is processed as null, which is refused as no object.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let options = ChatOptions::read(&body, dialect, &state.models);
    context.entry.note("stream", options.stream.into());
    context.entry.note("body", shown_body(&body));
    let subject = subject(&body);
    let call = Call {
        path: parts.uri.path(),
        model: &options.model,
        text: &subject,
        stream: options.stream,
    };
    let mut reply = state.scripted_reply(call, context);
    if let Some(bytes) = &reply.raw {
        return raw(&reply, &bytes.pieces);
    }
    let as_stream = reply
        .wire
        .body
        .map_or(options.stream, |body| body == BodyFormat::Sse);
    let id = context.id.clone();
    let lone = reply.answer.is_none() && !(as_stream && after_chunks(&reply));
    if let Some(refusal) = reply.refusal.as_ref().filter(|_| lone) {
        return OpenAiContent::refusal(refusal, dialect, as_stream, &id, Vec::new())
            .into_plan(dialect, &reply, &id);
    }
    let made = match reply.answer.take() {
        Some(answer) => Ok(scripted(answer, &body, &options, dialect, state)),
        None if dialect.is_vllm() && !is_json(&parts.headers) => {
            let message = "Unsupported Media Type: Only 'application/json' is allowed";
            Err(ApiError::parameter(message).into())
        }
        None => {
            generate(
                state,
                context,
                call,
                &parts.headers,
                (&body, &options, dialect),
            )
            .await
        }
    };
    let content = match made {
        Ok((answer, input)) => {
            let head = ResponseHead {
                dialect,
                id: &id,
                created: state.now(),
                options: &options,
                unfinished: reply.wire.finish_reason == Some(false),
                cumulative: reply.wire.incremental == Some(false),
            };
            render(&answer, &input, &reply, as_stream, &head)
        }
        Err(error) => OpenAiContent::error(&error, dialect, &id),
    };
    content.into_plan(dialect, &reply, &id)
}

/// Whether the body is declared as JSON, which vLLM requires.
fn is_json(headers: &HeaderMap) -> bool {
    let mime = headers.get(CONTENT_TYPE);
    let mime = mime.and_then(|mime| mime.to_str().ok()).unwrap_or_default();
    let mime = mime.split(';').next().unwrap_or_default();
    mime.trim().eq_ignore_ascii_case("application/json")
}

fn render(
    answer: &Answer,
    input: &Input,
    reply: &Reply,
    stream: bool,
    head: &ResponseHead<'_>,
) -> OpenAiContent {
    let usage = usage(answer, Tokens::count(answer, input), head.dialect);
    match &reply.refusal {
        Some(refusal) => {
            let before = chunks(answer, &usage, head);
            OpenAiContent::refusal(refusal, head.dialect, stream, head.id, before)
        }
        None if stream => OpenAiContent::Chunks(200, chunks(answer, &usage, head), true),
        None => OpenAiContent::Json(200, whole(answer, &usage, head)),
    }
}

/// The answer of a script, which is independent of the request: the model may be unknown.
fn scripted(
    answer: Answer,
    body: &Value,
    options: &ChatOptions,
    dialect: Dialect,
    state: &ServerState,
) -> (Answer, Input) {
    let input = match read_request(body, options, dialect, &state.models) {
        Ok(request) => Input::count(&request, &[], (0, 0)),
        Err(_) => Input::default(),
    };
    (answer, input)
}

async fn generate(
    state: &ServerState,
    context: &RequestContext,
    call: Call<'_>,
    headers: &HeaderMap,
    (body, options, dialect): (&Value, &ChatOptions, Dialect),
) -> Result<(Answer, Input), OpenAiError> {
    let request = read_request(body, options, dialect, &state.models)?;
    let native = dialect == Dialect::DashScope;
    if native {
        compatible_checks(&request)?;
    }
    let sample = state
        .samples
        .matching_rule(call)
        .and_then(|matching_rule| matching_rule.reply.answer);
    if let Some(answer) = sample {
        return Ok(scripted(answer, body, options, dialect, state));
    }
    let locations = MediaLocations {
        resolve: native && resolves_storage(headers),
        // Self-hosted servers limit the body only.
        data_uri_bytes: if native { DATA_URI_BYTES } else { usize::MAX },
        store: &state.store,
        origin: &context.origin,
    };
    let media = media(state, &request, locations).await?;
    if native {
        sizes(&request, &media)?;
    }
    let inputs = AnswerInputs {
        request: &request,
        media: &media,
        id: &context.id,
        store: &state.store,
        origin: &context.origin,
    };
    let mut answer = build_answer(&inputs)?;
    if !options.text {
        for choice in &mut answer.choices {
            choice.text.clear();
            choice.logprobs = None;
        }
    }
    let input = Input::count(&request, &media, (0, 0));
    Ok((answer, input))
}

/// The checks of DashScope, which its compatible mode makes, too.
fn compatible_checks(request: &GenerationRequest) -> Result<(), OpenAiError> {
    if request.family.stream_only && !request.stream && request.model.contains("omni") {
        let message = "'audio' output only support with stream=true";
        return Err(ApiError::algorithm(message).into());
    }
    check(request)?;
    frames_fit(request)?;
    Ok(())
}
