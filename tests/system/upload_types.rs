//! The media type of an upload: by its bytes, its declared type and its name.

use dashgate::grpc::pb;
use tonic::Code;

use crate::storage::{Asked, FOLDER, dashscope, order};
use crate::support::*;
use crate::uploads::{chunk, described, upload};

#[tokio::test(start_paused = true)]
async fn the_type_of_a_file_is_that_of_its_bytes_and_its_name_is_no_path() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let mp3 = b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\x00".to_vec();
    let messages = vec![
        described(pb::MediaDescription {
            model: "m".to_owned(),
            name: "../../etc/passwd".to_owned(),
            ..pb::MediaDescription::default()
        }),
        chunk(mp3),
    ];
    let stored = upload(&gateway, messages).await.unwrap();
    assert_eq!(stored.mime_type, "audio/mpeg");
    assert!(!stored.uri.contains("..") && !stored.uri.contains("passwd"));
    let name = stored
        .uri
        .strip_prefix(&format!("oss://{FOLDER}/"))
        .unwrap();
    assert!(!name.contains('/'), "{name}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_contradict_their_name_are_refused_with_what_they_are() {
    let page = b"<!DOCTYPE html><html>busy</html>";
    let silk = b"\x02#!SILK_V3";
    for (name, mime_type, bytes, found, field) in [
        ("voice.amr", "", &silk[..], "audio/silk", "description.name"),
        (
            "voice.amr",
            "application/octet-stream",
            silk,
            "audio/silk",
            "description.name",
        ),
        (
            "voice.amr",
            "audio/amr",
            silk,
            "audio/silk",
            "description.mime_type",
        ),
        ("talk.wav", "", page, "text/html", "description.name"),
        ("photo.png", "", page, "text/html", "description.name"),
        ("", "", page, "text/html", "description.mime_type"),
        ("", "", silk, "audio/silk", "description.mime_type"),
        // As the clients declare what they detect.
        (
            "voice.amr",
            "audio/silk",
            silk,
            "which no model decodes",
            "description.mime_type",
        ),
        (
            "talk.wav",
            "text/html",
            page,
            "text/html",
            "description.name",
        ),
    ] {
        // However small the chunks are that it comes in.
        for cut in [1, 4, bytes.len()] {
            let upstream = dashscope(|_, _| None).await;
            let gateway = gateway(&upstream).await;
            let description = pb::MediaDescription {
                model: "qwen-audio-turbo".to_owned(),
                mime_type: mime_type.to_owned(),
                name: name.to_owned(),
                size_bytes: None,
            };
            let mut messages = vec![described(description)];
            messages.extend(bytes.chunks(cut).map(|piece| chunk(piece.to_vec())));
            let status = upload(&gateway, messages).await.unwrap_err();
            assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
            assert_eq!(violations(&status), [field], "{name} {mime_type}");
            assert!(status.message().contains(found), "{status:?}");
            assert!(!order(&upstream).contains(&Asked::Storage));
        }
    }
}
