//! U24: files in DashScope's storage that are gone. What a call brought as bytes is stored anew;
//! what was uploaded before is refused with its field, without a call where the gateway knows.

use std::time::Duration;

use dashgate::grpc::pb::{self, content};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::media::{WAV, ask_at, sound};
use crate::storage::{Asked, dashscope};
use crate::stored::{counted, refused};
use crate::support::*;
use crate::uploads::{messages, upload};

const HOUR: Duration = Duration::from_secs(60 * 60);

const AT: &str = "conversation.messages[0].content[0].audio.uri";

fn at(uri: &str) -> content::Kind {
    content::Kind::Audio(pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.to_owned())),
        ..pb::Audio::default()
    })
}

fn description(status: &Status) -> String {
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations[0].description.clone()
}

#[tokio::test(start_paused = true)]
async fn u24_an_upload_of_two_days_ago_is_refused_without_a_call() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let stored = upload(&gateway, messages(b"abc", None)).await.unwrap();
    tokio::time::sleep(47 * HOUR).await;
    ask_at(&gateway, vec![at(&stored.uri)]).await.unwrap();
    assert_eq!(counted(&upstream), [1, 1, 1]);

    tokio::time::sleep(2 * HOUR).await;
    let status = ask_at(&gateway, vec![at(&stored.uri)]).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "MEDIA_EXPIRED");
    assert_eq!(violations(&status), [AT]);
    assert_eq!(attempts(&status), "0");
    let said = description(&status);
    assert!(
        said.starts_with("expired at 20") && said.contains("upload"),
        "{said}"
    );
    assert!(status.message().contains(AT), "{status:?}");
    assert_eq!(counted(&upstream), [1, 1, 1], "DashScope is not asked");

    // The same in a stream, and what is uploaded anew can be read.
    let call = ask_stream(conversation("qwen-vl-max", vec![at(&stored.uri)]));
    let status = gateway.conversation().converse_stream(call).await;
    assert_fault(
        &status.unwrap_err(),
        Code::FailedPrecondition,
        "MEDIA_EXPIRED",
    );
    let stored = upload(&gateway, messages(b"abc", None)).await.unwrap();
    ask_at(&gateway, vec![at(&stored.uri)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn u24_what_dashscope_no_longer_has_is_named() {
    for (status, code, message, reason) in [
        (
            403,
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
            "MEDIA_EXPIRED",
        ),
        (
            400,
            "InvalidParameter",
            "Don't have authorization to access the media resource",
            "MEDIA_EXPIRED",
        ),
        (
            400,
            "InvalidParameter",
            "Failed to download multimodal content",
            "MEDIA_UNREACHABLE",
        ),
    ] {
        let refusal = refused(status, code, message);
        let upstream =
            dashscope(move |asked, _| (asked == Asked::Model).then(|| refusal.clone())).await;
        let gateway = gateway(&upstream).await;
        // Another replica stored it: only DashScope knows that it is gone.
        let parts = vec![at("oss://dashscope-instant/a/b/c.wav")];
        let status = ask_at(&gateway, parts).await.unwrap_err();
        assert_fault(&status, Code::FailedPrecondition, reason);
        assert_eq!(violations(&status), [AT]);
        assert_eq!(counted(&upstream), [0, 0, 1], "nothing is asked twice");
        let said = description(&status);
        assert!(
            said.contains("48 hours") && said.contains("upload"),
            "{said}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn u24_bytes_of_a_stream_are_stored_anew_once() {
    let event = "event:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\
                 \"Don't have authorization to access the media resource\"}\n\n";
    for answers in [1, 2] {
        let upstream = dashscope(move |asked, count| {
            let steps = match count < answers {
                true => vec![sse(), piece(event)],
                false => vec![sse(), piece(frame(1, "好", "stop")), end()],
            };
            (asked == Asked::Model).then_some(steps)
        })
        .await;
        let mut settings = settings(&upstream);
        settings.upstream.inline_limit = 8;
        settings.retry.max_attempts = 1;
        let gateway = gateway_with(settings).await;
        let call = ask_stream(conversation("qwen-audio-turbo", vec![sound("", WAV)]));
        let outcome = gateway.conversation().converse_stream(call).await;
        assert_eq!(counted(&upstream), [1, 2, 2], "{answers}");
        match (answers, outcome) {
            (1, outcome) => {
                let events: Vec<_> = outcome.unwrap().into_inner().collect().await;
                assert_eq!(texts(&events), ["好"]);
            }
            (_, outcome) => {
                let status = outcome.unwrap_err();
                assert_fault(&status, Code::Unavailable, "UPSTREAM_STORAGE");
                assert!(violations(&status).is_empty(), "{status:?}");
            }
        }
    }
}
