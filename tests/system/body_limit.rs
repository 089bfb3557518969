//! The request body as a whole has a limit, and a model that fails when it is asked for a whole
//! answer is asked for a stream.

use dashgate::grpc::pb::{self, content};
use tonic::Code;

use crate::media::{PNG, ask_at, picture};
use crate::response_forms::form;
use crate::storage::{Asked, asked, dashscope};
use crate::stored::{counted, refused};
use crate::support::*;

/// A picture of this many bytes.
fn large(size: usize) -> content::Kind {
    let mut bytes = PNG.to_vec();
    bytes.resize(size, 0);
    content::Kind::Image(picture(pb::image::Source::Data(bytes.into())))
}

#[tokio::test(start_paused = true)]
async fn the_largest_media_are_stored_until_the_body_fits() {
    let ask = async |upstream: &Upstream, parts: Vec<content::Kind>, limit: usize| {
        let mut settings = settings(upstream);
        settings.upstream.max_request_bytes = 1 << 20;
        settings.models.max_request_bytes = vec![("qwen-audio*".to_owned(), limit)];
        let gateway = gateway_with(settings).await;
        ask_at(&gateway, parts).await
    };
    for (sizes, limit, stored) in [
        (vec![20_000, 40_000, 10_000], 200_000, vec![]),
        (vec![20_000, 40_000, 10_000], 70_000, vec![40_000]),
        (vec![20_000, 40_000, 10_000], 20_000, vec![20_000, 40_000]),
    ] {
        let upstream = dashscope(|_, _| None).await;
        let parts = sizes.iter().map(|size| large(*size)).collect();
        ask(&upstream, parts, limit).await.unwrap();
        let seen = upstream.seen();
        let files: Vec<_> = seen
            .iter()
            .filter(|seen| asked(seen) == Asked::Storage)
            .map(|seen| form(seen).file().len())
            .collect();
        assert_eq!(files, stored);
        assert!(seen.last().unwrap().body.len() <= limit);
    }
    // A storage that takes nothing keeps nobody from asking: DashScope has the last word.
    let upstream = dashscope(|asked, _| {
        (asked == Asked::Certificate).then(|| refused(401, "InvalidApiKey", "m"))
    })
    .await;
    ask(&upstream, vec![large(60_000)], 70_000).await.unwrap();
    assert_eq!(counted(&upstream), [1, 0, 1]);
    // Text cannot be stored, so nothing is stored beside it in vain.
    let upstream = dashscope(|_, _| None).await;
    let text = content::Kind::Text("x".repeat(100_000));
    let status = ask(&upstream, vec![text, large(10)], 70_000)
        .await
        .unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LARGE");
    assert_eq!(violations(&status), ["conversation.messages"]);
    assert_eq!(counted(&upstream), [0, 0, 0]);
}

// Time is not paused: it would pass while megabytes are on their way through the sockets.
#[tokio::test]
async fn as_much_is_stored_by_default_as_the_limit_of_dashscope_needs() {
    const LIMIT: usize = 6_291_456;
    const SIZE: usize = 4 << 20;
    let images = || vec![large(SIZE), large(SIZE)];
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    ask_at(&gateway, images()).await.unwrap();
    // One in the storage is enough: the other is 5592408 bytes of base64.
    assert_eq!(counted(&upstream), [1, 1, 1]);
    let body = upstream.seen().pop().unwrap().body.len();
    assert!((SIZE / 3 * 4..=LIMIT).contains(&body), "{body}");

    let upstream = dashscope(|_, _| None).await;
    let mut settings = settings(&upstream);
    settings.models.max_request_bytes = vec![("qwen-audio*".to_owned(), 16_777_216)];
    let gateway = gateway_with(settings).await;
    ask_at(&gateway, images()).await.unwrap();
    assert_eq!(counted(&upstream), [0, 0, 1]);
    let body = upstream.seen().pop().unwrap().body.len();
    assert!(body > 2 * (SIZE / 3 * 4), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dashscope_finds_too_large_is_sent_again_without_media_in_it() {
    let too_large = || {
        refused(
            400,
            "InvalidParameter",
            "Exceeded limit on max bytes to request body : 6291456",
        )
    };
    let upstream =
        dashscope(move |asked, count| (asked == Asked::Model && count == 0).then(too_large)).await;
    let gateway = gateway(&upstream).await;
    ask_at(&gateway, vec![large(4000), large(4000)])
        .await
        .unwrap();
    assert_eq!(counted(&upstream), [1, 2, 2]);

    let upstream = dashscope(move |asked, _| (asked == Asked::Model).then(too_large)).await;
    let gateway = crate::support::gateway(&upstream).await;
    let status = ask_at(&gateway, vec![large(4000)]).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LARGE");
    assert_eq!(counted(&upstream), [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_a_unary_request_gets_a_stream_and_that_is_remembered() {
    let upstream = Upstream::start(|_, seen| match seen.header("x-dashscope-sse") {
        None => refused(500, "InternalError", "An internal error has occured"),
        Some(_) => vec![sse(), piece(frame(1, "好", "stop")), end()],
    })
    .await;
    let gateway = gateway(&upstream).await;
    let text = || vec![content::Kind::Text("?".to_owned())];
    ask_at(&gateway, text()).await.unwrap();
    // No more attempts than any other call may make.
    assert_eq!(upstream.seen().len(), 3);
    for asked in 4..8 {
        ask_at(&gateway, text()).await.unwrap();
        assert_eq!(upstream.seen().len(), asked);
    }
    // A model that fails both ways says so as before.
    let upstream = Upstream::start(|_, seen| match seen.header("x-dashscope-sse") {
        None => refused(500, "InternalError", "m"),
        Some(_) => refused(400, "InvalidParameter", "does not support stream"),
    })
    .await;
    let gateway = crate::support::gateway(&upstream).await;
    let status = ask_at(&gateway, text()).await.unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_INTERNAL");
    assert_eq!(upstream.seen().len(), 3);
}
