//! Policies that the storage refuses: an upload asks for a new one.

use tonic::Code;

use crate::response_forms::form;
use crate::storage::{Asked, dashscope, order, refusal};
use crate::support::*;
use crate::uploads::{MIB, film, messages, upload};

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
        let file = film(300_000);
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
    let file = film(3 * MIB);
    let status = upload(&gateway, messages(&file, None)).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
    upload(&gateway, messages(&file, None)).await.unwrap();
    let twice = [Asked::Certificate, Asked::Storage].repeat(2);
    assert_eq!(order(&upstream), twice);
}
