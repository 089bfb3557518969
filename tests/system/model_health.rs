//! The state of a model in lists: what the next call of the same caller would find.

use std::time::Duration;

use dashgate::config::{Account, Endpoint};
use dashgate::grpc::pb::ModelState;
use dashgate::secret::Secret;
use tokio_stream::StreamExt as _;

use crate::callers::{Folder, with_key};
use crate::model_service::{ask, get, get_request};
use crate::support::*;

/// The state of a model, and the seconds until calls are sent to it again.
async fn health(gateway: &Running, name: &str) -> (ModelState, Option<i64>) {
    let health = get(gateway, name).await.unwrap().health.unwrap();
    (
        health.state(),
        health.retry_after.map(|after| after.seconds),
    )
}

fn refusal(status: u16, code: &str) -> Vec<Step> {
    json(status, &format!(r#"{{"code":"{code}","message":"m"}}"#))
}

fn account(name: &str, upstream: &Upstream) -> Account {
    Account {
        name: name.to_owned(),
        endpoint: Endpoint::Remote {
            base_url: upstream.base_url(),
            api_key: Secret::new(format!("sk-canary-{name}")),
        },
        workspace: None,
        weight: 1,
        models: Vec::new(),
        roots: None,
        limits: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_of_a_model_is_that_of_the_next_call() {
    // By the model: what DashScope answers.
    let upstream = Upstream::start(|_, seen| match seen.json()["model"].as_str().unwrap() {
        "throttled" => http(
            429,
            "content-type: application/json\r\nretry-after: 40\r\n",
            br#"{"code":"Throttling.RateQuota","message":"m"}"#,
        ),
        "with-fallback" => refusal(429, "Throttling.RateQuota"),
        _ => json(200, &whole("x")),
    })
    .await;
    let mut settings = settings(&upstream);
    settings.retry.max_attempts = 1;
    let name = str::to_owned;
    settings.models.fallbacks = vec![
        (name("with-fallback"), vec![name("good")]),
        (name("throttled"), vec![]),
    ];
    let gateway = gateway_with(settings).await;
    for model in ["good", "throttled", "with-fallback"] {
        let found = health(&gateway, model).await;
        assert_eq!(found, (ModelState::Available, None), "{model}");
    }
    ask(&gateway, "throttled").await.unwrap_err();
    ask(&gateway, "with-fallback").await.unwrap();
    let found = health(&gateway, "throttled").await;
    assert_eq!(found, (ModelState::Limited, Some(40)));
    let found = health(&gateway, "with-fallback").await;
    assert_eq!(found, (ModelState::Limited, None));
    tokio::time::advance(Duration::from_secs(30)).await;
    let found = health(&gateway, "throttled").await;
    assert_eq!(found, (ModelState::Limited, Some(10)));
    let found = health(&gateway, "with-fallback").await;
    assert_eq!(found, (ModelState::Available, None));
    tokio::time::advance(Duration::from_secs(11)).await;
    let found = health(&gateway, "throttled").await;
    assert_eq!(found, (ModelState::Available, None));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_makes_models_unavailable_unless_another_account_answers() {
    let upstream =
        Upstream::start(
            |_, seen| match seen.header("authorization").unwrap().ends_with("-bad") {
                true => refusal(401, "InvalidApiKey"),
                false => json(200, &whole("x")),
            },
        )
        .await;
    for (accounts, expected) in [
        (&["bad"][..], (ModelState::Unavailable, Some(60))),
        (&["bad", "good"], (ModelState::Limited, None)),
    ] {
        let mut settings = settings(&upstream);
        settings.upstream.accounts = accounts
            .iter()
            .map(|name| account(name, &upstream))
            .collect();
        let gateway = gateway_with(settings).await;
        let _ = ask(&gateway, "qwen3-asr-flash").await;
        let _ = ask(&gateway, "qwen3-asr-flash").await;
        // The key is that of every model.
        assert_eq!(health(&gateway, "qwen3-asr-flash").await, expected);
        assert_eq!(health(&gateway, "qwen3-tts-flash").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_accounts_do_not_concern_a_caller_with_a_key_of_its_own() {
    let upstream = Upstream::always(refusal(401, "InvalidApiKey")).await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    let mut settings = folder.settings(&upstream);
    settings.callers.pass_through = true;
    let gateway = gateway_with(settings).await;
    let call = with_key(ask_whole(question()), &key);
    gateway.conversation().converse(call).await.unwrap_err();
    for (key, expected) in [
        (&*key, ModelState::Unavailable),
        ("sk-0123456789abcdef0123456789abcdef", ModelState::Available),
    ] {
        let request = with_key(get_request("qwen-audio-turbo"), key);
        let model = gateway.models().get_model(request).await.unwrap();
        let health = model.into_inner().model.unwrap().health.unwrap();
        assert_eq!(health.state(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_with_as_many_calls_as_it_may_have_is_limited() {
    let mut upstream =
        Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let mut settings = settings(&upstream);
    settings.models.max_in_flight = vec![("qwen-audio*".to_owned(), 1)];
    let gateway = gateway_with(settings).await;
    let name = "qwen-audio-turbo";
    assert_eq!(health(&gateway, name).await, (ModelState::Available, None));
    let call = ask_stream(question());
    let stream = gateway.conversation().converse_stream(call).await;
    let mut stream = stream.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    assert_eq!(health(&gateway, name).await, (ModelState::Limited, None));
    let other = health(&gateway, "qwen3-asr-flash").await;
    assert_eq!(other, (ModelState::Available, None));
    drop(stream);
    upstream.closed().await;
    assert_eq!(health(&gateway, name).await, (ModelState::Available, None));
}
