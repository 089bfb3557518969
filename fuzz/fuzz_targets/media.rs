//! Any bytes as a medium without a MIME type: it is refused, or goes to DashScope as a `data:` URI
//! of a type that fits its kind, with the same bytes in it.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use dashgate::chat::call::Delivery;
use dashgate::dashscope::DashScope;
use dashgate::grpc::pb::{self, audio, content, image, video};
use dashgate_fuzz::{base64, requests, statuses};
use libfuzzer_sys::fuzz_target;

static DASHSCOPE: LazyLock<DashScope> = LazyLock::new(requests::dashscope);

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let audio = pb::Audio {
        source: Some(audio::Source::Data(bytes.clone())),
        ..pb::Audio::default()
    };
    let image = pb::Image {
        source: Some(image::Source::Data(bytes.clone())),
        ..pb::Image::default()
    };
    let video = pb::Video {
        source: Some(video::Source::Data(bytes.clone())),
        ..pb::Video::default()
    };
    // What may stand in a container of several kinds is named after the kind that was asked for.
    for (key, types, kind) in [
        (
            "audio",
            &["audio/", "video/"][..],
            content::Kind::Audio(audio),
        ),
        ("image", &["image/"], content::Kind::Image(image)),
        ("video", &["video/"], content::Kind::Video(video)),
    ] {
        let call = match requests::call(asking(kind), Delivery::Whole) {
            Ok(call) => call,
            Err(error) => {
                statuses::check(&error);
                continue;
            }
        };
        let prepared = match requests::prepare(&DASHSCOPE, &call) {
            Ok(prepared) => prepared,
            Err(error) => {
                statuses::check(&error);
                continue;
            }
        };
        let body = requests::body(&prepared);
        let uri = body["input"]["messages"][0]["content"][0][key].as_str();
        let uri = uri.expect("a medium is an address");
        let (mime_type, text) = uri
            .strip_prefix("data:")
            .expect("inline")
            .split_once(";base64,")
            .expect("base64");
        assert!(
            types.iter().any(|kind| mime_type.starts_with(kind)),
            "{mime_type}"
        );
        assert_eq!(base64::decode(text).as_deref(), Some(data));
    }
});

fn asking(kind: content::Kind) -> pb::ConverseRequest {
    let part = pb::Content {
        kind: Some(kind),
        ..pb::Content::default()
    };
    let message = pb::Message {
        role: pb::Role::User.into(),
        content: vec![part],
        ..pb::Message::default()
    };
    pb::ConverseRequest {
        conversation: Some(pb::Conversation {
            model: "qwen3-omni-flash".to_owned(),
            messages: vec![message],
            ..pb::Conversation::default()
        }),
        ..pb::ConverseRequest::default()
    }
}
