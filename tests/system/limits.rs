//! How much a caller may use, and when there is room again.

use std::time::Duration;

use dashgate::callers::date;
use dashgate::callers::limits::Overrides;
use dashgate::grpc::pb;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::callers::{Folder, ask, until, with_key};
use crate::support::*;

/// The wait that a refusal names, the same in both places.
fn wait(status: &Status) -> Duration {
    let details = status.get_error_details();
    let quota = details.quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "caller");
    let wait = details.retry_info().unwrap().retry_delay.unwrap();
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    assert_eq!(pushback, &wait.as_millis().to_string()[..]);
    wait
}

/// A gateway with a key that has these limits.
async fn limited(
    upstream: &Upstream,
    folder: &Folder,
    change: impl FnOnce(&mut Overrides),
) -> (Running, String) {
    let (_, key) = folder.key("team-a", |entry| change(&mut entry.limits));
    (gateway_with(folder.settings(upstream)).await, key)
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_allowed_is_refused_by_name_for_calls_and_for_uploads() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| {
        limits.models = Some(vec!["qwen3-*".to_owned(), "qwen-audio-turbo".to_owned()]);
    })
    .await;
    ask(&gateway, &key).await.unwrap();
    let text = pb::content::Kind::Text("hi".to_owned());
    let other = ask_whole(conversation("qwen-max", vec![text]));
    let status = gateway.conversation().converse(with_key(other, &key)).await;
    let status = status.unwrap_err();
    assert_fault(&status, Code::PermissionDenied, "PERMISSION_DENIED");
    assert!(status.message().contains("qwen-max"), "{status:?}");
    let description = pb::MediaDescription {
        model: "qwen-max".to_owned(),
        ..pb::MediaDescription::default()
    };
    let upload = tokio_stream::once(pb::UploadMediaRequest {
        payload: Some(pb::upload_media_request::Payload::Description(description)),
    });
    let status = gateway.media().upload_media(with_key(upload, &key)).await;
    assert_fault(
        &status.unwrap_err(),
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_a_minute_are_limited_and_the_refusal_names_the_true_time() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| {
        limits.requests_per_minute = Some(2);
    })
    .await;
    let (_, other) = folder.key("team-b", |_| ());
    until(&gateway, &other, true).await;
    for _ in 0..2 {
        ask(&gateway, &key).await.unwrap();
    }
    let status = ask(&gateway, &key).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_RATE");
    let pause = wait(&status);
    assert!(
        pause > Duration::from_secs(25) && pause <= Duration::from_secs(30),
        "{pause:?}"
    );
    // One caller's limit is no other's.
    ask(&gateway, &other).await.unwrap();
    tokio::time::sleep(pause).await;
    ask(&gateway, &key).await.unwrap();
    ask(&gateway, &key).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reserved_before_a_call_and_settled_by_what_it_used() {
    // The answer says that 786 tokens went in and 38 out.
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| {
        limits.tokens_per_minute = Some(3000);
    })
    .await;
    // About 750 for the sound and 1000 for the answer are reserved, and 824 were used: three fit.
    for _ in 0..2 {
        ask(&gateway, &key).await.unwrap();
    }
    let status = ask(&gateway, &key).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_TOKENS");
    let pause = wait(&status);
    // What is missing: an estimate of 1764 to the 3000 - 2 * 824 that are left, at 50 a second.
    let missing = Duration::from_millis((1764 - (3000 - 2 * 824)) * 20);
    assert!(
        pause <= missing && pause + Duration::from_secs(1) > missing,
        "{pause:?}"
    );
    tokio::time::sleep(pause).await;
    ask(&gateway, &key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_dashscope_refused_costs_no_tokens() {
    let upstream = Upstream::start(|number, _| match number {
        0 => json(400, r#"{"code":"InvalidParameter","message":"no"}"#),
        _ => json(200, &whole("x")),
    })
    .await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| {
        limits.tokens_per_day = Some(1800);
    })
    .await;
    let status = ask(&gateway, &key).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "UPSTREAM_REJECTED");
    ask(&gateway, &key).await.unwrap();
    let status = ask(&gateway, &key).await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_BUDGET");
    let pause = wait(&status);
    assert!(pause <= Duration::from_secs(date::DAY), "{pause:?}");
    let midnight = (date::now() + pause.as_secs()) % date::DAY;
    assert!((midnight + 5) % date::DAY < 10, "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_are_limited_and_cancelling_one_frees_its_place() {
    let mut upstream =
        Upstream::always(vec![sse(), piece(frame(1, "一", "null")), Step::Hang]).await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| limits.max_streams = Some(2)).await;
    let open = || async {
        let request = with_key(ask_stream(question()), &key);
        let mut conversation = gateway.conversation();
        let stream = conversation.converse_stream(request).await?;
        Ok::<_, Status>(stream.into_inner())
    };
    let one = open().await.unwrap();
    let _two = open().await.unwrap();
    let status = open().await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_STREAMS");
    assert_eq!(wait(&status), Duration::from_secs(1));
    drop(one);
    upstream.closed().await;
    let _three = open().await.unwrap();
    let status = open().await.unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "CALLER_STREAMS");
}

#[tokio::test(start_paused = true)]
async fn a_twin_of_a_named_call_pays_no_tokens() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (gateway, key) = limited(&upstream, &folder, |limits| {
        limits.tokens_per_day = Some(2600);
    })
    .await;
    let named = pb::ConverseRequest {
        request_id: "twin".to_owned(),
        ..ask_whole(question())
    };
    for _ in 0..20 {
        let request = with_key(named.clone(), &key);
        gateway.conversation().converse(request).await.unwrap();
    }
    // 824 are used once; another call of 1764 fits.
    ask(&gateway, &key).await.unwrap();
    ask(&gateway, &key).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn default_limits_apply_to_keys_without_limits_and_follow_the_file() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let folder = Folder::new();
    let (_, plain) = folder.key("team-a", |_| ());
    let (_, free) = folder.key("team-b", |entry| entry.limits.requests_per_minute = Some(0));
    let mut settings = folder.settings(&upstream);
    settings.callers.limits.requests_per_minute = 1;
    let gateway = gateway_with(settings).await;
    ask(&gateway, &plain).await.unwrap();
    for _ in 0..5 {
        ask(&gateway, &free).await.unwrap();
    }
    let refused = ask(&gateway, &plain).await.unwrap_err();
    assert_fault(&refused, Code::ResourceExhausted, "CALLER_RATE");
    // The file is read again: what was used stays used, and the new limit holds.
    let text = std::fs::read_to_string(folder.keys()).unwrap();
    let changed = text.replace("requests_per_minute = 0", "requests_per_minute = 2");
    std::fs::write(folder.keys(), changed).unwrap();
    until(&gateway, &free, false).await;
    let refused = ask(&gateway, &plain).await.unwrap_err();
    assert_fault(&refused, Code::ResourceExhausted, "CALLER_RATE");
}
