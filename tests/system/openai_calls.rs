//! Calls to OpenAI-style servers: routes, keys, retries, deadlines and cancellation hold as for
//! DashScope.

use std::time::Duration;

use dashgate::config::{Account, Endpoint, ServerKind};
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::metrics::page;
use crate::openai_answers::{chunk, events, settings_of, words};
use crate::support::*;

fn completion() -> Vec<Step> {
    let answer = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "ok"}}]});
    json(200, &answer.to_string())
}

fn account(name: &str, endpoint: Endpoint, models: &[&str]) -> Account {
    Account {
        name: name.to_owned(),
        endpoint,
        workspace: None,
        weight: 1,
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        roots: None,
        limits: Vec::new(),
    }
}

fn native(upstream: &Upstream) -> Endpoint {
    Endpoint::Remote {
        base_url: upstream.base_url(),
        api_key: Secret::new("sk-canary"),
    }
}

fn hosted(upstream: &Upstream) -> Endpoint {
    Endpoint::OpenAi {
        kind: ServerKind::Vllm,
        base_url: upstream.base_url().replace("/api/v1", "/v1"),
        api_key: Some(Secret::new("own-canary")),
    }
}

fn ask(model: &str) -> pb::ConverseRequest {
    let text = pb::content::Kind::Text("?".to_owned());
    ask_whole(conversation(model, vec![text]))
}

#[tokio::test(start_paused = true)]
async fn a_model_goes_to_the_account_that_serves_it() {
    let dashscope = Upstream::always(json(200, &whole("native"))).await;
    let vllm = Upstream::always(completion()).await;
    let mut settings = settings(&dashscope);
    settings.upstream.accounts = vec![
        account("cloud", native(&dashscope), &["qwen-audio*", "qwen3-omni*"]),
        account("house", hosted(&vllm), &["Qwen/*"]),
    ];
    settings.models.aliases = vec![("local".to_owned(), "Qwen/Qwen2-Audio".to_owned())];
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    for (model, native, hosted) in [
        ("qwen-audio-turbo", 1, 0),
        ("Qwen/Qwen2.5-Omni-7B", 1, 1),
        ("local", 1, 2),
    ] {
        client.converse(ask(model)).await.unwrap();
        assert_eq!(
            (dashscope.seen().len(), vllm.seen().len()),
            (native, hosted),
            "{model}"
        );
    }
    assert_eq!(vllm.seen()[1].json()["model"], "Qwen/Qwen2-Audio");
    assert_eq!(
        vllm.seen()[0].header("authorization"),
        Some("Bearer own-canary")
    );
    let refused = client.converse(ask("gpt-9")).await.unwrap_err();
    assert_fault(&refused, Code::NotFound, "MODEL_NOT_FOUND");
    assert_eq!(attempts(&refused), "0");
}

#[tokio::test(start_paused = true)]
async fn models_of_the_compatible_mode_are_called_there_with_the_same_key() {
    let dashscope = Upstream::start(|_, seen| match seen.path.starts_with("/compatible-mode/") {
        true => completion(),
        false => json(200, &whole("native")),
    })
    .await;
    let mut settings = settings(&dashscope);
    settings.upstream.compatible_models = vec!["qwen*-omni*".to_owned()];
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    for (model, path) in [
        ("qwen3-omni-flash", "/compatible-mode/v1/chat/completions"),
        ("qwen3.8-omni-flash", "/compatible-mode/v1/chat/completions"),
        ("qwen-omni-turbo", "/compatible-mode/v1/chat/completions"),
        (
            "qwen-audio-turbo",
            "/api/v1/services/aigc/multimodal-generation/generation",
        ),
    ] {
        client.converse(ask(model)).await.unwrap();
        let seen = dashscope.seen().pop().unwrap();
        assert_eq!(seen.path, path, "{model}");
        assert_eq!(seen.header("authorization"), Some("Bearer sk-canary"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_dashscope_key_is_never_sent_to_another_server() {
    let vllm = Upstream::always(completion()).await;
    let mut settings = settings_of(ServerKind::Vllm, &vllm);
    settings.callers.pass_through = true;
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    let mut request = tonic::Request::new(ask("m"));
    let key = "Bearer sk-callers-own".parse().unwrap();
    request.metadata_mut().insert("authorization", key);
    let refused = client.converse(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(vllm.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_retried_and_an_answer_is_not() {
    let vllm = Upstream::start(|at, _| match at {
        0 => json(
            503,
            r#"{"error":{"message":"warming up","type":"ServiceUnavailableError","code":503}}"#,
        ),
        _ => completion(),
    })
    .await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.conversation();
    let answer = client.converse(ask("m")).await.unwrap().into_inner();
    assert_eq!(answer.timing.unwrap().attempts, 2);
    let begun = [chunk(&json!({"content": "Hel"}), Value::Null)];
    let steps = [&events(&begun)[..2], &[Step::Reset]].concat();
    let vllm = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let last = answer.into_inner().collect::<Vec<_>>().await.pop().unwrap();
    assert_fault(&last.unwrap_err(), Code::Internal, "STREAM_TRUNCATED");
    assert_eq!(vllm.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_and_a_cancelled_call_close_the_connection() {
    let begun = [chunk(&json!({"content": "Hel"}), Value::Null)];
    let first = &events(&begun)[..2];
    for steps in [vec![Step::Hang], [first, &[Step::Hang]].concat()] {
        let mut vllm = Upstream::always(steps).await;
        let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
        let mut client = gateway.conversation();
        let mut request = tonic::Request::new(ask_stream(words()));
        request.set_timeout(Duration::from_secs(3));
        let failed = match client.converse_stream(request).await {
            Ok(answer) => {
                let mut all: Vec<_> = answer.into_inner().collect().await;
                all.pop().unwrap().unwrap_err()
            }
            Err(status) => status,
        };
        assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed:?}");
        vllm.closed().await;
    }
    let mut vllm = Upstream::always([first, &[Step::Hang]].concat()).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.conversation();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    drop(answer);
    vllm.closed().await;
}

/// The events of a stream of these steps, and how long it took.
pub(crate) async fn timed(
    steps: Vec<Step>,
) -> (
    Vec<Result<pb::ConverseStreamResponse, tonic::Status>>,
    Duration,
) {
    let vllm = Upstream::always(steps).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.conversation();
    let began = tokio::time::Instant::now();
    let answer = client.converse_stream(ask_stream(words())).await.unwrap();
    let events = answer.into_inner().collect().await;
    (events, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_end_is_not_waited_for() {
    let last = [chunk(&json!({"content": "ok"}), json!("stop"))];
    let mut steps = events(&last);
    steps.pop();
    steps.push(Step::Hang);
    let (events, took) = timed(steps).await;
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_request_id_is_made_once_and_counted() {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8});
    let answer = json!({"id": "c", "usage": usage, "choices": [{"index": 0,
        "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}]});
    let vllm = Upstream::always(json(200, &answer.to_string())).await;
    let mut settings = settings_of(ServerKind::Vllm, &vllm);
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    settings.telemetry.rates = vec![("m".to_owned(), [1.0, 2.0])];
    let gateway = gateway_with(settings).await;
    let mut client = gateway.conversation();
    for _ in 0..2 {
        let call = pb::ConverseRequest {
            request_id: "r-1".to_owned(),
            ..ask("m")
        };
        let answer = client.converse(call).await.unwrap().into_inner();
        assert_eq!(answer.usage.unwrap().total_tokens, Some(8));
    }
    assert_eq!(vllm.seen().len(), 1);
    let page = page(&gateway, "/metrics").await;
    let counted = |kind: &str| {
        let mut lines = page.lines().filter(|line| line.contains("model=\"m\""));
        lines.any(|line| line.contains(kind) && line.ends_with(" 5"))
    };
    assert!(counted("input"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_only_model_is_streamed_for_a_unary_answer() {
    let dashscope = Upstream::start(|_, seen| match seen.json()["stream"] == true {
        true => events(&[
            chunk(&json!({"content": "o"}), Value::Null),
            chunk(&json!({"content": "k"}), json!("stop")),
        ]),
        false => json(
            400,
            &json!({"error": {"code": "invalid_parameter_error",
            "type": "invalid_request_error", "param": null,
            "message": "<400> InternalError.Algo.InvalidParameter: 'audio' output only support \
                        with stream=true"}})
            .to_string(),
        ),
    })
    .await;
    let gateway = gateway_with(settings_of(ServerKind::DashScopeCompatible, &dashscope)).await;
    let mut client = gateway.conversation();
    let answer = client.converse(ask("m")).await.unwrap().into_inner();
    let parts = &answer.choices[0].message.as_ref().unwrap().content;
    assert_eq!(
        parts[0].kind,
        Some(pb::content::Kind::Text("ok".to_owned()))
    );
    assert_eq!(dashscope.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_for_such_a_model_is_refused_with_advice() {
    let vllm = Upstream::always(completion()).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.media();
    let description = pb::UploadMediaRequest {
        payload: Some(pb::upload_media_request::Payload::Description(
            pb::MediaDescription {
                model: "m".to_owned(),
                mime_type: "audio/wav".to_owned(),
                ..pb::MediaDescription::default()
            },
        )),
    };
    let chunk = pb::UploadMediaRequest {
        payload: Some(pb::upload_media_request::Payload::Chunk(
            b"RIFF....WAVE"[..].into(),
        )),
    };
    let refused = client
        .upload_media(tokio_stream::iter([description, chunk]))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    assert!(
        refused.message().contains("inside the request"),
        "{refused:?}"
    );
    assert!(vllm.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_gets_no_url_of_its_own_private_address() {
    let vllm = Upstream::always(completion()).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &vllm)).await;
    let mut client = gateway.conversation();
    let audio = pb::content::Kind::Audio(pb::Audio {
        source: Some(pb::audio::Source::Uri(format!(
            "http://{}/v1/models",
            vllm.address
        ))),
        ..pb::Audio::default()
    });
    let call = ask_whole(conversation("m", vec![audio]));
    let refused = client.converse(call).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(vllm.seen().is_empty());
}
