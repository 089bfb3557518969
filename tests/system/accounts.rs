//! Several accounts: which one a call goes to, and which is left alone for how long.

use std::time::Duration;

use dashgate::config::{Account, AccountLimit, Endpoint, Settings};
use dashgate::grpc::pb;
use dashgate::secret::Secret;
use tokio_stream::iter;
use tonic::{Code, Status};

use crate::support::*;

fn account(name: &str, upstream: &Upstream, weight: u32) -> Account {
    Account {
        name: name.to_owned(),
        endpoint: Endpoint::Remote {
            base_url: upstream.base_url(),
            api_key: Secret::new(format!("sk-canary-{name}")),
        },
        workspace: None,
        weight,
        models: Vec::new(),
        roots: None,
        limits: Vec::new(),
    }
}

fn with(accounts: Vec<Account>, upstream: &Upstream) -> Settings {
    let mut settings = settings(upstream);
    settings.upstream.accounts = accounts;
    settings
}

fn fault(status: u16, code: &str) -> Vec<Step> {
    json(
        status,
        &format!(r#"{{"code":"{code}","message":"m","request_id":"up-9"}}"#),
    )
}

fn keys(upstream: &Upstream) -> Vec<String> {
    let key = |seen: Seen| {
        let header = seen.header("authorization").unwrap_or_default().to_owned();
        header.trim_start_matches("Bearer sk-canary-").to_owned()
    };
    upstream.seen().into_iter().map(key).collect()
}

async fn ask(gateway: &Running) -> Result<pb::ConverseResponse, Status> {
    let request = ask_whole(question());
    let answer = gateway.conversation().converse(request).await;
    answer.map(tonic::Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn each_account_gets_its_share() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let accounts = vec![account("a", &upstream, 3), account("b", &upstream, 1)];
    let gateway = gateway_with(with(accounts, &upstream)).await;
    for _ in 0..8 {
        ask(&gateway).await.unwrap();
    }
    let keys = keys(&upstream);
    assert_eq!(keys.iter().filter(|key| *key == "a").count(), 6, "{keys:?}");
    assert_eq!(keys[..4].iter().filter(|key| *key == "b").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_costs_one_call_a_minute_and_another_key_answers() {
    for (status, code) in [(401, "InvalidApiKey"), (400, "Arrearage")] {
        let upstream = Upstream::start(move |_, seen| {
            match seen.header("authorization").unwrap().ends_with("bad") {
                true => fault(status, code),
                false => json(200, &whole("x")),
            }
        })
        .await;
        let accounts = vec![account("bad", &upstream, 1), account("good", &upstream, 1)];
        let gateway = gateway_with(with(accounts, &upstream)).await;
        let asked = || keys(&upstream).iter().filter(|key| *key == "bad").count();
        for _ in 0..10 {
            // Another key is not a second try of the same one.
            let answer = ask(&gateway).await.unwrap();
            assert!(answer.timing.unwrap().attempts <= 2);
        }
        assert_eq!(asked(), 1, "{code}");
        tokio::time::advance(Duration::from_secs(61)).await;
        for _ in 0..10 {
            ask(&gateway).await.unwrap();
        }
        assert_eq!(asked(), 2, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn u12_the_only_key_that_is_refused_is_tried_once_a_minute() {
    let upstream = Upstream::always(fault(401, "InvalidApiKey")).await;
    let gateway = gateway(&upstream).await;
    for _ in 0..100 {
        let status = ask(&gateway).await.unwrap_err();
        assert_fault(&status, Code::FailedPrecondition, "UPSTREAM_CREDENTIAL");
    }
    assert_eq!(upstream.seen().len(), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    ask(&gateway).await.unwrap_err();
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_model_uses_another_key_and_returns() {
    let upstream = Upstream::start(|_, seen| {
        match seen.header("authorization").unwrap().ends_with("-a")
            && seen.json()["model"] == "qwen-audio-turbo"
        {
            true => fault(429, "Throttling.RateQuota"),
            false => json(200, &whole("x")),
        }
    })
    .await;
    let accounts = vec![account("a", &upstream, 1), account("b", &upstream, 1)];
    let gateway = gateway_with(with(accounts, &upstream)).await;
    for _ in 0..4 {
        ask(&gateway).await.unwrap();
    }
    assert_eq!(keys(&upstream), ["a", "b", "b", "b", "b"]);
    // Another model has its own rate, with the same key.
    let text = pb::content::Kind::Text("?".to_owned());
    let other = ask_whole(conversation("qwen3-vl-plus", vec![text]));
    for _ in 0..2 {
        let request = other.clone();
        gateway.conversation().converse(request).await.unwrap();
    }
    assert!(keys(&upstream)[5..].contains(&"a".to_owned()));
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..2 {
        ask(&gateway).await.unwrap();
    }
    let asked = keys(&upstream)[7..].contains(&"a".to_owned());
    assert!(asked, "{:?}", keys(&upstream));
}

#[tokio::test(start_paused = true)]
async fn u13_an_upstream_that_fails_is_left_alone_and_found_again() {
    let upstream = Upstream::start(|number, _| match number < 12 {
        true => fault(500, "InternalError"),
        false => json(200, &whole("x")),
    })
    .await;
    let mut settings = settings(&upstream);
    settings.retry.max_attempts = 1;
    let gateway = gateway_with(settings).await;
    for _ in 0..10 {
        let status = ask(&gateway).await.unwrap_err();
        assert_fault(&status, Code::Unavailable, "UPSTREAM_INTERNAL");
    }
    for _ in 0..100 {
        let status = ask(&gateway).await.unwrap_err();
        assert_fault(&status, Code::Unavailable, "CIRCUIT_OPEN");
    }
    assert_eq!(upstream.seen().len(), 10);
    // Trials two seconds apart: two fail, the third finds it well.
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(2)).await;
        let status = ask(&gateway).await.unwrap_err();
        assert_fault(&status, Code::Unavailable, "UPSTREAM_INTERNAL");
        let status = ask(&gateway).await.unwrap_err();
        assert_fault(&status, Code::Unavailable, "CIRCUIT_OPEN");
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..3 {
        ask(&gateway).await.unwrap();
    }
    assert_eq!(upstream.seen().len(), 15);
}

#[tokio::test(start_paused = true)]
async fn rates_of_an_account_are_kept_before_dashscope_has_to() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut only = account("a", &upstream, 1);
    only.limits = vec![AccountLimit {
        models: "qwen-audio*".to_owned(),
        requests_per_minute: Some(2),
        tokens_per_minute: None,
    }];
    let gateway = gateway_with(with(vec![only.clone()], &upstream)).await;
    for _ in 0..2 {
        ask(&gateway).await.unwrap();
    }
    let status = ask(&gateway).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "UPSTREAM_RATE");
    tokio::time::advance(Duration::from_secs(31)).await;
    ask(&gateway).await.unwrap();
    assert_eq!(upstream.seen().len(), 3);

    only.limits[0].requests_per_minute = None;
    only.limits[0].tokens_per_minute = Some(5);
    let gateway = gateway_with(with(vec![only], &upstream)).await;
    ask(&gateway).await.unwrap();
    let status = ask(&gateway).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "UPSTREAM_TOKENS");
    assert_eq!(upstream.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_uploaded_medium_is_sent_with_the_key_that_stored_it() {
    let upstream = Upstream::start(|_, seen| {
        let host = seen.header("host").unwrap_or_default().to_owned();
        let key = seen.header("authorization").unwrap_or_default();
        let folder = key.rsplit('-').next().unwrap_or_default().to_owned();
        match seen.path.as_str() {
            path if path.starts_with("/api/v1/uploads") => json(
                200,
                &format!(
                    r#"{{"data":{{"policy":"cA==","signature":"cw==",
                    "upload_dir":"dashscope-instant/{folder}/1","upload_host":"http://{host}/oss",
                    "expire_in_seconds":300,"max_file_size_mb":10,"oss_access_key_id":"k",
                    "x_oss_object_acl":"private","x_oss_forbid_overwrite":"true"}},
                    "request_id":"r"}}"#
                ),
            ),
            "/oss" => json(200, ""),
            _ => json(200, &whole("x")),
        }
    })
    .await;
    let accounts = vec![account("a", &upstream, 1), account("b", &upstream, 1)];
    let gateway = gateway_with(with(accounts, &upstream)).await;
    let describe = pb::upload_media_request::Payload::Description(pb::MediaDescription {
        model: "qwen-audio-turbo".to_owned(),
        mime_type: "audio/wav".to_owned(),
        ..pb::MediaDescription::default()
    });
    let chunk = pb::upload_media_request::Payload::Chunk(b"RIFF"[..].into());
    let messages = [describe, chunk].map(|payload| pb::UploadMediaRequest {
        payload: Some(payload),
    });
    let stored = gateway.media().upload_media(iter(messages)).await.unwrap();
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(stored.into_inner().uri)),
        ..pb::Audio::default()
    };
    let parts = vec![pb::content::Kind::Audio(audio)];
    for _ in 0..4 {
        let request = ask_whole(conversation("qwen-audio-turbo", parts.clone()));
        gateway.conversation().converse(request).await.unwrap();
    }
    let generations = upstream
        .seen()
        .into_iter()
        .filter(|s| s.path.ends_with("/generation"));
    let keys: Vec<_> = generations
        .map(|seen| seen.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(keys, vec!["Bearer sk-canary-a"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_model_has_its_own_bounds() {
    let upstream = Upstream::start(|_, seen| match seen.json()["model"] == "slow" {
        true => vec![Step::Hang],
        false => json(200, &whole("x")),
    })
    .await;
    let mut settings = settings(&upstream);
    settings.models.timeouts = vec![("slo*".to_owned(), Duration::from_secs(3))];
    settings.models.max_in_flight = vec![("slow".to_owned(), 1)];
    let gateway = gateway_with(settings).await;
    let request = || {
        let text = pb::content::Kind::Text("?".to_owned());
        ask_whole(conversation("slow", vec![text]))
    };
    let begun = tokio::time::Instant::now();
    let mut first = gateway.conversation();
    let first = tokio::spawn(async move { first.converse(request()).await });
    upstream.wait_for_requests(1).await;
    let status = gateway
        .conversation()
        .converse(request())
        .await
        .unwrap_err();
    assert_fault(&status, Code::Unavailable, "OVERLOADED");
    ask(&gateway).await.unwrap();
    let status = first.await.unwrap().unwrap_err();
    assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!(begun.elapsed().as_secs(), 3);
}
