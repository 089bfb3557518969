//! Upload policies: their members, and those that the storage refuses.

use serde_json::json;
use tonic::Code;

use crate::media::{WAV, ask, ask_at, sound};
use crate::response_forms::form;
use crate::storage::{Asked, asked, certificate, dashscope, order, refusal};
use crate::stored::{FLAC, counted};
use crate::support::*;
use crate::uploads::{MIB, file_of, messages, upload};

#[tokio::test(start_paused = true)]
async fn o1_u26_a_file_whose_policy_is_refused_is_sent_again_with_a_new_one() {
    for failure in [
        refusal(
            403,
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
        ),
        refusal(403, "SignatureDoesNotMatch", "no"),
        refusal(500, "InternalError", "no"),
        vec![Step::Reset],
    ] {
        let answer = failure.clone();
        let upstream = dashscope(move |asked, count| {
            (asked == Asked::Storage && count == 0).then(|| answer.clone())
        })
        .await;
        let gateway = gateway(&upstream).await;
        let file = file_of(300_000);
        let stored = upload(&gateway, messages(&file, None)).await.unwrap();
        assert_eq!(stored.size_bytes, 300_000, "{failure:?}");
        let seen = upstream.seen();
        assert!(
            form(seen.last().unwrap()).file() == file,
            "the bytes differ"
        );
        let is_refusal = failure.len() == 1 && failure != [Step::Reset];
        let policies = order(&upstream)
            .iter()
            .filter(|asked| **asked == Asked::Certificate)
            .count();
        assert!(policies <= 1 + usize::from(is_refusal), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn o1_a_file_that_is_too_large_to_be_kept_is_refused_and_the_next_one_has_a_new_policy() {
    let upstream = dashscope(move |asked, count| {
        (asked == Asked::Storage && count == 0).then(|| {
            refusal(
                403,
                "AccessDenied",
                "Invalid according to Policy: Policy expired.",
            )
        })
    })
    .await;
    let gateway = gateway(&upstream).await;
    let file = file_of(3 * MIB);
    let status = upload(&gateway, messages(&file, None)).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
    upload(&gateway, messages(&file, None)).await.unwrap();
    let twice = [Asked::Certificate, Asked::Storage].repeat(2);
    assert_eq!(order(&upstream), twice);
}

#[tokio::test(start_paused = true)]
async fn members_of_a_policy_may_have_another_type() {
    for (key, value) in [
        ("x_oss_forbid_overwrite", json!(true)),
        ("x_oss_forbid_overwrite", json!(null)),
        ("x_oss_object_acl", json!(null)),
        ("expire_in_seconds", json!("300")),
        ("max_file_size_mb", json!("100")),
        ("max_file_size_mb", json!(100.0)),
        ("capacity_limit_mb", json!({})),
    ] {
        let changed = value.clone();
        let upstream = Upstream::start(move |_, request| match asked(request) {
            Asked::Certificate => {
                let mut body = certificate(request.header("host").unwrap());
                body["data"][key] = changed.clone();
                json(200, &body.to_string())
            }
            Asked::Storage => http(200, "", b""),
            Asked::Model => json(200, &whole("好")),
        })
        .await;
        let mut settings = settings(&upstream);
        settings.upstream.inline_limit = 8;
        let gateway = gateway_with(settings).await;
        ask_at(&gateway, vec![sound("", WAV)]).await.unwrap();
        ask_at(&gateway, vec![sound("", FLAC)]).await.unwrap();
        assert_eq!(counted(&upstream), [1, 2, 2], "{key} {value}");
        let form = form(&upstream.seen()[1]);
        assert_eq!(form.text("x-oss-object-acl"), "private", "{key} {value}");
        assert_eq!(form.text("x-oss-forbid-overwrite"), "true", "{key} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_its_two_fields_is_used_as_the_storage_enforces_it() {
    let upstream = Upstream::start(|_, request| match asked(request) {
        Asked::Certificate => {
            let mut body = certificate(request.header("host").unwrap());
            let data = body["data"].as_object_mut().unwrap();
            data.remove("x_oss_object_acl");
            data.remove("x_oss_forbid_overwrite");
            json(200, &body.to_string())
        }
        Asked::Storage => http(200, "", b""),
        Asked::Model => json(200, &whole("好")),
    })
    .await;
    ask(&upstream, 8, vec![sound("", WAV)]).await.unwrap();
    let form = form(&upstream.seen()[1]);
    assert_eq!(form.text("x-oss-object-acl"), "private");
    assert_eq!(form.text("x-oss-forbid-overwrite"), "true");
}
