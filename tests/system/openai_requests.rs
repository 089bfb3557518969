//! Requests to OpenAI-style servers: what each kind is sent, and what is refused or warned of.

use dashgate::config::ServerKind::{self, DashScopeCompatible, OpenAi, Sglang, SglangOmni, Vllm};
use dashgate::grpc::pb::{self, audio, content, image};
use serde_json::{Value, json};

use crate::openai_answers::{chunk, events, settings_of};
use crate::support::*;

pub(crate) const WAV: &[u8] = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\
    \x02\0\x10\0data\x04\0\0\0\0\0\0\0";
pub(crate) const JPEG: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0];

pub(crate) fn text(text: &str) -> content::Kind {
    content::Kind::Text(text.to_owned())
}

pub(crate) fn audio(source: audio::Source) -> content::Kind {
    content::Kind::Audio(pb::Audio {
        source: Some(source),
        ..pb::Audio::default()
    })
}

pub(crate) fn picture(source: image::Source) -> pb::Image {
    pb::Image {
        source: Some(source),
        ..pb::Image::default()
    }
}

pub(crate) fn frames(frames: Vec<pb::Image>) -> content::Kind {
    content::Kind::Video(pb::Video {
        source: Some(pb::video::Source::Frames(pb::VideoFrames { frames })),
        ..pb::Video::default()
    })
}

/// What a server of this kind is sent for a call, and the answer.
pub(crate) async fn sent(
    kind: ServerKind,
    request: pb::ConverseRequest,
) -> Result<(Seen, pb::ConverseResponse), tonic::Status> {
    let answer = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "ok"}}]});
    let upstream = Upstream::always(json(200, &answer.to_string())).await;
    let gateway = gateway_with(settings_of(kind, &upstream)).await;
    let mut client = gateway.conversation();
    let answer = client.converse(request).await?.into_inner();
    Ok((upstream.seen().remove(0), answer))
}

pub(crate) async fn content_of(
    kind: ServerKind,
    parts: Vec<content::Kind>,
) -> Result<Value, tonic::Status> {
    let (seen, answer) = sent(kind, ask_whole(conversation("m", parts))).await?;
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.path, "/v1/chat/completions");
    let body = seen.json();
    assert_eq!(body["model"], "m");
    assert!(body.get("stream").is_none());
    let content = body["messages"][0]["content"].clone();
    Ok(match kind {
        SglangOmni => json!([content, body["audios"], body["images"], body["videos"]]),
        _ => content,
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(start_paused = true)]
async fn each_kind_gets_media_in_its_own_form() {
    let wav = base64(WAV);
    let jpeg = base64(JPEG);
    let bytes = || audio(audio::Source::Data(WAV.into()));
    let url = || audio(audio::Source::Uri("https://x.test/a.mp3".to_owned()));
    let uri = || audio(audio::Source::Uri(format!("data:audio/wav;base64,{wav}")));
    let shown = || content::Kind::Image(picture(image::Source::Data(JPEG.into())));
    let two = || frames(vec![picture(image::Source::Data(JPEG.into())); 2]);
    let wav_uri = format!("data:audio/wav;base64,{wav}");
    let jpeg_uri = format!("data:image/jpeg;base64,{jpeg}");
    let of_url = |kind: &str, url: &str| json!({"type": kind, kind: {"url": url}});
    let input = |data: &str, format: &str| {
        json!({"type": "input_audio",
        "input_audio": {"data": data, "format": format}})
    };
    let frames_uri = format!("data:video/jpeg;base64,{jpeg},{jpeg}");
    for (kind, part, expected) in [
        (OpenAi, bytes(), input(&wav, "wav")),
        (OpenAi, uri(), input(&wav, "wav")),
        (OpenAi, shown(), of_url("image_url", &jpeg_uri)),
        (Vllm, bytes(), of_url("audio_url", &wav_uri)),
        (Vllm, uri(), of_url("audio_url", &wav_uri)),
        (Vllm, url(), of_url("audio_url", "https://x.test/a.mp3")),
        (Vllm, shown(), of_url("image_url", &jpeg_uri)),
        (Vllm, two(), of_url("video_url", &frames_uri)),
        (Sglang, bytes(), of_url("audio_url", &wav_uri)),
        (
            DashScopeCompatible,
            bytes(),
            input(&format!("data:;base64,{wav}"), "wav"),
        ),
        (
            DashScopeCompatible,
            url(),
            input("https://x.test/a.mp3", "mp3"),
        ),
        (
            DashScopeCompatible,
            two(),
            json!({"type": "video", "video": [jpeg_uri, jpeg_uri]}),
        ),
    ] {
        let content = content_of(kind, vec![part, text("?")]).await.unwrap();
        let expected = json!([expected, {"type": "text", "text": "?"}]);
        assert_eq!(content, expected, "{kind:?}");
    }
    let lists = content_of(SglangOmni, vec![bytes(), shown(), text("?")])
        .await
        .unwrap();
    assert_eq!(lists, json!(["?", [wav_uri], [jpeg_uri], null]));
}

#[tokio::test(start_paused = true)]
async fn media_that_a_kind_cannot_be_sent_are_refused_with_their_field() {
    let stored = || audio(audio::Source::Uri("oss://bucket/a.wav".to_owned()));
    let url = || audio(audio::Source::Uri("https://x.test/a.wav".to_owned()));
    let two = || frames(vec![picture(image::Source::Data(JPEG.into())); 2]);
    let far = || {
        frames(vec![picture(image::Source::Uri(
            "https://x.test/1.jpg".to_owned(),
        ))])
    };
    for (kind, part, field) in [
        (OpenAi, url(), "audio.uri"),
        (OpenAi, stored(), "audio.uri"),
        (Vllm, stored(), "audio.uri"),
        (OpenAi, two(), "video.frames"),
        (Sglang, two(), "video.frames"),
        (Vllm, far(), "video.frames.frames[0]"),
    ] {
        let status = content_of(kind, vec![part]).await.unwrap_err();
        assert_fault(&status, tonic::Code::InvalidArgument, "INVALID_REQUEST");
        let expected = format!("conversation.messages[0].content[0].{field}");
        assert_eq!(violations(&status), [expected], "{kind:?}");
        assert!(!status.message().contains("DashScope does"), "{status:?}");
    }
    let (seen, _) = sent(
        DashScopeCompatible,
        ask_whole(conversation("m", vec![stored()])),
    )
    .await
    .unwrap();
    assert_eq!(
        seen.header("x-dashscope-ossresourceresolve"),
        Some("enable")
    );
}

fn all_options() -> pb::GenerationOptions {
    pb::GenerationOptions {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(3),
        seed: Some(7),
        max_tokens: Some(9),
        repetition_penalty: Some(1.5),
        stop: vec!["x".to_owned()],
        enable_search: Some(true),
        thinking: Some(pb::ThinkingOptions {
            enabled: Some(true),
            budget_tokens: Some(100),
            ..pb::ThinkingOptions::default()
        }),
        asr_options: Some(pb::AsrOptions {
            language: Some("en".to_owned()),
            ..pb::AsrOptions::default()
        }),
        modalities: vec!["text".to_owned(), "audio".to_owned()],
        audio: Some(pb::AudioOutput {
            voice: Some("Cherry".to_owned()),
            ..pb::AudioOutput::default()
        }),
        ..pb::GenerationOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_gets_the_options_that_it_has_and_warns_of_the_others() {
    let extensions = ["options.top_k", "options.repetition_penalty"];
    let of_dashscope = [
        "options.thinking.budget_tokens",
        "options.enable_search",
        "options.asr_options",
    ];
    for kind in ServerKind::ALL {
        let request = pb::ConverseRequest {
            options: Some(Box::new(all_options())),
            ..ask_whole(conversation("m", vec![text("?")]))
        };
        let (seen, answer) = sent(kind, request).await.unwrap();
        let body = seen.json();
        assert_eq!(body["temperature"], 0.5);
        assert_eq!((&body["seed"], &body["max_tokens"]), (&json!(7), &json!(9)));
        assert_eq!(body["stop"], json!(["x"]));
        assert_eq!(body["modalities"], json!(["text", "audio"]));
        let has_extensions = kind != OpenAi;
        assert_eq!(body.get("top_k").is_some(), has_extensions, "{kind:?}");
        assert_eq!(body.get("repetition_penalty").is_some(), has_extensions);
        let is_dashscope = kind == DashScopeCompatible;
        for key in [
            "enable_thinking",
            "thinking_budget",
            "enable_search",
            "asr_options",
        ] {
            assert_eq!(body.get(key).is_some(), is_dashscope, "{kind:?} {key}");
        }
        let voice = match kind {
            DashScopeCompatible | OpenAi => json!({"voice": "Cherry", "format": "wav"}),
            Vllm | Sglang | SglangOmni => json!({"voice": "Cherry"}),
        };
        assert_eq!(body["audio"], voice);
        let template = &body["chat_template_kwargs"];
        let expected = match kind {
            Vllm | Sglang => json!({"enable_thinking": true}),
            OpenAi | SglangOmni | DashScopeCompatible => Value::Null,
        };
        assert_eq!(*template, expected, "{kind:?}");
        let mut expected: Vec<&str> = match kind {
            DashScopeCompatible => Vec::new(),
            OpenAi => [
                &extensions[..],
                &["options.thinking.enabled"],
                &of_dashscope,
            ]
            .concat(),
            SglangOmni => [&["options.thinking.enabled"], &of_dashscope[..]].concat(),
            Vllm | Sglang => of_dashscope.to_vec(),
        };
        let mut warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
        warned.sort_unstable();
        expected.sort_unstable();
        assert_eq!(warned, expected, "{kind:?}");
        assert!(answer.warnings.iter().all(|w| w.code == "OPTION_IGNORED"));
    }
}

#[tokio::test(start_paused = true)]
async fn processing_options_are_of_the_part_or_of_the_request() {
    let image = pb::Image {
        min_pixels: Some(3136),
        max_pixels: Some(99_999),
        ..picture(image::Source::Data(JPEG.into()))
    };
    let video = pb::Video {
        source: Some(pb::video::Source::Uri("https://x.test/v.mp4".to_owned())),
        fps: Some(2.0),
        max_frames: Some(8),
        ..pb::Video::default()
    };
    let parts = || {
        vec![
            content::Kind::Image(image.clone()),
            content::Kind::Video(video.clone()),
        ]
    };
    for kind in [Vllm, Sglang, DashScopeCompatible] {
        let (seen, answer) = sent(kind, ask_whole(conversation("m", parts())))
            .await
            .unwrap();
        let body = seen.json();
        let content = &body["messages"][0]["content"];
        let warned: Vec<_> = answer.warnings.iter().map(|w| &*w.field).collect();
        let at =
            |part: usize, rest: &str| format!("conversation.messages[0].content[{part}].{rest}");
        match kind {
            Vllm => {
                let options = json!({"min_pixels": 3136, "max_pixels": 99_999, "fps": 2});
                assert_eq!(body["mm_processor_kwargs"], options);
                assert_eq!(warned, [at(1, "video.max_frames")]);
            }
            DashScopeCompatible => {
                assert_eq!(content[0]["max_pixels"], 99_999);
                assert_eq!(
                    (&content[1]["fps"], &content[1]["max_frames"]),
                    (&json!(2), &json!(8))
                );
                assert!(warned.is_empty(), "{warned:?}");
            }
            _ => assert_eq!(warned.len(), 4, "{warned:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_voice_has_the_format_that_its_server_streams() {
    for (kind, format) in [
        (OpenAi, json!("pcm16")),
        (DashScopeCompatible, json!("wav")),
        (Vllm, Value::Null),
    ] {
        let bodies = [chunk(&json!({"content": "ok"}), json!("stop"))];
        let upstream = Upstream::always(events(&bodies)).await;
        let gateway = gateway_with(settings_of(kind, &upstream)).await;
        let mut client = gateway.conversation();
        let request = pb::ConverseStreamRequest {
            options: Some(Box::new(all_options())),
            ..ask_stream(conversation("m", vec![text("?")]))
        };
        let mut answer = client.converse_stream(request).await.unwrap().into_inner();
        while answer.message().await.unwrap().is_some() {}
        let body = upstream.seen().remove(0).json();
        assert_eq!(body["audio"]["format"], format, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_asks_for_its_counts_and_keys_stay_where_they_belong() {
    for kind in ServerKind::ALL {
        let bodies = [chunk(&json!({"content": "ok"}), json!("stop"))];
        let upstream = Upstream::always(events(&bodies)).await;
        let gateway = gateway_with(settings_of(kind, &upstream)).await;
        let mut client = gateway.conversation();
        let mut request = tonic::Request::new(ask_stream(conversation("m", vec![text("?")])));
        request
            .metadata_mut()
            .insert("x-dashscope-workspace", "ws".parse().unwrap());
        let mut answer = client.converse_stream(request).await.unwrap().into_inner();
        while answer.message().await.unwrap().is_some() {}
        let seen = upstream.seen().remove(0);
        let body = seen.json();
        assert_eq!(body["stream"], true);
        assert_eq!(body["stream_options"], json!({"include_usage": true}));
        let is_dashscope = kind == DashScopeCompatible;
        let key = is_dashscope.then_some("Bearer sk-canary");
        assert_eq!(seen.header("authorization"), key, "{kind:?}");
        let workspace = is_dashscope.then_some("ws");
        assert_eq!(seen.header("x-dashscope-workspace"), workspace, "{kind:?}");
        assert_eq!(seen.header("x-dashscope-sse"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_interface_does_not_have_is_refused() {
    let with = |options: pb::GenerationOptions| pb::ConverseRequest {
        options: Some(Box::new(options)),
        ..ask_whole(conversation("m", vec![text("?")]))
    };
    let speech = pb::GenerationOptions {
        speech: Some(pb::SpeechOptions::default()),
        ..pb::GenerationOptions::default()
    };
    let own = |key: &str| pb::GenerationOptions {
        extra_parameters: Some(prost_types::Struct {
            fields: [(
                key.to_owned(),
                prost_types::Value {
                    kind: Some(prost_types::value::Kind::BoolValue(false)),
                },
            )]
            .into(),
        }),
        ..pb::GenerationOptions::default()
    };
    for (options, field) in [
        (speech, "options.speech"),
        (own("stream"), "options.extra_parameters.stream"),
        (own("messages"), "options.extra_parameters.messages"),
    ] {
        let status = sent(Vllm, with(options)).await.unwrap_err();
        assert_fault(&status, tonic::Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    let (seen, _) = sent(Vllm, with(own("ignore_eos"))).await.unwrap();
    assert_eq!(seen.json()["ignore_eos"], false);
}
