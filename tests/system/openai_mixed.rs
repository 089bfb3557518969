//! Upstreams of several kinds in one gateway: which one a call goes to, what each is sent, and what
//! the failure of one means for the others.

use std::collections::BTreeMap;
use std::time::Duration;

use dashgate::config::{Account, Endpoint, ServerKind, Settings};
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::callers::Folder;
use crate::openai_answers::{chunk, events, words};
use crate::reload::{House, write};
use crate::support::*;

/// An answer in the form of the request.
fn answer(seen: &Seen, text: &str) -> Vec<Step> {
    if seen.path.ends_with("/models") {
        return json(200, &json!({"data": [{"id": text}]}).to_string());
    }
    if !seen.path.ends_with("/chat/completions") {
        return json(200, &whole(text));
    }
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
    json(200, &json!({"id": "c", "choices": [choice]}).to_string())
}

async fn server(text: &'static str) -> Upstream {
    Upstream::start(move |_, seen| answer(seen, text)).await
}

/// An account at a server, with a key that is its own; DashScope's without a kind.
fn account(name: &str, kind: Option<ServerKind>, upstream: &Upstream, models: &[&str]) -> Account {
    let key = Secret::new(format!("sk-canary-{name}"));
    let endpoint = match kind {
        None => Endpoint::Remote {
            base_url: upstream.base_url(),
            api_key: key,
        },
        Some(kind) => Endpoint::OpenAi {
            kind,
            base_url: upstream.base_url().replace("/api/v1", "/v1"),
            api_key: Some(key),
        },
    };
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

fn with(accounts: Vec<Account>, upstream: &Upstream) -> Settings {
    let mut settings = settings(upstream);
    settings.upstream.accounts = accounts;
    settings
}

async fn ask(gateway: &Running, model: &str) -> Result<String, Status> {
    let text = pb::content::Kind::Text("?".to_owned());
    let call = ask_whole(conversation(model, vec![text]));
    let answer = gateway.conversation().converse(call).await?.into_inner();
    let content = answer.choices[0].message.clone().unwrap().content;
    match content[0].kind.clone().unwrap() {
        pb::content::Kind::Text(text) => Ok(text),
        other => panic!("{other:?}"),
    }
}

/// Checks that a server was sent no key but its own, in any header or body.
#[track_caller]
fn assert_own_key(upstream: &Upstream, name: &str) {
    let seen = upstream.seen();
    assert!(!seen.is_empty(), "{name}");
    for one in seen {
        let own = format!("Bearer sk-canary-{name}");
        assert_eq!(one.header("authorization"), Some(&*own));
        let body = String::from_utf8_lossy(&one.body).into_owned();
        let all = format!("{} {:?} {body}", one.path, one.headers);
        assert_eq!(all.matches("sk-").count(), 1, "{name}: {all}");
    }
}

/// A server of each kind, by name, and settings with an account at each.
async fn all_kinds() -> (BTreeMap<&'static str, Upstream>, Settings) {
    let servers = [
        ("cloud", None, vec!["qwen-audio*", "shared-1"]),
        ("vllm", Some(ServerKind::Vllm), vec!["Qwen/*-Omni*"]),
        (
            "sglang",
            Some(ServerKind::Sglang),
            vec!["Qwen/*", "shared-*"],
        ),
        ("omni", Some(ServerKind::SglangOmni), vec!["omni/*"]),
        ("other", Some(ServerKind::OpenAi), vec!["*-mini", "gpt*"]),
    ];
    let mut upstreams = BTreeMap::new();
    let mut accounts = Vec::new();
    for (name, kind, models) in servers {
        let upstream = server(name).await;
        accounts.push(account(name, kind, &upstream, &models));
        upstreams.insert(name, upstream);
    }
    let settings = with(accounts, &upstreams["cloud"]);
    (upstreams, settings)
}

#[tokio::test(start_paused = true)]
async fn each_model_goes_to_its_kind_of_server_with_the_key_of_that_account() {
    let (upstreams, settings) = all_kinds().await;
    let gateway = gateway_with(settings).await;
    for (model, expected) in [
        ("qwen-audio-turbo", &["cloud"][..]),
        ("Qwen/Qwen2.5-Omni-7B", &["vllm", "sglang"]),
        ("Qwen/Qwen3-ASR", &["sglang"]),
        ("omni/a", &["omni"]),
        ("gpt-x", &["other"]),
        ("o-mini", &["other"]),
        ("shared-1", &["cloud", "sglang"]),
    ] {
        let mut answered = BTreeMap::new();
        for _ in 0..4 {
            *answered
                .entry(ask(&gateway, model).await.unwrap())
                .or_insert(0) += 1;
        }
        let names: Vec<_> = answered.keys().map(String::as_str).collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{model}");
    }
    let refused = ask(&gateway, "unknown").await.unwrap_err();
    assert_fault(&refused, Code::NotFound, "MODEL_NOT_FOUND");
    gateway
        .models()
        .list_models(pb::ListModelsRequest::default())
        .await
        .unwrap();
    for (name, upstream) in &upstreams {
        assert_own_key(upstream, name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_key_goes_to_dashscope_alone() {
    let (upstreams, mut settings) = all_kinds().await;
    settings.callers.pass_through = true;
    let gateway = gateway_with(settings).await;
    for model in ["qwen-audio-turbo", "shared-1", "Qwen/Qwen3-ASR", "gpt-x"] {
        let text = pb::content::Kind::Text("?".to_owned());
        let mut call = tonic::Request::new(ask_whole(conversation(model, vec![text])));
        let key = "Bearer sk-own-of-caller".parse().unwrap();
        call.metadata_mut().insert("authorization", key);
        let answered = gateway.conversation().converse(call).await;
        assert_eq!(
            answered.is_ok(),
            model.contains('1') || model.contains("audio"),
            "{model}"
        );
    }
    for (name, upstream) in &upstreams {
        let new = upstream.seen();
        assert_eq!(new.len(), if *name == "cloud" { 2 } else { 0 }, "{name}");
        for one in new {
            assert_eq!(one.header("authorization"), Some("Bearer sk-own-of-caller"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_of_another_kind_gets_a_request_of_its_own_form() {
    for (status, body) in [
        (
            503,
            r#"{"error":{"message":"m","type":"ServiceUnavailableError","code":503}}"#,
        ),
        (
            404,
            r#"{"error":{"message":"no model","type":"NotFoundError","code":404}}"#,
        ),
        (
            429,
            r#"{"error":{"message":"queue full","type":"RateLimit","code":429}}"#,
        ),
    ] {
        let vllm = Upstream::start(move |_, _| json(status, body)).await;
        let dashscope = server("cloud").await;
        let accounts = vec![
            account("vllm", Some(ServerKind::Vllm), &vllm, &["Qwen/*"]),
            account("cloud", None, &dashscope, &["qwen*"]),
        ];
        let mut settings = with(accounts, &dashscope);
        let fallback = |from: &str, to: &str| (from.to_owned(), vec![to.to_owned()]);
        settings.models.fallbacks = vec![fallback("Qwen/A", "qwen-audio-turbo")];
        let gateway = gateway_with(settings).await;
        let audio = pb::content::Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Data(b"RIFF....WAVE"[..].into())),
            ..pb::Audio::default()
        });
        let call = ask_whole(conversation("Qwen/A", vec![audio]));
        let answer = gateway
            .conversation()
            .converse(call)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.model, "qwen-audio-turbo", "{status}");
        let sent = dashscope.seen().pop().unwrap().json();
        assert!(
            sent["input"]["messages"][0]["content"][0]["audio"].is_string(),
            "{sent}"
        );
        assert_eq!(sent["model"], "qwen-audio-turbo");
        let first = vllm.seen()[0].json();
        assert!(
            first["messages"][0]["content"][0]["audio_url"].is_object(),
            "{first}"
        );
        assert_eq!(first["model"], "Qwen/A");
        assert_own_key(&vllm, "vllm");
        assert_own_key(&dashscope, "cloud");
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opens_at_one_kind_leaves_the_others_closed() {
    let vllm = Upstream::always(json(500, r#"{"error":{"message":"m","code":500}}"#)).await;
    let dashscope = server("cloud").await;
    let accounts = vec![
        account("vllm", Some(ServerKind::Vllm), &vllm, &["Qwen/*"]),
        account("cloud", None, &dashscope, &["qwen*"]),
    ];
    let mut settings = with(accounts, &dashscope);
    settings.upstream.breaker_failures = 3;
    settings.retry.max_attempts = 1;
    let gateway = gateway_with(settings).await;
    let mut last = None;
    for _ in 0..8 {
        last = Some(ask(&gateway, "Qwen/A").await.unwrap_err());
    }
    let last = last.unwrap();
    assert_fault(&last, Code::Unavailable, "CIRCUIT_OPEN");
    assert!(
        last.message().contains("the upstream server failed"),
        "{last:?}"
    );
    assert!(vllm.seen().len() < 8);
    for _ in 0..3 {
        assert_eq!(ask(&gateway, "qwen-audio-turbo").await.unwrap(), "cloud");
    }
}

/// Sections with a vLLM server and its key.
fn sections(upstream: &Upstream, key: &str) -> String {
    format!(
        "[upstream]\nurl = \"vllm:{}\"\n[upstream.openai]\napi_key = \"{key}\"\n",
        upstream.base_url().replace("/api/v1", "/v1")
    )
}

#[tokio::test(start_paused = true)]
async fn a_reload_moves_later_calls_and_no_running_stream() {
    let old = Upstream::start(|_, seen| match seen.json()["stream"] == true {
        true => {
            let hi = events(&[chunk(&json!({"content": "Hel"}), Value::Null)]);
            let rest = events(&[chunk(&json!({"content": "lo"}), json!("stop"))]);
            let pause = [Step::Pause(Duration::from_secs(20))];
            [&hi[..2], &pause, &rest[1..]].concat()
        }
        false => answer(seen, "old"),
    })
    .await;
    let new = server("new").await;
    let unused = server("unused").await;
    let house = House::open(unused, Folder::new(), &sections(&old, "sk-canary-old")).await;
    let mut client = house.gateway.conversation();
    let running = client.converse_stream(ask_stream(words())).await.unwrap();
    let running = tokio::spawn(running.into_inner().collect::<Vec<_>>());
    assert_eq!(ask(&house.gateway, "m").await.unwrap(), "old");
    write(&house.folder, &sections(&new, "sk-canary-new"));
    house.again.notify_one();
    let mut moved = 0;
    for _ in 0..100 {
        moved += usize::from(ask(&house.gateway, "m").await.unwrap() == "new");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(moved > 50, "{moved}");
    // Settings that cannot be used change nothing.
    write(
        &house.folder,
        "[upstream]\nurl = \"vlm:http://127.0.0.1:1/v1\"\n",
    );
    house.again.notify_one();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ask(&house.gateway, "m").await.unwrap(), "new");
    let events = running.await.unwrap();
    assert_eq!(texts(&events).concat(), "Hello");
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert_own_key(&old, "old");
    assert_own_key(&new, "new");
}

#[tokio::test(start_paused = true)]
async fn a_reload_to_another_kind_forgets_the_list_of_the_old_server() {
    let old = server("of-old").await;
    let new = server("of-new").await;
    let unused = server("unused").await;
    let house = House::open(unused, Folder::new(), &sections(&old, "sk-canary-old")).await;
    let names = async || {
        let request = pb::ListModelsRequest::default();
        let page = house.gateway.models().list_models(request).await.unwrap();
        let names = page.into_inner().models.into_iter().map(|model| model.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["of-old"]);
    let other = sections(&new, "sk-canary-new").replace("vllm:", "openai:");
    write(&house.folder, &other);
    house.again.notify_one();
    for _ in 0..100 {
        if names().await == ["of-new"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(names().await, ["of-new"]);
    assert_own_key(&new, "new");
}
