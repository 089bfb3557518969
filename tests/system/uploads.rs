//! Files that are streamed to DashScope's storage: byte for byte, no faster than it takes them, and
//! never taken for whole when they are not.

use std::time::Duration;

use bytes::Bytes;
use dashgate::grpc::pb::{self, upload_media_request::Payload};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use crate::response_forms::form;
use crate::storage::{Asked, FOLDER, Socket, asked, certificate, dashscope, order, refusal};
use crate::support::*;

const CHUNK: usize = 64 * 1024;
pub const MIB: usize = 1024 * 1024;

fn description(size_bytes: Option<i64>) -> pb::UploadMediaRequest {
    described(pb::MediaDescription {
        model: "qwen-vl-max".to_owned(),
        mime_type: "video/mp4".to_owned(),
        name: "holiday.MP4".to_owned(),
        size_bytes,
    })
}

pub fn described(description: pb::MediaDescription) -> pb::UploadMediaRequest {
    pb::UploadMediaRequest {
        payload: Some(Payload::Description(description)),
    }
}

pub fn chunk(bytes: impl Into<Bytes>) -> pb::UploadMediaRequest {
    pb::UploadMediaRequest {
        payload: Some(Payload::Chunk(bytes.into())),
    }
}

/// Bytes that repeat nowhere near, so that a lost or doubled chunk is seen.
pub fn file_of(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn messages(file: &[u8], size_bytes: Option<i64>) -> Vec<pb::UploadMediaRequest> {
    let mut messages = vec![description(size_bytes)];
    messages.extend(file.chunks(CHUNK).map(|piece| chunk(piece.to_vec())));
    messages
}

pub async fn upload(
    gateway: &Running,
    messages: Vec<pb::UploadMediaRequest>,
) -> Result<pb::UploadMediaResponse, Status> {
    let stream = tokio_stream::iter(messages);
    let response = gateway.media().upload_media(stream).await?;
    Ok(response.into_inner())
}

/// A DashScope whose certificates are for this storage.
async fn with_storage(storage: &Socket) -> Upstream {
    let body = certificate(&storage.address.to_string()).to_string();
    dashscope(move |asked, _| (asked == Asked::Certificate).then(|| json(200, &body))).await
}

#[tokio::test(start_paused = true)]
async fn a_file_arrives_byte_for_byte() {
    let file = file_of(3 * MIB + 17);
    for size in [None, Some(file.len() as i64)] {
        let upstream = dashscope(|_, _| None).await;
        let gateway = gateway(&upstream).await;
        let stored = upload(&gateway, messages(&file, size)).await.unwrap();

        assert_eq!(order(&upstream), [Asked::Certificate, Asked::Storage]);
        let seen = upstream.seen();
        assert_eq!(
            seen[0].path,
            "/api/v1/uploads?action=getPolicy&model=qwen-vl-max"
        );
        let request = &seen[1];
        assert_eq!(request.header("authorization"), None);
        // The storage is told the size where it is known.
        assert_eq!(request.header("content-length").is_some(), size.is_some());
        let form = form(request);
        assert!(form.file() == file, "the bytes differ");
        assert_eq!(form.text("x-oss-content-type"), "video/mp4");
        let key = form.text("key");
        assert!(key.starts_with(FOLDER), "{key}");
        assert!(key.to_ascii_lowercase().ends_with(".mp4"), "{key}");

        assert_eq!(stored.uri, format!("oss://{key}"));
        assert_eq!(stored.size_bytes, file.len() as i64);
        assert_eq!(stored.model, "qwen-vl-max");
        assert_eq!(stored.mime_type, "video/mp4");
        assert!(!stored.request_id.is_empty());
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let hours = (stored.expires_at.unwrap().seconds - now) / 3600;
        assert!((47..=48).contains(&hours), "{hours} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_in_small_chunks_is_recognised_and_arrives_whole() {
    let mut file = b"fLaC\0\0\0\x22".to_vec();
    file.extend(file_of(1000));
    for size in [None, Some(file.len() as i64)] {
        let upstream = dashscope(|_, _| None).await;
        let gateway = gateway(&upstream).await;
        let description = pb::MediaDescription {
            model: "m".to_owned(),
            size_bytes: size,
            ..pb::MediaDescription::default()
        };
        let mut messages = vec![described(description)];
        messages.extend(file.chunks(3).map(|piece| chunk(piece.to_vec())));
        let stored = upload(&gateway, messages).await.unwrap();
        assert_eq!(stored.mime_type, "audio/flac");
        assert_eq!(stored.size_bytes, file.len() as i64);
        assert!(form(upstream.seen().last().unwrap()).file() == file);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_size_is_refused_and_nothing_is_stored() {
    let file = file_of(200_000);
    for size in [199_999, 200_001, 1, 1 << 29] {
        let upstream = dashscope(|_, _| None).await;
        let gateway = gateway(&upstream).await;
        let status = upload(&gateway, messages(&file, Some(size)))
            .await
            .unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), ["description.size_bytes"], "{size}");
        // A form that ends too early never becomes a request that the storage could take.
        assert_eq!(order(&upstream), [Asked::Certificate], "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_in_the_wrong_order_are_refused_by_name() {
    let model = |model: &str| pb::MediaDescription {
        model: model.to_owned(),
        ..pb::MediaDescription::default()
    };
    let negative = pb::MediaDescription {
        size_bytes: Some(-1),
        ..model("m")
    };
    let no_type = pb::MediaDescription {
        mime_type: "mp4".to_owned(),
        ..model("m")
    };
    let no_bytes = pb::MediaDescription {
        size_bytes: Some(0),
        ..model("m")
    };
    let rows = [
        (vec![], "description"),
        (vec![chunk("x")], "description"),
        (vec![pb::UploadMediaRequest::default()], "description"),
        (vec![described(model("")), chunk("x")], "description.model"),
        (
            vec![described(negative), chunk("x")],
            "description.size_bytes",
        ),
        (
            vec![described(no_bytes), chunk("x")],
            "description.size_bytes",
        ),
        // Empty files.
        (vec![description(None)], "chunk"),
        (vec![description(None), chunk(""), chunk("")], "chunk"),
        (
            vec![described(no_type), chunk("x")],
            "description.mime_type",
        ),
        (
            vec![description(None), chunk("x"), description(None), chunk("y")],
            "description",
        ),
        (
            vec![
                description(None),
                chunk("x"),
                pb::UploadMediaRequest::default(),
            ],
            "payload",
        ),
    ];
    for (messages, field) in rows {
        let upstream = dashscope(|_, _| None).await;
        let gateway = gateway(&upstream).await;
        let status = upload(&gateway, messages).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
        assert!(!order(&upstream).contains(&Asked::Storage), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn c9_a_chunk_has_a_limit_of_its_own() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let fits = vec![description(None), chunk(file_of(MIB))];
    upload(&gateway, fits).await.unwrap();
    for length in [MIB + 1, 2 * MIB] {
        let large = vec![description(None), chunk("x"), chunk(file_of(length))];
        let status = upload(&gateway, large).await.unwrap_err();
        assert_fault(&status, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        assert!(status.message().contains(&MIB.to_string()), "{status:?}");
    }
    let stored = order(&upstream)
        .into_iter()
        .filter(|asked| *asked == Asked::Storage);
    assert_eq!(stored.count(), 1, "only the first file is stored");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_too_large_is_stopped() {
    let mut body = certificate("STORAGE");
    body["data"]["max_file_size_mb"] = json!(1);
    let upstream = Upstream::start(move |_, request| match asked(request) {
        Asked::Certificate => {
            let storage = request.header("host").unwrap();
            json(200, &body.to_string().replace("STORAGE", storage))
        }
        Asked::Storage | Asked::Model => http(200, "", b""),
    })
    .await;
    let gateway = gateway(&upstream).await;
    let fits = file_of(MIB);
    upload(&gateway, messages(&fits, None)).await.unwrap();
    let before = order(&upstream);
    let large = file_of(MIB + 1);
    for size in [Some(large.len() as i64), None] {
        let status = upload(&gateway, messages(&large, size)).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LARGE");
        assert!(status.message().contains(&MIB.to_string()), "{status:?}");
    }
    assert_eq!(order(&upstream), before, "nothing more is stored");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_fails_is_told_as_such() {
    for (answer, code, reason) in [
        (
            refusal(500, "InternalError", "x"),
            Code::Unavailable,
            "UPSTREAM_STORAGE",
        ),
        (
            refusal(403, "AccessDenied", "Policy expired."),
            Code::Unavailable,
            "UPSTREAM_STORAGE",
        ),
        (
            refusal(400, "EntityTooLarge", "x"),
            Code::InvalidArgument,
            "MEDIA_TOO_LARGE",
        ),
        (vec![Step::Reset], Code::Unavailable, "UPSTREAM_STORAGE"),
    ] {
        let upstream =
            dashscope(move |asked, _| (asked == Asked::Storage).then(|| answer.clone())).await;
        let gateway = gateway(&upstream).await;
        let status = upload(&gateway, messages(&file_of(1000), None))
            .await
            .unwrap_err();
        assert_fault(&status, code, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn c17_an_upload_of_a_caller_that_leaves_is_never_complete() {
    for size in [None, Some(10 * MIB as i64)] {
        let mut storage = Socket::that_reads(usize::MAX).await;
        let upstream = with_storage(&storage).await;
        let gateway = gateway(&upstream).await;
        let (sender, receiver) = mpsc::channel(1);
        let mut client = gateway.media();
        let call =
            tokio::spawn(async move { client.upload_media(ReceiverStream::new(receiver)).await });
        sender.send(description(size)).await.unwrap();
        for piece in file_of(2 * MIB).chunks(CHUNK) {
            sender.send(chunk(piece.to_vec())).await.unwrap();
        }
        storage
            .came
            .wait_for(|came| came.bytes > 2 * MIB)
            .await
            .unwrap();

        call.abort();
        let wait = Duration::from_millis(50);
        let came = tokio::time::timeout(wait, storage.gone())
            .await
            .expect("within 50 ms");
        assert!(!came.whole, "{came:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_in_the_middle_is_never_complete() {
    let mut storage = Socket::that_reads(usize::MAX).await;
    let upstream = with_storage(&storage).await;
    let gateway = gateway(&upstream).await;
    let (sender, receiver) = mpsc::channel(4);
    sender.send(description(None)).await.unwrap();
    sender.send(chunk(file_of(CHUNK))).await.unwrap();
    let stream = ReceiverStream::new(receiver);
    let status = gateway.media().upload_media(stream).await.unwrap_err();
    assert_fault(&status, Code::DeadlineExceeded, "REQUEST_BODY_TIMEOUT");
    assert!(!storage.gone().await.whole);
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_bounds_an_upload() {
    let mut storage = Socket::that_reads(usize::MAX).await;
    let upstream = with_storage(&storage).await;
    let gateway = gateway(&upstream).await;
    let started = tokio::time::Instant::now();
    let mut request = Request::new(tokio_stream::iter(messages(&file_of(1000), None)));
    request
        .metadata_mut()
        .insert("grpc-timeout", "2S".parse().unwrap());
    let status = gateway.media().upload_media(request).await.unwrap_err();
    assert_fault(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let took = started.elapsed().as_millis();
    assert!((2000..2050).contains(&took), "{took} ms");
    storage.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_storage_holds_the_caller_back() {
    const MOST: usize = 12 * MIB;
    let storage = Socket::that_reads(1).await;
    let upstream = with_storage(&storage).await;
    let gateway = gateway(&upstream).await;
    let (sender, receiver) = mpsc::channel(1);
    let mut client = gateway.media();
    let call =
        tokio::spawn(async move { client.upload_media(ReceiverStream::new(receiver)).await });
    sender.send(description(None)).await.unwrap();
    let piece = Bytes::from(file_of(CHUNK));
    let mut taken = 0;
    // Whatever holds a file back, a second later it is still held.
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_secs(1), sender.send(chunk(piece.clone()))).await
    {
        sent.unwrap();
        taken += CHUNK;
        assert!(taken < MOST, "nobody holds the caller back");
    }
    // The rest lies in the windows and in the buffers of the kernel, not in the gateway.
    assert!(taken >= CHUNK);
    call.abort();
}
