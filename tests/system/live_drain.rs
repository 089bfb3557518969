//! Live sessions while their connection gets too old, while the gateway shuts down, and while it
//! reads its settings again.

use std::sync::Arc;
use std::time::Duration;

use dashgate::app;
use dashgate::config::{Flags, Source};
use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::callers::Folder;
use crate::reload::Files;
use crate::support::live_call::{LiveCall, answer, setup, started};
use crate::support::realtime::{RealtimeUpstream, SocketEnd};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_session_outlives_the_maximum_age_of_its_connection() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.max_connection_age = 50 * SECOND;
        settings.server.max_connection_age_grace = 20 * SECOND;
    })
    .await;
    let client = connection();
    let opening = LiveCall::open_with(&gateway, client, setup(OMNI), &[]);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    for number in 0..60 {
        sleep(10 * SECOND).await;
        let id = format!("resp_{number}");
        call.send(Ask::Audio(vec![1; 3200].into())).await;
        socket.until("input_audio_buffer.append").await;
        socket.answer(&id, "hello");
        call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
            .await;
    }
    call.half_close();
    socket.finish().await;
    assert!(matches!(
        call.rest().await.last(),
        Some(Heard::SessionEnded(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_takes_no_new_calls_beside_its_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.max_connection_age = 50 * SECOND;
        settings.server.max_connection_age_grace = 20 * SECOND;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    sleep(300 * SECOND).await;
    // The client opens another connection for the next call.
    let (mut second, mut second_socket) = upstream.open(&gateway, setup(OMNI)).await;
    second.half_close();
    second_socket.finish().await;
    second.rest().await;
    call.half_close();
    socket.finish().await;
    call.rest().await;
}

#[tokio::test(start_paused = true)]
async fn the_running_response_completes_before_a_shutdown_and_then_the_session_ends() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.drain_delay = SECOND;
        settings.server.drain_timeout = 60 * SECOND;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    call.until(|event| matches!(event, Heard::ResponseStarted(_)))
        .await;
    gateway.stop().await;
    let Heard::SessionEnding(ending) = call.event().await else {
        panic!("not ending");
    };
    assert_eq!(ending.reason().as_str_name(), "SHUTTING_DOWN");
    assert_eq!(ending.time_left.unwrap().seconds, 60);
    sleep(20 * SECOND).await;
    socket.text("resp_1", "complete");
    socket.response_done("resp_1", "completed");
    let events = call
        .until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    assert_eq!(answer(&events).0, "complete");
    let status = call.status().await;
    assert_fault(&status, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    gateway.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_response_that_does_not_complete_is_cut_at_the_drain_timeout() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.drain_delay = Duration::ZERO;
        settings.server.drain_timeout = 30 * SECOND;
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    call.until(|event| matches!(event, Heard::ResponseStarted(_)))
        .await;
    let begun = Instant::now();
    gateway.stop().await;
    let status = call.status().await;
    assert_fault(&status, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    gateway.ended().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_wait_for_nothing_end_at_once_in_a_shutdown() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.server.drain_delay = Duration::ZERO;
        settings.server.drain_timeout = 600 * SECOND;
    })
    .await;
    let (mut silent, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let (mut lost, mut lost_socket) = upstream.open(&gateway, setup(OMNI)).await;
    started(&mut lost).await;
    drop(lost);
    sleep(SECOND).await;
    let begun = Instant::now();
    gateway.stop().await;
    let status = silent.status().await;
    assert_fault(&status, Code::Unavailable, "SHUTTING_DOWN");
    assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
    assert_eq!(lost_socket.ended().await, SocketEnd::Closed(1000));
    assert!(begun.elapsed() < SECOND);
    gateway.ended().await;
}

#[tokio::test(start_paused = true)]
async fn new_settings_do_not_disturb_a_session() {
    let mut upstream = RealtimeUpstream::start().await;
    let folder = Folder::new();
    let write = |window: &str| {
        let sections = format!(
            "[upstream]\nurl = \"{}\"\napi_key = \"sk-canary\"\n\
             [live]\nresume_window = \"{window}\"\n",
            upstream.base_url()
        );
        std::fs::write(folder.path("d.toml"), sections).unwrap();
    };
    write("30s");
    let flags = Flags {
        config: Some(folder.path("d.toml")),
        ..Flags::default()
    };
    let flags = flags.with("--listen", "server.listen", Some("127.0.0.1:0"));
    let mut source = Source::new(flags, Files);
    let settings = source.load().unwrap().settings;
    let mut gateway = app::bind(&settings).await.unwrap();
    let again = Arc::new(Notify::new());
    gateway.follow(app::Changes {
        source,
        now: Arc::clone(&again),
        log: None,
    });
    let gateway = running(gateway);
    write("0s");
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    let first = started(&mut call).await;
    again.notify_one();
    sleep(10 * SECOND).await;
    socket.answer("resp_1", "hello");
    call.until(|event| matches!(event, Heard::ResponseCompleted(_)))
        .await;
    let last = call.sequence;
    drop(call);
    sleep(10 * SECOND).await;
    let mut call = LiveCall::resume(&gateway, &first, last).await.unwrap();
    call.send(Ask::Finish(pb::Finish {})).await;
    socket.finish().await;
    call.rest().await;
    // Later sessions have the new settings, once they were read.
    for _ in 0..20 {
        let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
        started(&mut call).await;
        let begun = Instant::now();
        drop(call);
        assert_eq!(socket.ended().await, SocketEnd::Closed(1000));
        if begun.elapsed() < SECOND {
            return;
        }
    }
    panic!("the settings were not read again");
}
