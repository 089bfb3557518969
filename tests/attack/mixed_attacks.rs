//! What the misbehaving caller of the mixed load does: every kind of attack of this suite, each
//! until it is dropped. Floods are paced, so that the attacker leaves the machine to what is
//! measured.

use std::pin::Pin;

use dashgate::grpc::pb::{self, content};
use prost::Message as _;

use crate::memory::{empty_parts, framed, gzip, long_text};
use crate::mixed_calls::*;
use crate::mixed_target::*;
use crate::support::http2_peer::*;
use crate::support::*;

type Attacking = Pin<Box<dyn Future<Output = ()>>>;

/// An attack: its name, and how it is done.
pub type Attack = (&'static str, fn(Target) -> Attacking);

macro_rules! attacks {
    ($($name:literal: $attack:expr,)*) => {
        &[$(($name, |target| Box::pin(async move { $attack(&target).await })),)*]
    };
}

/// All of them.
pub const ATTACKS: &[Attack] = attacks! {
    "answers that are not read": unread,
    "calls that are reset": resets,
    "windows opened and closed": windows,
    "gzip bombs of elements": bombs,
    "texts of 14 MiB in gzip": texts,
    "such texts beyond a rate limit": texts_beyond_the_rate,
    "unknown fields in gzip": unknown_fields,
    "control frames": control_frames,
    "metadata of 60 KiB": metadata,
    "heads of 30,000 fields": repeated_fields,
    "heads of 4000 fields": many_fields,
    "heads that do not end": unfinished_heads,
    "wrong keys": wrong_keys,
    "damaged media": damaged_media,
    "private media": private_media,
    "bodies byte by byte": slow_bodies,
    "messages that are no protobuf": malformed,
    "uploads that wait": waiting_uploads,
    "uploads of empty chunks": empty_chunks,
    "health checks": checks,
    "health watches": watches,
    "reflection": reflection,
    "connections": connections,
    "HTTP/1.1 in chunks of a byte": chunks,
    "HTTP/1.1 pipelined": pipelined,
    "as many calls as possible": greedy,
    "one name for all calls": one_name,
    "a model for each call": models,
    "unknown methods": unknown_methods,
    "deadlines of a millisecond": deadlines,
};

async fn unread(target: &Target) {
    let closed = h2(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let message = stream_message();
    let call = |stream| target.call(stream, STREAM, &[], &message);
    target.hold(&closed, 90, call).await;
}

async fn resets(target: &Target) {
    let message = whole_message();
    let call = |stream| {
        let call = target.call(stream, CONVERSE, &[], &message);
        [call, h2(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    target.each(2, call).await;
}

async fn windows(target: &Target) {
    let message = stream_message();
    loop {
        let mut raw = target.connect().await;
        for number in 0..90 {
            raw.send(&target.call(2 * number + 1, STREAM, &[], &message))
                .await;
        }
        for number in 0..200_u8 {
            let open = if number % 2 == 0 { 4 } else { 0 };
            if !raw.send(&h2(SETTINGS, 0, 0, &[0, 4, 0, 0, open, 0])).await {
                break;
            }
            pause(5).await;
        }
    }
}

async fn packed(target: &Target, millis: u64, message: &[u8]) {
    let message = framed(1, &gzip(message));
    let packed = [("grpc-encoding", "gzip")];
    let call = |stream| target.call(stream, CONVERSE, &packed, &message);
    target.each(millis, call).await;
}

async fn bombs(target: &Target) {
    packed(target, 100, &empty_parts()).await;
}

async fn texts(target: &Target) {
    packed(target, 100, &long_text(14 << 20)).await;
}

/// Most of them come after the caller's limit of requests.
async fn texts_beyond_the_rate(target: &Target) {
    let limited = Target {
        authorization: target.limited.clone(),
        ..target.clone()
    };
    packed(&limited, 20, &long_text(14 << 20)).await;
}

async fn unknown_fields(target: &Target) {
    let mut message = ask_whole(text("hi")).encode_to_vec();
    message.extend([0xf8, 0x7f, 1].repeat(5_000_000));
    packed(target, 200, &message).await;
}

async fn control_frames(target: &Target) {
    let floods = [
        h2(PING, 0, 0, &[0; 8]),
        h2(PING, ACK, 0, &[0; 8]),
        h2(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        h2(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        h2(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]),
        h2(200, 0, 0, &[0; 3]),
    ];
    let in_call = [
        h2(DATA, 0, 1, &[]),
        h2(DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat()),
        h2(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        h2(DATA, 0, 1, &[0]),
    ];
    loop {
        for flood in floods.iter().chain(&in_call) {
            let mut raw = target.connect().await;
            let head = target.head(CONVERSE, &[]);
            raw.send(&h2(HEADERS, END_HEADERS, 1, &head)).await;
            for _ in 0..15 {
                raw.send(&flood.repeat(100)).await;
                pause(2).await;
            }
        }
    }
}

async fn metadata(target: &Target) {
    let value = "v".repeat(1_000);
    let more: Vec<_> = (0..60).map(|_| ("x-pad", value.as_str())).collect();
    let head = target.head(CONVERSE, &more);
    target.each(20, |stream| cut(stream, &head)).await;
}

async fn heads_of(target: &Target, fields: usize) {
    let mut head = target.head(CONVERSE, &[]);
    head.extend([0x40, 1, b'z', 0]);
    head.extend(vec![0xbe; fields]);
    target.each(10, |stream| cut(stream, &head)).await;
}

async fn repeated_fields(target: &Target) {
    heads_of(target, 30_000).await;
}

async fn many_fields(target: &Target) {
    heads_of(target, 4_000).await;
}

async fn unfinished_heads(target: &Target) {
    let head = target.head(CONVERSE, &[("x-pad", &"v".repeat(15_000))]);
    let mut open = Vec::new();
    loop {
        let mut raw = target.connect().await;
        raw.send(&h2(HEADERS, 0, 1, &head)).await;
        open.push(raw);
        pause(20).await;
        if open.len() > 200 {
            open.clear();
        }
    }
}

async fn wrong_keys(target: &Target) {
    let key = format!("Bearer dg_{}", "a".repeat(43));
    let head = block(CONVERSE, &[("authorization", key.as_str())]);
    let message = whole_message();
    let call = |stream| whole_call(stream, &head, &message);
    target.each(2, call).await;
}

async fn damaged_media(target: &Target) {
    let flac = [
        &b"fLaC\x80\x00\x00\x22\x10\x00\x10\x00"[..],
        &[0; 30],
        &b"\xff\xf8\xc9\x18\x00".repeat(400_000),
    ]
    .concat();
    let mp3 = b"\xff\xfb\x10\x00".repeat(500_000);
    let ogg = [&b"OggS\0\x02"[..], &[0; 21]].concat().repeat(75_000);
    let files = [flac, mp3, ogg].map(bytes::Bytes::from);
    let audio = |number: usize| pb::Audio {
        source: Some(pb::audio::Source::Data(files[number % 3].clone())),
        ..pb::Audio::default()
    };
    let ask = |number| {
        let part = content::Kind::Audio(audio(number));
        ask_whole(conversation("qwen-audio-turbo", vec![part]))
    };
    target.repeat(2, 100, ask).await;
}

async fn private_media(target: &Target) {
    let hosts = [
        "127.0.0.1",
        "[::1]",
        "169.254.169.254",
        "localhost",
        "0x7f.1",
    ];
    let ask = |number: usize| {
        let uri = format!("http://{}/a.wav", hosts[number % hosts.len()]);
        let audio = pb::Audio {
            source: Some(pb::audio::Source::Uri(uri)),
            ..pb::Audio::default()
        };
        let parts = vec![content::Kind::Audio(audio)];
        ask_whole(conversation("qwen-audio-turbo", parts))
    };
    target.repeat(10, 5, ask).await;
}

async fn slow_bodies(target: &Target) {
    let head = target.head(CONVERSE, &[]);
    loop {
        let mut raw = target.connect().await;
        for number in 0..90 {
            let stream = 2 * number + 1;
            raw.send(&h2(HEADERS, END_HEADERS, stream, &head)).await;
            raw.send(&h2(DATA, 0, stream, &[0, 0, 0x10, 0, 0])).await;
        }
        for _ in 0..40 {
            for number in 0..90 {
                raw.send(&h2(DATA, 0, 2 * number + 1, &[7])).await;
            }
            pause(100).await;
        }
    }
}

async fn malformed(target: &Target) {
    let message = framed(0, &[0xff; 3_000]);
    let call = |stream| target.call(stream, CONVERSE, &[], &message);
    target.each(3, call).await;
}
