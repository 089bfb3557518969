//! The attacks of the mixed load by uploads, over HTTP/1.1, and by too many ordinary calls.

use dashgate::grpc::pb::upload_media_request::Payload;
use dashgate::grpc::pb::{self, content};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::memory::framed;
use crate::mixed_target::*;
use crate::support::http2_peer::*;
use crate::support::*;

fn description() -> Vec<u8> {
    let description = pb::MediaDescription {
        model: "qwen3-vl-plus".to_owned(),
        mime_type: "video/mp4".to_owned(),
        name: "a.mp4".to_owned(),
        ..pb::MediaDescription::default()
    };
    let message = pb::UploadMediaRequest {
        payload: Some(Payload::Description(description)),
    };
    framed(0, &message.encode_to_vec())
}

pub async fn waiting_uploads(target: &Target) {
    let (head, message) = (target.head(UPLOAD, &[]), description());
    let upload = |stream| {
        let head = h2(HEADERS, END_HEADERS, stream, &head);
        [head, h2(DATA, 0, stream, &message)].concat()
    };
    target.hold(&[], 90, upload).await;
}

pub async fn empty_chunks(target: &Target) {
    let (head, message) = (target.head(UPLOAD, &[]), description());
    let chunk = pb::UploadMediaRequest {
        payload: Some(Payload::Chunk(bytes::Bytes::new())),
    };
    let chunks = framed(0, &chunk.encode_to_vec()).repeat(300);
    loop {
        let mut raw = target.connect().await;
        raw.send(&h2(HEADERS, END_HEADERS, 1, &head)).await;
        raw.send(&h2(DATA, 0, 1, &message)).await;
        for _ in 0..200 {
            if !raw.send(&h2(DATA, 0, 1, &chunks)).await {
                break;
            }
            pause(5).await;
        }
    }
}

pub async fn checks(target: &Target) {
    let head = block(CHECK, &[]);
    let check = |stream| whole_call(stream, &head, &[0; 5]);
    target.each(1, check).await;
}

pub async fn watches(target: &Target) {
    let head = block(WATCH, &[]);
    let watch = |stream| whole_call(stream, &head, &[0; 5]);
    target.hold(&[], 500, watch).await;
}

pub async fn reflection(target: &Target) {
    let head = target.head(REFLECT, &[]);
    let symbol = b"dashgate.v1.ConversationService.Converse";
    let question = [&[0x22, symbol.len() as u8][..], symbol].concat();
    let questions = framed(0, &question).repeat(20);
    loop {
        let mut raw = target.connect().await;
        raw.send(&h2(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0])).await;
        raw.send(&h2(HEADERS, END_HEADERS, 1, &head)).await;
        raw.send(&h2(WINDOW_UPDATE, 0, 1, &[0x3f, 0, 0, 0])).await;
        for _ in 0..100 {
            if !raw.send(&h2(DATA, 0, 1, &questions)).await {
                break;
            }
            pause(20).await;
        }
    }
}

pub async fn connections(target: &Target) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(target.address).await {
            let _gone = stream.write_all(PREFACE).await;
        }
        pause(3).await;
    }
}

fn http1(target: &Target, length: &str) -> Vec<u8> {
    format!(
        "POST {CONVERSE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\n\
         authorization: {}\r\n{length}\r\n\r\n",
        target.authorization
    )
    .into_bytes()
}

pub async fn chunks(target: &Target) {
    let message = framed(0, &ask_whole(text(&"a".repeat(5_000))).encode_to_vec());
    let extension = "e".repeat(100);
    loop {
        let Ok(mut stream) = TcpStream::connect(target.address).await else {
            continue;
        };
        let _gone = stream
            .write_all(&http1(target, "transfer-encoding: chunked"))
            .await;
        for some in message.chunks(50) {
            let mut bytes = Vec::new();
            for byte in some {
                bytes.extend(format!("1;{extension}\r\n").bytes());
                bytes.extend([*byte, b'\r', b'\n']);
            }
            if stream.write_all(&bytes).await.is_err() {
                break;
            }
            pause(2).await;
        }
    }
}

pub async fn pipelined(target: &Target) {
    let message = whole_message();
    let mut request = http1(target, &format!("content-length: {}", message.len()));
    request.extend(&message);
    loop {
        let Ok(mut stream) = TcpStream::connect(target.address).await else {
            continue;
        };
        for _ in 0..20 {
            if stream.write_all(&request.repeat(10)).await.is_err() {
                break;
            }
            pause(20).await;
        }
    }
}

pub async fn greedy(target: &Target) {
    target.repeat(200, 2, |_| ask_whole(text("hi"))).await;
}

pub async fn one_name(target: &Target) {
    let ask = |_| pb::ConverseRequest {
        request_id: "same".to_owned(),
        ..ask_whole(text("hi"))
    };
    target.repeat(50, 2, ask).await;
}

pub async fn models(target: &Target) {
    let ask = |number| {
        let model = format!("model-{number}-{}", "x".repeat(100));
        ask_whole(conversation(
            &model,
            vec![content::Kind::Text("hi".to_owned())],
        ))
    };
    target.repeat(50, 2, ask).await;
}

pub async fn unknown_methods(target: &Target) {
    let path = format!("/x{}/y", "y".repeat(3_000));
    let call = |stream| target.call(stream, &path, &[], &[0; 5]);
    target.each(2, call).await;
}

pub async fn deadlines(target: &Target) {
    let message = whole_message();
    let call = |stream| target.call(stream, CONVERSE, &[("grpc-timeout", "1m")], &message);
    target.each(2, call).await;
}
