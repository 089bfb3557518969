//! The models that self-hosted servers list, in the model service.

use std::time::Duration;

use dashgate::config::{Account, Endpoint, ServerKind, Settings};
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use crate::model_service::{ask, get, get_request};
use crate::openai_answers::settings_of;
use crate::support::*;

/// A vLLM server with these models, and an answer for each call.
fn answer(seen: &Seen, models: &[(&str, Option<u32>)]) -> Vec<Step> {
    if seen.path.ends_with("/models") {
        let data = models
            .iter()
            .map(|(name, length)| json!({"id": name, "object": "model", "max_model_len": length}));
        let data: Vec<_> = data.collect();
        return json(200, &json!({"object": "list", "data": data}).to_string());
    }
    let answer = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "ok"}}]});
    json(200, &answer.to_string())
}

async fn server(models: &'static [(&'static str, Option<u32>)]) -> Upstream {
    Upstream::start(move |_, seen| answer(seen, models)).await
}

fn account(name: &str, upstream: &Upstream, models: &[&str]) -> Account {
    Account {
        name: name.to_owned(),
        endpoint: Endpoint::OpenAi {
            kind: ServerKind::Vllm,
            base_url: upstream.base_url().replace("/api/v1", "/v1"),
            api_key: Some(Secret::new(format!("key-of-{name}"))),
        },
        workspace: None,
        weight: 1,
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        roots: None,
        limits: Vec::new(),
    }
}

async fn listed(gateway: &Running) -> Vec<(String, Option<i32>)> {
    let request = pb::ListModelsRequest::default();
    let page = gateway.models().list_models(request).await.unwrap();
    let length = |model: &pb::Model| model.limits.as_ref().unwrap().max_context_tokens;
    let models = page.into_inner().models;
    models
        .iter()
        .map(|model| (model.name.clone(), length(model)))
        .collect()
}

fn named(name: &str, length: Option<i32>) -> (String, Option<i32>) {
    (name.to_owned(), length)
}

fn lists(upstream: &Upstream) -> usize {
    let seen = upstream.seen();
    seen.iter().filter(|one| one.path == "/v1/models").count()
}

#[tokio::test(start_paused = true)]
async fn the_models_of_a_server_are_fetched_once_a_minute_and_never_for_a_call() {
    let upstream = server(&[("Qwen/B", Some(32_768)), ("Qwen/A", None)]).await;
    let mut settings = settings_of(ServerKind::Vllm, &upstream);
    settings.models.aliases = vec![("alias".to_owned(), "Qwen/B".to_owned())];
    let gateway = gateway_with(settings).await;
    ask(&gateway, "Qwen/B").await.unwrap();
    assert_eq!(lists(&upstream), 0, "a call asks for no list");
    let expected = [
        named("Qwen/A", None),
        named("Qwen/B", Some(32_768)),
        named("alias", Some(32_768)),
    ];
    for _ in 0..3 {
        assert_eq!(listed(&gateway).await, expected);
    }
    assert_eq!(
        get(&gateway, "Qwen/B").await.unwrap().upstream_model,
        "Qwen/B"
    );
    assert_eq!(
        get(&gateway, "Qwen/C").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(lists(&upstream), 1);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((&*seen.method, seen.body.len()), ("GET", 0));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(listed(&gateway).await, expected);
    assert_eq!(lists(&upstream), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_list_its_models_has_those_of_the_configuration() {
    let flood = [http(200, "", b""), vec![Step::Flood(vec![b'x'; 65_536])]].concat();
    let endless = Step::Write(b"HTTP/1.1 200 X\r\n\r\n{\"data\": [".to_vec());
    let large = format!(
        "{{\"data\": [{}]}}",
        vec!["{\"id\": \"a\"}"; 200_000].join(",")
    );
    for (name, steps) in [
        ("silent", vec![Step::Hang]),
        ("slow", vec![sse(), piece("{\"data\":"), Step::Hang]),
        ("closed", vec![Step::Close]),
        ("reset", vec![Step::Reset]),
        (
            "refused",
            json(401, "{\"error\": {\"message\": \"no key\"}}"),
        ),
        ("missing", json(404, "{\"detail\": \"Not Found\"}")),
        ("page", http(200, "content-type: text/html\r\n", b"<html>")),
        ("list", json(200, "[]")),
        ("flood", flood),
        ("endless", vec![endless, Step::Flood(vec![b' '; 65_536])]),
        ("large", json(200, &large)),
        ("encoding", http(200, "content-encoding: br\r\n", b"x")),
    ] {
        let upstream = Upstream::start(move |_, seen| match seen.path.ends_with("/models") {
            true => steps.clone(),
            false => answer(seen, &[]),
        })
        .await;
        let mut settings = settings_of(ServerKind::Vllm, &upstream);
        settings.models.aliases = vec![("alias".to_owned(), "m".to_owned())];
        let gateway = gateway_with(settings).await;
        let begun = Instant::now();
        let expected = [named("alias", None), named("m", None)];
        assert_eq!(listed(&gateway).await, expected, "{name}");
        assert!(
            begun.elapsed() <= Duration::from_secs(3),
            "{name}: {:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        assert_eq!(listed(&gateway).await, expected, "{name}");
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{name}: the failure is kept"
        );
        assert_eq!(lists(&upstream), 1, "{name}");
        ask(&gateway, "m").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_may_be_compressed() {
    let upstream = Upstream::start(|_, _| {
        let body = gzip(br#"{"data": [{"id": "zipped", "max_model_len": 8}]}"#);
        http(200, "content-encoding: gzip\r\n", &body)
    })
    .await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    assert_eq!(listed(&gateway).await, [named("zipped", Some(8))]);
}

#[tokio::test(start_paused = true)]
async fn a_server_lists_no_model_that_calls_are_not_sent_to_it_for() {
    let one = server(&[("Qwen/A", Some(8)), ("other", Some(1))]).await;
    let two = server(&[("Qwen/A", Some(4)), ("b", None), ("c", None)]).await;
    let three = server(&[("never-asked", None)]).await;
    let mut settings = settings_of(ServerKind::Vllm, &one);
    settings.upstream.accounts = vec![
        account("one", &one, &["Qwen/*"]),
        account("two", &two, &[]),
        account("three", &three, &["exact"]),
    ];
    let gateway = gateway_with(settings).await;
    let expected = [
        // The smallest: both servers may serve a call.
        named("Qwen/A", Some(4)),
        named("b", None),
        named("c", None),
        named("exact", None),
    ];
    assert_eq!(listed(&gateway).await, expected);
    assert!(three.seen().is_empty(), "its models are configured");
    for (upstream, key) in [(&one, "Bearer key-of-one"), (&two, "Bearer key-of-two")] {
        for seen in upstream.seen() {
            assert_eq!(seen.header("authorization"), Some(key));
            assert!(!format!("{seen:?}").contains("sk-canary"), "{seen:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_callers_cause_one_request_and_no_caller_ends_it() {
    let upstream = Upstream::start(|_, seen| {
        let mut steps = vec![Step::Pause(Duration::from_millis(500))];
        steps.extend(answer(seen, &[("slow", Some(7))]));
        steps
    })
    .await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    // A caller that goes away.
    let mut client = gateway.models();
    let gone = tokio::time::timeout(
        Duration::from_millis(100),
        client.list_models(pb::ListModelsRequest::default()),
    );
    assert!(gone.await.is_err());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut client = gateway.models();
        calls.spawn(async move { client.get_model(get_request("slow")).await });
    }
    while let Some(model) = calls.join_next().await {
        let model = model.unwrap().unwrap().into_inner().model.unwrap();
        assert_eq!(model.limits.unwrap().max_context_tokens, Some(7));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_less_time_gets_its_deadline() {
    let upstream = Upstream::always(vec![Step::Hang]).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let mut request = tonic::Request::new(pb::ListModelsRequest::default());
    request.set_timeout(Duration::from_millis(300));
    let status = gateway.models().list_models(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_sees_listed_models_that_it_may_use() {
    let upstream = server(&[("Qwen/A", None), ("secret", None)]).await;
    let settings = settings_of(ServerKind::Vllm, &upstream);
    let settings = restricted(settings);
    let gateway = gateway_with(settings).await;
    assert_eq!(listed(&gateway).await, [named("Qwen/A", None)]);
    let status = get(&gateway, "secret").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}

/// Callers may use the models of the repository alone.
fn restricted(mut settings: Settings) -> Settings {
    settings.callers.limits.models = vec!["Qwen/*".to_owned()];
    settings
}
