//! Media that DashScope cannot read although the gateway stored none of them.

use dashgate::grpc::pb::{self, content};
use tonic::Code;

use crate::media::{ask, ask_at, picture};
use crate::storage::{Asked, dashscope};
use crate::stored::{counted, refused};
use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_address_of_the_callers_that_cannot_be_read_is_named() {
    let refusal = refused(
        400,
        "InvalidParameter",
        "Failed to download multimodal content",
    );
    let upstream =
        dashscope(move |asked, _| (asked == Asked::Model).then(|| refusal.clone())).await;
    let uri = pb::image::Source::Uri("https://x.test/a.png".to_owned());
    let parts = vec![
        content::Kind::Text("?".to_owned()),
        content::Kind::Image(picture(uri)),
    ];
    let status = ask(&upstream, 8, parts).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "MEDIA_UNREACHABLE");
    let at = "conversation.messages[0].content[1].image.uri";
    assert_eq!(violations(&status), [at]);
    assert_eq!(counted(&upstream), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_medium_that_the_gateway_never_had_is_not_the_fault_of_a_storage() {
    let refusal = refused(
        400,
        "InvalidParameter.DataInspection",
        "Unable to download the media resource during the data inspection process.",
    );
    let upstream =
        dashscope(move |asked, _| (asked == Asked::Model).then(|| refusal.clone())).await;
    let gateway = gateway_with(settings(&upstream)).await;
    let text = || vec![content::Kind::Text("m09".to_owned())];
    let status = ask_at(&gateway, text()).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "MEDIA_UNREACHABLE");
    let none: [&str; 0] = [];
    assert_eq!(violations(&status), none);

    use prost_types::value::Kind;
    let object = |key: &str, kind| prost_types::Struct {
        fields: [(key.to_owned(), prost_types::Value { kind: Some(kind) })].into(),
    };
    let url = object("url", Kind::StringValue("https://x.test/a".to_owned()));
    let extra = object("image_url", Kind::StructValue(url));
    let mut question = ask_whole(conversation("qwen-audio-turbo", text()));
    let message = &mut question.conversation.as_mut().unwrap().messages[0];
    message.content.push(pb::Content {
        extra: Some(extra),
        ..pb::Content::default()
    });
    let status = gateway.conversation().converse(question).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "MEDIA_UNREACHABLE");
    let at = "conversation.messages[0].content[1].extra.image_url.url";
    assert_eq!(violations(&status), [at]);
    assert_eq!(attempts(&status), "1");
}
