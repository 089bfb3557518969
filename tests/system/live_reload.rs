//! Settings and keys that change while a live session runs.

use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use tokio::time::sleep;
use tonic::Code;

use crate::callers::Folder;
use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::create;
use crate::reload::{House, write};
use crate::support::live_call::{LiveCall, setup};
use crate::support::realtime::{RealtimeUpstream, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// Longer than it takes to read changed files.
const READ_AGAIN: Duration = Duration::from_secs(5);

fn sections(upstream: &RealtimeUpstream, key: &str) -> String {
    let url = upstream.base_url();
    format!("[upstream]\nurl = \"{url}\"\napi_key = \"{key}\"\n[live]\nresume_window = \"0s\"\n")
}

fn key_of(socket: &UpstreamSocket) -> &str {
    let mut headers = socket.request.headers.iter();
    let found = headers.find(|(name, _)| name == "authorization");
    &found.unwrap().1
}

/// Answers a requested response, whose usage is 30 tokens.
async fn exchange(call: &mut LiveCall, socket: &mut UpstreamSocket, id: &str) {
    call.send(create()).await;
    socket.until("response.create").await;
    socket.answer(id, "hi");
    call.until(|event| completed(event).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_of_a_session_has_the_settings_that_were_read_meanwhile() {
    let mut first = RealtimeUpstream::start().await;
    let mut second = RealtimeUpstream::start().await;
    let other = Upstream::always(vec![Step::Close]).await;
    let house = House::open(other, Folder::new(), &sections(&first, "sk-canary-1")).await;
    let continued = pb::LiveSetup {
        continue_after_limit: true,
        ..by_hand(OMNI)
    };
    let (mut call, mut socket) = first.open(&house.gateway, continued).await;
    assert_eq!(key_of(&socket), "Bearer sk-canary-1");
    // The connection is not disturbed.
    write(&house.folder, &sections(&second, "sk-canary-2"));
    house.again.notify_one();
    sleep(READ_AGAIN).await;
    exchange(&mut call, &mut socket, "r1").await;
    sleep(Duration::from_secs(60)).await;
    assert!(!second.has_connection());
    socket.cut();
    let mut socket = second.session().await;
    assert_eq!(key_of(&socket), "Bearer sk-canary-2");
    socket.configured().await;
    exchange(&mut call, &mut socket, "r2").await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_change_in_the_middle_of_a_session_apply_to_the_next_one() {
    let mut upstream = RealtimeUpstream::start().await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |entry| {
        entry.limits.tokens_per_day = Some(1_000_000);
    });
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.callers.keys_file = Some(folder.keys());
    })
    .await;
    let opening = LiveCall::open_as(&gateway, by_hand(OMNI), &key);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    exchange(&mut call, &mut socket, "r1").await;
    let text = std::fs::read_to_string(folder.keys()).unwrap();
    let changed = text.replace("1000000", "50");
    assert_ne!(text, changed);
    std::fs::write(folder.keys(), changed).unwrap();
    sleep(READ_AGAIN).await;
    for id in ["r2", "r3"] {
        exchange(&mut call, &mut socket, id).await;
    }
    let refused = LiveCall::open_as(&gateway, by_hand(OMNI), &key).await;
    let refused = refused.err().unwrap();
    assert_fault(&refused, Code::ResourceExhausted, "CALLER_BUDGET");
    call.half_close();
    socket.finish().await;
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_no_session_and_opens_none() {
    let mut upstream = RealtimeUpstream::start().await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |_| ());
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.callers.keys_file = Some(folder.keys());
    })
    .await;
    let opening = LiveCall::open_as(&gateway, setup(OMNI), &key);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    let (_, other) = folder.key("team-b", |_| ());
    let text = std::fs::read_to_string(folder.keys()).unwrap();
    let entry = text.find("[[key]]").unwrap();
    let next = text.rfind("[[key]]").unwrap();
    assert_ne!(entry, next);
    std::fs::write(folder.keys(), [&text[..entry], &text[next..]].concat()).unwrap();
    sleep(READ_AGAIN).await;
    exchange(&mut call, &mut socket, "r1").await;
    let refused = LiveCall::open_as(&gateway, setup(OMNI), &key).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
    let opening = LiveCall::open_as(&gateway, setup(OMNI), &other);
    let (opened, _socket) = tokio::join!(opening, upstream.session());
    assert!(opened.is_ok());
    call.send(Ask::Finish(pb::Finish {})).await;
    socket.finish().await;
    assert!(matches!(
        call.rest().await.last(),
        Some(Heard::SessionEnded(_))
    ));
}
