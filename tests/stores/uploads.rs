//! The owners of uploads, and the accounts that stored them, are known to all replicas.

use aws_lc_rs::digest;
use dashgate::config::{Account, Endpoint, StoreSettings};
use dashgate::grpc::pb::{self, content, upload_media_request::Payload};
use dashgate::secret::Secret;
use dashgate::store::{Store, StoreConfig};
use tonic::{Code, Status};

use crate::database::{execute, number};
use crate::kept::{create_as, say_parts, with_key};
use crate::support::*;
use crate::trials::{Test, tests};

pub fn trials() -> Vec<Test> {
    tests![
        an_upload_is_used_at_any_replica_with_the_account_that_stored_it,
        an_upload_of_another_caller_is_refused_at_any_replica,
        an_upload_of_another_caller_is_refused_among_more_than_are_remembered,
        an_upload_in_a_stored_history_is_sent_to_the_account_that_stored_it,
        an_upload_that_has_expired_is_unknown_to_other_replicas,
        without_the_store_uploads_of_other_replicas_are_allowed_or_store_down,
    ]
}

const COUNT: &str = "SELECT count(*) FROM uploads";

/// A DashScope with a storage, which names files by the account's key.
async fn dashscope() -> Upstream {
    let mut files = 0;
    Upstream::start(move |_, seen| {
        if !seen.path.starts_with("/api/v1/uploads") {
            let body = if seen.path == "/oss" {
                String::new()
            } else {
                whole("x")
            };
            return json(200, &body);
        }
        files += 1;
        let policy = serde_json::json!({
            "policy": "cA==", "signature": "cw==", "oss_access_key_id": "k",
            "upload_dir": format!("dashscope-instant/{}/{files}", key_of(seen)),
            "upload_host": format!("http://{}/oss", seen.header("host").unwrap()),
            "expire_in_seconds": 300, "max_file_size_mb": 10,
            "x_oss_object_acl": "private", "x_oss_forbid_overwrite": "true",
        });
        let answer = serde_json::json!({"data": policy, "request_id": "r"});
        json(200, &answer.to_string())
    })
    .await
}

fn key_of(seen: &Seen) -> String {
    let header = seen.header("authorization").unwrap();
    header.trim_start_matches("Bearer sk-").to_owned()
}

/// The keys that the models were called with.
fn keys(upstream: &Upstream) -> Vec<String> {
    let seen = upstream.seen().into_iter();
    let calls = seen.filter(|seen| seen.path.ends_with("/generation"));
    calls.map(|seen| key_of(&seen)).collect()
}

/// A replica with two accounts.
async fn replica(upstream: &Upstream, store: &StoreSettings, refuse: bool) -> Running {
    let mut settings = settings(upstream);
    settings.store = Some(store.clone());
    settings.upstream.refuse_unknown_uploads = refuse;
    let accounts = ["a", "b"].map(|name| Account {
        name: name.to_owned(),
        endpoint: Endpoint::Remote {
            base_url: upstream.base_url(),
            api_key: Secret::new(format!("sk-{name}")),
        },
        workspace: None,
        weight: 1,
        models: Vec::new(),
        roots: None,
        limits: Vec::new(),
    });
    settings.upstream.accounts = accounts.into();
    gateway_with(settings).await
}

/// Uploads a file as the caller with this key. Returns its URI.
async fn upload(gateway: &Running, key: &str) -> String {
    let description = Payload::Description(pb::MediaDescription {
        model: "qwen-audio-turbo".to_owned(),
        mime_type: "audio/wav".to_owned(),
        ..pb::MediaDescription::default()
    });
    let chunk = Payload::Chunk(b"RIFF"[..].into());
    let messages = [description, chunk].map(|payload| pb::UploadMediaRequest {
        payload: Some(payload),
    });
    let request = with_key(tokio_stream::iter(messages), key);
    let uploaded = gateway.media().upload_media(request).await.unwrap();
    uploaded.into_inner().uri
}

fn audio(uri: &str) -> Vec<content::Kind> {
    vec![content::Kind::Audio(pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.to_owned())),
        ..pb::Audio::default()
    })]
}

/// Asks about a file as the caller with this key.
async fn ask(gateway: &Running, key: &str, uri: &str) -> Result<(), Status> {
    let request = ask_whole(conversation("qwen-audio-turbo", audio(uri)));
    let mut client = gateway.conversation();
    client.converse(with_key(request, key)).await.map(drop)
}

async fn an_upload_is_used_at_any_replica_with_the_account_that_stored_it(store: StoreSettings) {
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, true).await;
    let two = replica(&upstream, &store, true).await;
    for _ in 0..2 {
        let uri = upload(&one, "owner").await;
        let before = keys(&upstream).len();
        for _ in 0..3 {
            ask(&two, "owner", &uri).await.unwrap();
        }
        let account = uri.split('/').nth(3).unwrap();
        assert_eq!(keys(&upstream)[before..], [account; 3], "{uri}");
    }
    // After a restart, too.
    let uri = upload(&one, "owner").await;
    one.stop().await;
    one.ended().await;
    let again = replica(&upstream, &store, true).await;
    ask(&again, "owner", &uri).await.unwrap();
    assert_eq!(number(&store, COUNT).await, 3);
}

async fn an_upload_of_another_caller_is_refused_at_any_replica(store: StoreSettings) {
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, true).await;
    let uri = upload(&one, "owner").await;
    for refuse in [false, true] {
        let other = replica(&upstream, &store, refuse).await;
        // Before and after the replica knows it.
        for spelled in [
            uri.clone(),
            uri.replacen("oss:", "OSS:", 1),
            format!("{uri}?x"),
        ] {
            let refused = ask(&other, "thief", &spelled).await.unwrap_err();
            assert_fault(&refused, Code::NotFound, "RESOURCE_NOT_FOUND");
            let at = "conversation.messages[0].content[0].audio.uri";
            assert_eq!(violations(&refused), [at]);
        }
        ask(&other, "owner", &uri).await.unwrap();
        let unknown = ask(&other, "owner", "oss://dashscope-instant/x/1.wav").await;
        assert_eq!(unknown.is_err(), refuse, "{unknown:?}");
    }
}

async fn an_upload_of_another_caller_is_refused_among_more_than_are_remembered(
    store: StoreSettings,
) {
    const MANY: usize = 17_000;
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, false).await;
    upload(&one, "thief").await;
    // As if the thief had stored them.
    let quote = match store.url.expose().starts_with("sqlite") {
        true => "x'",
        false => "'\\x",
    };
    let rows = (0..MANY).map(|n| {
        let path = format!("d/{n}");
        let parts = [b"upload".as_slice(), path.as_bytes()];
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let hash = context.finish();
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        format!("({quote}{}')", hash.collect::<String>())
    });
    let rows = rows.collect::<Vec<_>>().join(",");
    let insert = format!(
        "INSERT INTO uploads (uri, tenant, account, expires_at, until)
         SELECT {}, tenant, account, expires_at, until
         FROM (VALUES {rows}) AS many, (SELECT * FROM uploads) AS thief",
        match quote {
            "x'" => "column1",
            _ => "column1::bytea",
        }
    );
    execute(&store, sqlx::AssertSqlSafe(insert)).await;
    assert_eq!(number(&store, COUNT).await, 17_001);
    let uri = upload(&one, "owner").await;
    let two = replica(&upstream, &store, false).await;
    let mut all = audio(&uri);
    all.extend((0..MANY).flat_map(|n| audio(&format!("oss://d/{n}"))));
    let request = || ask_whole(conversation("qwen-audio-turbo", all.clone()));
    // Before and after the replica knows some of them.
    for _ in 0..3 {
        let mut client = two.conversation();
        let refused = client.converse(with_key(request(), "thief")).await;
        assert_fault(&refused.unwrap_err(), Code::NotFound, "RESOURCE_NOT_FOUND");
    }
    let refused = ask(&two, "thief", &uri).await.unwrap_err();
    assert_fault(&refused, Code::NotFound, "RESOURCE_NOT_FOUND");
    assert!(keys(&upstream).is_empty());
}

async fn an_upload_in_a_stored_history_is_sent_to_the_account_that_stored_it(store: StoreSettings) {
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, true).await;
    let mut client = one.conversation();
    create_as(&mut client, "c", "owner").await;
    let uri = upload(&one, "owner").await;
    let turn = with_key(say_parts(audio(&uri)), "owner");
    client.converse(turn).await.unwrap();
    let two = replica(&upstream, &store, true).await;
    for _ in 0..3 {
        let turn = with_key(crate::kept::say("more"), "owner");
        two.conversation().converse(turn).await.unwrap();
    }
    let account = uri.split('/').nth(3).unwrap();
    assert_eq!(keys(&upstream), [account; 4]);
}

async fn an_upload_that_has_expired_is_unknown_to_other_replicas(store: StoreSettings) {
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, true).await;
    let uri = upload(&one, "owner").await;
    execute(&store, "UPDATE uploads SET until = 1").await;
    let strict = replica(&upstream, &store, true).await;
    let refused = ask(&strict, "owner", &uri).await.unwrap_err();
    assert_fault(&refused, Code::NotFound, "RESOURCE_NOT_FOUND");
    let lenient = replica(&upstream, &store, false).await;
    ask(&lenient, "other", &uri).await.unwrap();
    let config = StoreConfig {
        url: store.url.clone(),
        max_connections: 2,
        migrate: false,
        lease: store.lease,
    };
    assert!(!Store::open(&config).await.unwrap().sweep().await.unwrap());
    assert_eq!(number(&store, COUNT).await, 0);
}

async fn without_the_store_uploads_of_other_replicas_are_allowed_or_store_down(
    store: StoreSettings,
) {
    let upstream = dashscope().await;
    let one = replica(&upstream, &store, true).await;
    let before = upload(&one, "owner").await;
    let lenient = replica(&upstream, &store, false).await;
    execute(&store, "DROP TABLE uploads").await;
    // The upload succeeds, and its replica knows it.
    let uri = upload(&one, "owner").await;
    ask(&one, "owner", &uri).await.unwrap();
    ask(&one, "owner", &before).await.unwrap();
    ask(&lenient, "owner", &before).await.unwrap();
    let asked = keys(&upstream).len();
    let refused = ask(&one, "owner", "oss://dashscope-instant/x/1.wav").await;
    assert_fault(&refused.unwrap_err(), Code::Unavailable, "STORE_DOWN");
    let refused = ask(&one, "thief", &uri).await.unwrap_err();
    assert_fault(&refused, Code::NotFound, "RESOURCE_NOT_FOUND");
    assert_eq!(keys(&upstream).len(), asked);
}
