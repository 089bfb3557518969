//! Sounds, pictures and films on their way to DashScope: inline, by address, and not by path.

use bytes::Bytes;
use dashgate::grpc::pb::{self, content};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::storage::{Asked, asked, dashscope, order};
use crate::support::*;

pub const WAV: &[u8] =
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0";
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01";
const MP3: &[u8] = b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x00";
const MP4: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";

pub fn sound(mime_type: &str, data: impl Into<Bytes>) -> content::Kind {
    content::Kind::Audio(pb::Audio {
        mime_type: mime_type.to_owned(),
        source: Some(pb::audio::Source::Data(data.into())),
        ..pb::Audio::default()
    })
}

pub fn picture(source: pb::image::Source) -> pb::Image {
    pb::Image {
        source: Some(source),
        ..pb::Image::default()
    }
}

fn video(source: pb::video::Source) -> content::Kind {
    content::Kind::Video(pb::Video {
        source: Some(source),
        ..pb::Video::default()
    })
}

fn data_uri(mime_type: &str, data: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(data);
    format!("data:{mime_type};base64,{text}")
}

/// The parts of the first message of the last question.
pub fn parts(upstream: &Upstream) -> Value {
    let seen = upstream.seen();
    let last = seen.last().unwrap();
    assert_eq!(asked(last), Asked::Model);
    last.json()["input"]["messages"][0]["content"].clone()
}

/// Asks with these parts, and with this limit for what goes inline.
pub async fn ask(
    upstream: &Upstream,
    limit: usize,
    parts: Vec<content::Kind>,
) -> Result<(), Status> {
    let mut settings = settings(upstream);
    settings.upstream.inline_limit = limit;
    let gateway = gateway_with(settings).await;
    ask_at(&gateway, parts).await
}

pub async fn ask_at(gateway: &Running, parts: Vec<content::Kind>) -> Result<(), Status> {
    let call = ask_whole(conversation("qwen-audio-turbo", parts));
    gateway.conversation().converse(call).await.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn bytes_become_one_address_of_their_own_type() {
    let frames = pb::VideoFrames {
        frames: vec![
            picture(pb::image::Source::Data(PNG.into())),
            picture(pb::image::Source::Uri("https://x.test/2.png".to_owned())),
        ],
    };
    let rows = [
        (
            sound("audio/amr", &b"anything"[..]),
            "audio",
            json!(data_uri("audio/amr", b"anything")),
        ),
        (sound("", WAV), "audio", json!(data_uri("audio/wav", WAV))),
        (sound("", MP3), "audio", json!(data_uri("audio/mpeg", MP3))),
        (
            content::Kind::Image(picture(pb::image::Source::Data(PNG.into()))),
            "image",
            json!(data_uri("image/png", PNG)),
        ),
        (
            video(pb::video::Source::Data(MP4.into())),
            "video",
            json!(data_uri("video/mp4", MP4)),
        ),
        (
            video(pb::video::Source::Frames(frames)),
            "video",
            json!([data_uri("image/png", PNG), "https://x.test/2.png"]),
        ),
    ];
    for (part, key, expected) in rows {
        let upstream = dashscope(|_, _| None).await;
        ask(&upstream, 1000, vec![part]).await.unwrap();
        assert_eq!(order(&upstream), [Asked::Model]);
        assert_eq!(parts(&upstream), json!([{key: expected}]));
        let resolve = upstream.seen()[0]
            .header("x-dashscope-ossresourceresolve")
            .map(str::to_owned);
        assert_eq!(resolve, None);
    }
}

fn sound_at(uri: String) -> content::Kind {
    content::Kind::Audio(pb::Audio {
        source: Some(pb::audio::Source::Uri(uri)),
        ..pb::Audio::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_generic_mime_type_is_replaced_by_that_of_the_bytes() {
    let wav = data_uri("audio/wav", WAV);
    let typed = |mime_type: &str, uri: &str| match sound_at(data_uri(uri, WAV)) {
        content::Kind::Audio(audio) => content::Kind::Audio(pb::Audio {
            mime_type: mime_type.to_owned(),
            ..audio
        }),
        other => other,
    };
    for (part, expected) in [
        (sound("application/octet-stream", WAV), &wav),
        (sound("Application/Octet-Stream;a=b", WAV), &wav),
        (sound("binary/octet-stream", WAV), &wav),
        (typed("", "application/octet-stream"), &wav),
        (typed("", ""), &wav),
        (
            typed("audio/x-own", "application/octet-stream"),
            &data_uri("audio/x-own", WAV),
        ),
        (
            typed("application/octet-stream", "audio/x-wav"),
            &data_uri("audio/x-wav", WAV),
        ),
    ] {
        let upstream = dashscope(|_, _| None).await;
        ask(&upstream, 1000, vec![part]).await.unwrap();
        assert_eq!(parts(&upstream), json!([{"audio": expected}]));
    }
}

/// Parts whose media are refused: the part, its field, and what the description names.
fn refused_media() -> Vec<(content::Kind, &'static str, &'static str)> {
    vec![
        (
            sound("", &b"what is this"[..]),
            "audio.mime_type",
            "not recognised",
        ),
        // A picture is no sound, whatever it says of itself.
        (sound("", PNG), "audio.data", "image/png"),
        (
            sound("audio/amr", &b"\x02#!SILK_V3"[..]),
            "audio.data",
            "audio/silk",
        ),
        // As the clients declare what they detect.
        (
            sound("audio/silk", &b"\x02#!SILK_V3"[..]),
            "audio.mime_type",
            "audio/silk, which no model decodes",
        ),
        (
            sound("text/html", &b"<!DOCTYPE html><html>"[..]),
            "audio.mime_type",
            "this is text/html",
        ),
        (
            sound("audio/wav", &b"<!DOCTYPE html><html>"[..]),
            "audio.data",
            "text/html",
        ),
        (sound("wav", WAV), "audio.mime_type", "MIME type"),
        // The kind of the part decides.
        (sound("image/png", WAV), "audio.mime_type", "another kind"),
        (
            sound("application/pdf", WAV),
            "audio.mime_type",
            "another kind",
        ),
        (
            sound("application/octet-stream", &b"what is this"[..]),
            "audio.mime_type",
            "not recognised",
        ),
        (sound_at(data_uri("image/png", WAV)), "audio.uri", "audio"),
        (
            sound_at(data_uri("audio/wav", PNG)),
            "audio.uri",
            "image/png",
        ),
        (sound_at(data_uri("", PNG)), "audio.uri", "image/png"),
        (
            content::Kind::Image(pb::Image {
                mime_type: "audio/wav".to_owned(),
                ..picture(pb::image::Source::Data(PNG.into()))
            }),
            "image.mime_type",
            "another kind",
        ),
        (
            content::Kind::Video(pb::Video {
                mime_type: "audio/wav".to_owned(),
                source: Some(pb::video::Source::Uri("https://x.test/a".to_owned())),
                ..pb::Video::default()
            }),
            "video.mime_type",
            "another kind",
        ),
        (sound("audio/wav", Bytes::new()), "audio.data", "empty"),
        (
            content::Kind::Image(picture(pb::image::Source::Data(WAV.into()))),
            "image.data",
            "audio/wav",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn bytes_that_nobody_knows_are_refused_by_name() {
    let upstream = dashscope(|_, _| None).await;
    for (part, field, found) in refused_media() {
        let parts = vec![content::Kind::Text("?".to_owned()), part];
        let status = ask(&upstream, 1000, parts).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(
            violations(&status),
            [format!("conversation.messages[0].content[1].{field}")]
        );
        let details = status.get_error_details();
        let violation = &details.bad_request().unwrap().field_violations[0];
        let description = &violation.description;
        assert!(description.contains(found), "{found}: {description}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_limit_for_what_goes_inline_is_exact() {
    let encoded = data_uri("audio/wav", WAV).len();
    let upstream = dashscope(|_, _| None).await;
    ask(&upstream, encoded, vec![sound("", WAV)]).await.unwrap();
    assert_eq!(order(&upstream), [Asked::Model]);

    let upstream = dashscope(|_, _| None).await;
    ask(&upstream, encoded - 1, vec![sound("", WAV)])
        .await
        .unwrap();
    assert_eq!(
        order(&upstream),
        [Asked::Certificate, Asked::Storage, Asked::Model]
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_dashscopes_own_by_default() {
    const LIMIT: usize = 10_485_760;
    let head = "data:audio/wav;base64,".len();
    let most = (LIMIT - head) / 4 * 3;
    for (length, expected) in [
        (most, &[Asked::Model][..]),
        (
            most + 1,
            &[Asked::Certificate, Asked::Storage, Asked::Model],
        ),
    ] {
        let upstream = dashscope(|_, _| None).await;
        let mut settings = settings(&upstream);
        // That of the body as a whole is another.
        settings.upstream.max_request_bytes = 2 * LIMIT;
        let gateway = gateway_with(settings).await;
        ask_at(&gateway, vec![sound("audio/wav", vec![7; length])])
            .await
            .unwrap();
        assert_eq!(order(&upstream), expected, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_in_the_storage_is_resolved() {
    let upstream = dashscope(|_, _| None).await;
    let uri = "oss://dashscope-instant/x/y/a.wav".to_owned();
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.clone())),
        ..pb::Audio::default()
    };
    let frames = pb::VideoFrames {
        frames: vec![picture(pb::image::Source::Uri(uri.clone()))],
    };
    for (part, expected) in [
        (content::Kind::Audio(audio), json!([{"audio": uri}])),
        (
            video(pb::video::Source::Frames(frames)),
            json!([{"video": [uri]}]),
        ),
    ] {
        ask(&upstream, 1000, vec![part]).await.unwrap();
        let seen = upstream.seen();
        let last = seen.last().unwrap();
        assert_eq!(
            last.header("x-dashscope-ossresourceresolve"),
            Some("enable")
        );
        assert_eq!(parts(&upstream), expected);
    }
    assert_eq!(order(&upstream), [Asked::Model, Asked::Model]);
}

#[tokio::test(start_paused = true)]
async fn a_data_address_passes_as_it_is() {
    let upstream = dashscope(|_, _| None).await;
    let uri = "data:audio/x-wav;base64,UklGRg==";
    let audio = pb::Audio {
        source: Some(pb::audio::Source::Uri(uri.to_owned())),
        ..pb::Audio::default()
    };
    ask(&upstream, 1000, vec![content::Kind::Audio(audio)])
        .await
        .unwrap();
    assert_eq!(parts(&upstream), json!([{"audio": uri}]));
    assert_eq!(order(&upstream), [Asked::Model]);
}

#[tokio::test(start_paused = true)]
async fn a_path_is_never_taken() {
    // Each of them exists, so that a gateway that opened one would be seen to.
    let here = file!();
    let absolute = format!("{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    let upstream = dashscope(|_, _| None).await;
    for uri in [
        "",
        here,
        &absolute,
        &format!("file://{absolute}"),
        &format!("FILE://{absolute}"),
        "~/.bashrc",
        "C:\\sound.wav",
        "ftp://x.test/a.wav",
        "javascript:1",
        "https:",
        "https://",
        "data:audio/wav,RIFF",
        "oss://a\n/b",
    ] {
        let audio = content::Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Uri(uri.to_owned())),
            ..pb::Audio::default()
        });
        let frame = picture(pb::image::Source::Uri(uri.to_owned()));
        let frames = pb::VideoFrames {
            frames: vec![picture(pb::image::Source::Data(PNG.into())), frame.clone()],
        };
        for (part, field) in [
            (audio, "audio.uri"),
            (content::Kind::Image(frame), "image.uri"),
            (video(pb::video::Source::Uri(uri.to_owned())), "video.uri"),
            (
                video(pb::video::Source::Frames(frames)),
                "video.frames.frames[1].uri",
            ),
        ] {
            let status = ask(&upstream, 1000, vec![part]).await.unwrap_err();
            assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
            let field = format!("conversation.messages[0].content[0].{field}");
            assert_eq!(violations(&status), [field], "{uri:?}");
        }
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c9_a_message_that_is_too_large_is_told_its_size_and_the_limit() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let status = ask_at(&gateway, vec![sound("audio/wav", vec![0; LIMIT])])
        .await
        .unwrap_err();
    assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
    let words = status.message();
    assert!(words.contains(&LIMIT.to_string()), "{words}");
    let numbers = words
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok());
    assert!(numbers.max() > Some(LIMIT), "{words}");
    assert!(words.contains("UploadMedia"), "{words}");
    assert!(upstream.seen().is_empty());
}
