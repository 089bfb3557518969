//! Media that are too large to go inline: certificates, forms, and a storage that fails.

use std::time::Duration;

use dashgate::grpc::pb::{self, content};
use serde_json::json;
use tonic::Code;

use crate::media::{PNG, WAV, ask, ask_at, parts, picture, sound};
use crate::response_forms::form;
use crate::storage::{Asked, FOLDER, dashscope, order, refusal};
use crate::support::*;
use crate::uploads::{file_of, messages, upload};

/// Another sound.
pub const FLAC: &[u8] = b"fLaC\0\0\0\x22";

#[tokio::test(start_paused = true)]
async fn a_large_file_goes_by_the_storage() {
    let upstream = dashscope(|_, _| None).await;
    let parts_sent = vec![
        sound("", WAV),
        content::Kind::Image(picture(pb::image::Source::Data(PNG.into()))),
        sound("", WAV),
        content::Kind::Text("?".to_owned()),
    ];
    ask(&upstream, 8, parts_sent).await.unwrap();
    let expected = [
        Asked::Certificate,
        Asked::Storage,
        Asked::Storage,
        Asked::Storage,
        Asked::Model,
    ];
    assert_eq!(order(&upstream), expected);

    let seen = upstream.seen();
    assert_eq!(seen[0].method, "GET");
    assert_eq!(
        seen[0].path,
        "/api/v1/uploads?action=getPolicy&model=qwen-audio-turbo"
    );
    assert_eq!(seen[0].header("authorization"), Some("Bearer sk-canary"));
    let mut keys = Vec::new();
    for (request, (mime_type, file, extension)) in seen[1..4].iter().zip([
        ("audio/wav", WAV, ".wav"),
        ("image/png", PNG, ".png"),
        ("audio/wav", WAV, ".wav"),
    ]) {
        assert_eq!(
            request.header("authorization"),
            None,
            "the storage gets no key"
        );
        let form = form(request);
        let names: Vec<_> = form.parts.iter().map(|part| part.name.as_str()).collect();
        let expected = [
            "OSSAccessKeyId",
            "Signature",
            "policy",
            "key",
            "x-oss-object-acl",
            "x-oss-forbid-overwrite",
            "success_action_status",
            "x-oss-content-type",
            "file",
        ];
        assert_eq!(names, expected);
        assert_eq!(form.text("x-oss-content-type"), mime_type);
        assert_eq!(form.file(), file);
        let key = form.text("key").to_owned();
        assert!(key.starts_with(FOLDER) && key.ends_with(extension), "{key}");
        assert!(!keys.contains(&key), "{key} is there twice");
        keys.push(key);
    }
    let uri = |at: usize| format!("oss://{}", keys[at]);
    let expected = json!([
        {"audio": uri(0)}, {"image": uri(1)}, {"audio": uri(2)}, {"text": "?"},
    ]);
    assert_eq!(parts(&upstream), expected);
    assert_eq!(
        seen[4].header("x-dashscope-ossresourceresolve"),
        Some("enable")
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_used_until_it_expires() {
    let upstream = dashscope(|_, _| None).await;
    let mut settings = settings(&upstream);
    settings.upstream.inline_limit = 8;
    let gateway = gateway_with(settings).await;
    let certificates = || {
        let seen = order(&upstream);
        seen.into_iter()
            .filter(|asked| *asked == Asked::Certificate)
            .count()
    };

    ask_at(&gateway, vec![sound("", WAV)]).await.unwrap();
    ask_at(&gateway, vec![sound("", FLAC)]).await.unwrap();
    assert_eq!(certificates(), 1);

    // It holds for five minutes, and an upload needs some of that.
    tokio::time::sleep(Duration::from_secs(200)).await;
    ask_at(&gateway, vec![sound("", WAV)]).await.unwrap();
    assert_eq!(certificates(), 1);
    tokio::time::sleep(Duration::from_secs(95)).await;
    ask_at(&gateway, vec![sound("", WAV)]).await.unwrap();
    assert_eq!(certificates(), 2);

    // It is for one model.
    let other = ask_whole(conversation("qwen-vl-max", vec![sound("", WAV)]));
    gateway.conversation().converse(other).await.unwrap();
    assert_eq!(certificates(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_told_as_what_it_is() {
    for (status, code, grpc, reason, asked) in [
        (
            401,
            "InvalidApiKey",
            Code::FailedPrecondition,
            "UPSTREAM_CREDENTIAL",
            1,
        ),
        (
            403,
            "Workspace.AccessDenied",
            Code::FailedPrecondition,
            "UPSTREAM_PERMISSION",
            1,
        ),
        (
            429,
            "Throttling",
            Code::ResourceExhausted,
            "UPSTREAM_RATE",
            2,
        ),
        (
            500,
            "InternalError",
            Code::Unavailable,
            "UPSTREAM_INTERNAL",
            3,
        ),
    ] {
        let body = json!({"code": code, "message": "m", "request_id": "r"}).to_string();
        let upstream =
            dashscope(move |asked, _| (asked == Asked::Certificate).then(|| json(status, &body)))
                .await;
        let status = ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap_err();
        assert_fault(&status, grpc, reason);
        assert_eq!(order(&upstream), vec![Asked::Certificate; asked]);
    }
}

#[tokio::test(start_paused = true)]
async fn u26_a_certificate_that_the_storage_refuses_is_replaced_once() {
    let expired = || {
        refusal(
            403,
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
        )
    };
    let upstream =
        dashscope(move |asked, count| (asked == Asked::Storage && count == 0).then(expired)).await;
    ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap();
    let once = [Asked::Certificate, Asked::Storage];
    assert_eq!(
        order(&upstream),
        [&once[..], &once, &[Asked::Model]].concat()
    );

    let upstream = dashscope(move |asked, _| (asked == Asked::Storage).then(expired)).await;
    let status = ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
    assert!(!order(&upstream).contains(&Asked::Model));
}

#[tokio::test(start_paused = true)]
async fn u26_a_request_to_storage_that_fails_is_retried() {
    let failures = [
        refusal(500, "InternalError", "We encountered an internal error."),
        refusal(503, "ServiceUnavailable", "Please try again."),
        vec![Step::Close],
        vec![Step::Reset],
    ];
    for failure in failures {
        let once = failure.clone();
        let upstream = dashscope(move |asked, count| {
            (asked == Asked::Storage && count == 0).then(|| once.clone())
        })
        .await;
        ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap();
        assert_eq!(order(&upstream).last(), Some(&Asked::Model));

        let upstream =
            dashscope(move |asked, _| (asked == Asked::Storage).then(|| failure.clone())).await;
        let status = ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap_err();
        assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
        let stored = order(&upstream)
            .into_iter()
            .filter(|asked| *asked == Asked::Storage);
        assert_eq!(stored.count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_storage_finds_too_large_is_the_callers() {
    let upstream = dashscope(|asked, _| {
        (asked == Asked::Storage).then(|| refusal(400, "EntityTooLarge", "too large"))
    })
    .await;
    let status = ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LARGE");
    assert_eq!(order(&upstream), [Asked::Certificate, Asked::Storage]);
}

/// How often each was asked for.
pub fn counted(upstream: &Upstream) -> [usize; 3] {
    let order = order(upstream);
    [Asked::Certificate, Asked::Storage, Asked::Model]
        .map(|asked| order.iter().filter(|other| **other == asked).count())
}

pub fn refused(status: u16, code: &str, message: &str) -> Vec<Step> {
    let body = json!({"code": code, "message": message, "request_id": "up-9"});
    json(status, &body.to_string())
}

#[tokio::test(start_paused = true)]
async fn o2_a_storage_that_always_refuses_gets_three_requests_at_most() {
    for (code, message, grpc, reason, policies) in [
        (
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
            Code::Unavailable,
            "UPSTREAM_STORAGE",
            3,
        ),
        (
            "SignatureDoesNotMatch",
            "no",
            Code::FailedPrecondition,
            "UPSTREAM_PERMISSION",
            2,
        ),
        (
            "InvalidAccessKeyId",
            "no",
            Code::FailedPrecondition,
            "UPSTREAM_PERMISSION",
            2,
        ),
    ] {
        let upstream = dashscope(move |asked, _| {
            (asked == Asked::Storage).then(|| refusal(403, code, message))
        })
        .await;
        let status = ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap_err();
        assert_fault(&status, grpc, reason);
        let [asked, stored, model] = counted(&upstream);
        assert!(
            asked <= policies && stored <= 3 && model == 0,
            "{code} {asked} {stored}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn o3_u23_u24_an_upload_that_dashscope_cannot_read_is_made_anew_once() {
    for (status, code, message) in [
        (
            400,
            "InvalidParameter",
            "Failed to download multimodal content",
        ),
        (400, "InvalidParameter.DataInspection", "m"),
        (
            400,
            "InvalidParameter",
            "Don't have authorization to access the media resource",
        ),
    ] {
        let refusal = refused(status, code, message);
        let once = refusal.clone();
        let upstream = dashscope(move |asked, count| {
            (asked == Asked::Model && count == 0).then(|| once.clone())
        })
        .await;
        ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap();
        assert_eq!(counted(&upstream), [1, 2, 2], "{code}");

        let upstream =
            dashscope(move |asked, _| (asked == Asked::Model).then(|| refusal.clone())).await;
        let mut settings = settings(&upstream);
        settings.upstream.inline_limit = 8;
        settings.retry.max_attempts = 1;
        let gateway = gateway_with(settings).await;
        let status = ask_at(&gateway, vec![sound("", WAV)]).await.unwrap_err();
        // The caller gave no address that it could fix.
        assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
        assert!(!status.message().contains("uri"), "{status:?}");
        assert_eq!(counted(&upstream), [1, 2, 2], "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_by_storage_pauses_no_model() {
    for (status, code) in [
        (401, "InvalidApiKey"),
        (403, "Workspace.AccessDenied"),
        (400, "Arrearage"),
        (429, "Throttling"),
        (500, "InternalError"),
    ] {
        let upstream = dashscope(move |asked, _| {
            (asked == Asked::Certificate).then(|| refused(status, code, "m"))
        })
        .await;
        let mut settings = settings(&upstream);
        settings.upstream.inline_limit = 8;
        let gateway = gateway_with(settings).await;
        for _ in 0..12 {
            let text = vec![content::Kind::Text("?".to_owned())];
            ask_at(&gateway, vec![sound("", WAV)]).await.unwrap_err();
            ask_at(&gateway, text).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_that_a_key_may_not_make_say_nothing_about_the_models() {
    for (status, code, reason) in [
        (401, "InvalidApiKey", "UPSTREAM_CREDENTIAL"),
        (403, "Workspace.AccessDenied", "UPSTREAM_PERMISSION"),
        (403, "AccessDenied", "UPSTREAM_PERMISSION"),
    ] {
        let upstream = dashscope(move |asked, _| {
            (asked == Asked::Certificate).then(|| refused(status, code, "m"))
        })
        .await;
        let gateway = gateway(&upstream).await;
        for _ in 0..12 {
            let refused = upload(&gateway, messages(&file_of(1000), None)).await;
            assert_fault(&refused.unwrap_err(), Code::FailedPrecondition, reason);
            let text = vec![content::Kind::Text("?".to_owned())];
            ask_at(&gateway, text).await.unwrap();
        }
        assert_eq!(counted(&upstream), [12, 0, 12], "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_data_uri_that_is_too_large_is_stored_as_what_it_is() {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(WAV);
    let upstream = dashscope(|_, _| None).await;
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(format!("data:;base64,{text}"))),
        ..pb::Audio::default()
    };
    ask(&upstream, 8, vec![content::Kind::Audio(audio)])
        .await
        .unwrap();
    let form = form(&upstream.seen()[1]);
    assert_eq!(form.text("x-oss-content-type"), "audio/wav");
    assert!(form.text("key").ends_with(".wav"));
    assert_eq!(form.file(), WAV);
}
