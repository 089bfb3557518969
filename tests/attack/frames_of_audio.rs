//! Honest callers that send very small messages: 20 ms of audio in each, on many calls of one
//! connection. They look like a flood of tiny DATA frames, and are none.

use std::time::Duration;

use dashgate::grpc::pb::upload_media_request::Payload;
use dashgate::grpc::pb::{self};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::*;

/// The policy for a storage on this host.
fn policy(host: &str) -> String {
    serde_json::json!({
        "data": {
            "policy": "cG9saWN5",
            "signature": "n3dNX/aD3+WAly0QgzsURfiIk00=",
            "upload_dir": "dashscope-instant/0123/2026-01-02/b744",
            "upload_host": format!("http://{host}/oss"),
            "expire_in_seconds": 300,
            "max_file_size_mb": 1024,
            "oss_access_key_id": "LTAI",
            "x_oss_object_acl": "private",
            "x_oss_forbid_overwrite": "true",
        },
        "request_id": "b744",
    })
    .to_string()
}

fn message(payload: Payload) -> pb::UploadMediaRequest {
    pb::UploadMediaRequest {
        payload: Some(payload),
    }
}

/// Uploads this many frames on each of this many calls, which share one connection. A pause is
/// that of a microphone; without one the frames come in bursts.
async fn all_arrive(calls: usize, frames: usize, pause: Option<Duration>) {
    let upstream = Upstream::start(|_, request| match request.path.as_str() {
        "/oss" => http(200, "", b""),
        _ => json(200, &policy(request.header("host").unwrap())),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let mut all = JoinSet::new();
    for call in 0..calls {
        let size = [60, 160, 320, 640, 47, 171][call % 6];
        let mut client = gateway.media();
        let (sender, receiver) = mpsc::channel(64);
        all.spawn(async move {
            let upload = client.upload_media(ReceiverStream::new(receiver));
            let stored = upload
                .await
                .unwrap_or_else(|status| panic!("{size}: {status:?}"));
            assert_eq!(stored.into_inner().size_bytes, (frames * size) as i64);
        });
        all.spawn(async move {
            let description = pb::MediaDescription {
                model: "qwen-audio-turbo".to_owned(),
                mime_type: "audio/pcm".to_owned(),
                ..pb::MediaDescription::default()
            };
            let first = message(Payload::Description(description));
            sender.send(first).await.unwrap();
            for _ in 0..frames {
                let frame = message(Payload::Chunk(vec![7; size].into()));
                sender.send(frame).await.unwrap();
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    all.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn c20_frames_of_twenty_milliseconds_are_no_flood() {
    all_arrive(30, 100, Some(Duration::from_millis(20))).await;
}

#[tokio::test(start_paused = true)]
async fn c20_frames_that_come_in_bursts_are_no_flood() {
    all_arrive(12, 500, None).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "235,000 messages"]
async fn c20_an_hour_and_a_quarter_of_audio_is_no_flood() {
    all_arrive(100, 2_350, Some(Duration::from_millis(20))).await;
}
