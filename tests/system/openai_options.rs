//! Options that no server may ignore without a word, and keys that must not be written twice.

use dashgate::config::ServerKind::{DashScopeCompatible, OpenAi, SglangOmni, Vllm};
use dashgate::grpc::pb::{self, audio, content, image};
use prost_types::value::Kind;
use serde_json::json;

use crate::openai_requests::{JPEG, WAV, audio, content_of, frames, picture, sent, text};
use crate::support::*;

fn object(fields: &[(&str, Kind)]) -> prost_types::Struct {
    let value = |kind: &Kind| prost_types::Value {
        kind: Some(kind.clone()),
    };
    let fields = fields.iter();
    prost_types::Struct {
        fields: fields
            .map(|(key, kind)| ((*key).to_owned(), value(kind)))
            .collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_of_the_caller_and_the_gateway_are_one_object() {
    let options = pb::GenerationOptions {
        thinking: Some(pb::ThinkingOptions {
            enabled: Some(false),
            ..pb::ThinkingOptions::default()
        }),
        extra_parameters: Some(object(&[
            (
                "chat_template_kwargs",
                Kind::StructValue(object(&[("a", Kind::BoolValue(true))])),
            ),
            (
                "mm_processor_kwargs",
                Kind::StructValue(object(&[("use_audio_in_video", Kind::BoolValue(true))])),
            ),
        ])),
        ..pb::GenerationOptions::default()
    };
    let video = pb::Video {
        source: Some(pb::video::Source::Uri("https://x.test/v.mp4".to_owned())),
        fps: Some(2.0),
        ..pb::Video::default()
    };
    for (part, processor) in [
        (
            content::Kind::Video(video),
            json!({"fps": 2, "use_audio_in_video": true}),
        ),
        (text("?"), json!({"use_audio_in_video": true})),
    ] {
        let request = pb::ConverseRequest {
            options: Some(Box::new(options.clone())),
            ..ask_whole(conversation("m", vec![part]))
        };
        let (seen, answer) = sent(Vllm, request).await.unwrap();
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        assert_eq!(text.matches("mm_processor_kwargs").count(), 1, "{text}");
        assert_eq!(text.matches("chat_template_kwargs").count(), 1, "{text}");
        let body = seen.json();
        assert_eq!(body["mm_processor_kwargs"], processor);
        assert_eq!(
            body["chat_template_kwargs"],
            json!({"a": true, "enable_thinking": false})
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_option_is_sent_or_warned_of() {
    let tokens = |tokens: &[i32]| pb::TokenSequence {
        token_ids: tokens.to_vec(),
    };
    let request = |options: pb::GenerationOptions| pb::ConverseRequest {
        options: Some(Box::new(options)),
        ..ask_whole(conversation("m", vec![text("?")]))
    };
    let options = pb::GenerationOptions {
        tool_stream: Some(true),
        result_format: Some("text".to_owned()),
        stop_token_ids: vec![tokens(&[7]), tokens(&[8, 9])],
        ..pb::GenerationOptions::default()
    };
    for (kind, stops) in [(Vllm, json!([7])), (OpenAi, json!(null))] {
        let (seen, answer) = sent(kind, request(options.clone())).await.unwrap();
        // Each token of a sequence alone would end the answer too early.
        assert_eq!(seen.json()["stop_token_ids"], stops);
        let mut warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
        warned.sort_unstable();
        let expected = [
            "options.result_format",
            "options.stop_token_ids",
            "options.tool_stream",
        ];
        assert_eq!(warned, expected, "{kind:?}");
    }
    // The form that every answer has.
    let message = pb::GenerationOptions {
        result_format: Some("message".to_owned()),
        ..pb::GenerationOptions::default()
    };
    let (_, answer) = sent(DashScopeCompatible, request(message)).await.unwrap();
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
}

#[tokio::test(start_paused = true)]
async fn media_beside_the_messages_are_as_strict_as_others() {
    let sound = || audio(audio::Source::Data(WAV.into()));
    for (parts, expected) in [
        (vec![sound()], json!("")),
        (vec![sound(), text("?")], json!("?")),
        (vec![text("?"), sound()], json!("?")),
    ] {
        let sent = content_of(SglangOmni, parts).await.unwrap();
        assert_eq!(
            (&sent[0], sent[1].as_array().unwrap().len()),
            (&expected, 1)
        );
    }
    let stored = audio(audio::Source::Uri("oss://bucket/a.wav".to_owned()));
    let status = content_of(SglangOmni, vec![text("?"), stored])
        .await
        .unwrap_err();
    assert_eq!(
        violations(&status),
        ["conversation.messages[0].content[1].audio.uri"]
    );
    assert!(status.message().contains("temporary storage"), "{status:?}");
    let image = pb::Image {
        max_pixels: Some(99_999),
        ..picture(image::Source::Data(JPEG.into()))
    };
    let parts = vec![text("?"), content::Kind::Image(image)];
    let (seen, answer) = sent(SglangOmni, ask_whole(conversation("m", parts)))
        .await
        .unwrap();
    assert_eq!(seen.json()["images"].as_array().unwrap().len(), 1);
    let warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
    assert_eq!(
        warned,
        ["conversation.messages[0].content[1].image.max_pixels"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_of_sampling_alone_is_sent_nothing_else() {
    let tool = pb::Tool {
        kind: Some(pb::tool::Kind::Function(pb::FunctionTool {
            name: "now".to_owned(),
            ..pb::FunctionTool::default()
        })),
    };
    let mut conversation = conversation("m", vec![text("?")]);
    conversation.tools = vec![tool];
    let request = pb::ConverseRequest {
        options: Some(Box::new(pb::GenerationOptions {
            temperature: Some(0.5),
            presence_penalty: Some(1.0),
            logprobs: Some(true),
            top_logprobs: Some(2),
            ..pb::GenerationOptions::default()
        })),
        ..ask_whole(conversation)
    };
    let (seen, answer) = sent(SglangOmni, request).await.unwrap();
    let body = seen.json();
    assert_eq!(body["temperature"], 0.5);
    for key in ["presence_penalty", "logprobs", "top_logprobs", "tools"] {
        assert!(body.get(key).is_none(), "{body}");
    }
    let mut warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
    warned.sort_unstable();
    let expected = [
        "conversation.tools",
        "options.logprobs",
        "options.presence_penalty",
        "options.top_logprobs",
    ];
    assert_eq!(warned, expected);
}

#[tokio::test(start_paused = true)]
async fn options_of_videos_are_keys_of_the_request() {
    let video = |fps: f64| {
        content::Kind::Video(pb::Video {
            source: Some(pb::video::Source::Uri("https://x.test/v.mp4".to_owned())),
            fps: Some(fps),
            max_frames: Some(8),
            ..pb::Video::default()
        })
    };
    let request = ask_whole(conversation("m", vec![video(2.0), video(4.0), text("?")]));
    let (seen, answer) = sent(SglangOmni, request).await.unwrap();
    let body = seen.json();
    assert_eq!(
        (&body["video_fps"], &body["video_max_frames"]),
        (&json!(2), &json!(8))
    );
    assert!(body.get("mm_processor_kwargs").is_none());
    assert_eq!(body["videos"].as_array().unwrap().len(), 2);
    let warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
    assert_eq!(warned, ["conversation.messages[0].content[1].video.fps"]);
    let frames = frames(vec![picture(image::Source::Data(JPEG.into())); 2]);
    let status = content_of(SglangOmni, vec![frames]).await.unwrap_err();
    let field = "conversation.messages[0].content[0].video.frames";
    assert_eq!(violations(&status), [field]);
}
