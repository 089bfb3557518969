//! Many live sessions at once, and long ones.

use std::time::Duration;

use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::admin::{Scrape, page};
use crate::support::live_call::{LiveCall, answer, setup};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// The bytes that are charged for all calls.
async fn charged(gateway: &Running) -> usize {
    let scrape = Scrape::of(&page(gateway, "/metrics").await);
    let bytes = scrape.some("dashgate_memory_bytes").into_iter();
    bytes.map(|(_, value)| value).sum::<f64>() as usize
}

fn admin(settings: &mut dashgate::config::Settings) {
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
}

#[tokio::test(start_paused = true)]
async fn five_hundred_sessions_at_once_are_answered_and_take_48_kib_each() {
    const SESSIONS: usize = 500;
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), admin).await;
    let before = charged(&gateway).await;
    let clients: Vec<_> = (0..SESSIONS.div_ceil(50)).map(|_| connection()).collect();
    let opening = async {
        let mut calls = Vec::new();
        for number in 0..SESSIONS {
            let client = clients[number / 50].clone();
            calls.push(LiveCall::open_with(&gateway, client, setup(OMNI), &[]));
        }
        futures_util::future::join_all(calls).await
    };
    let (calls, sockets) = tokio::join!(opening, async {
        let mut sockets = Vec::new();
        for _ in 0..SESSIONS {
            sockets.push(upstream.session().await);
        }
        sockets
    });
    sleep(Duration::from_secs(10)).await;
    let each = (charged(&gateway).await - before) / SESSIONS;
    assert!(each <= 48 * 1024, "{each} bytes");
    let mut tasks = JoinSet::new();
    for mut socket in sockets {
        tasks.spawn(async move {
            socket.configured().await;
            socket.until("input_audio_buffer.append").await;
            socket.answer("resp_1", "hello");
            socket.finish().await;
        });
    }
    for call in calls {
        let mut call = call.unwrap();
        tasks.spawn(async move {
            call.send(Ask::Audio(vec![1; 3200].into())).await;
            let events = call
                .until(|event| matches!(event, Heard::ResponseCompleted(_)))
                .await;
            assert_eq!(answer(&events).0, "hello");
            call.half_close();
            call.rest().await;
        });
    }
    tasks.join_all().await;
}

/// A session of 20 ms frames in both directions, for this long.
async fn long(length: Duration) {
    const FRAME: Duration = Duration::from_millis(20);
    let frames = length.as_millis() / FRAME.as_millis();
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = gateway_at(upstream.base_url(), |settings| {
        admin(settings);
        settings.live.upstream_limit = Duration::from_secs(48 * 3600);
    })
    .await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.response_created("resp_1");
    let begun = Instant::now();
    let mut most = 0;
    for number in 1..=frames {
        call.send(Ask::Audio(vec![1; 640].into())).await;
        let frame = socket.until("input_audio_buffer.append").await;
        assert!(frame["audio"].as_str().unwrap().len() > 800);
        socket.seen.clear();
        socket.speak("resp_1", &[2; 960]);
        call.until(|event| matches!(event, Heard::ResponseDelta(_)))
            .await;
        let due = begun + FRAME * u32::try_from(number).unwrap();
        // A frame takes none of the time of the next one.
        assert!(Instant::now() <= due, "frame {number} is late");
        sleep_until(due).await;
        if number % 3_000 == 0 {
            most = charged(&gateway).await.max(most);
        }
    }
    // The journal is full after a minute, and nothing else grows.
    assert!(most < 2_500_000, "{most} bytes");
    socket.response_done("resp_1", "completed");
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}");
    };
    let expected = i64::try_from(length.as_secs()).unwrap();
    assert_eq!(ended.input_audio_duration.unwrap().seconds, expected);
    assert_eq!(ended.output_audio_duration.unwrap().seconds, expected);
}

#[tokio::test(start_paused = true)]
async fn two_minutes_of_frames_neither_drift_nor_grow() {
    long(Duration::from_secs(2 * 60)).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn ten_hours_of_frames_neither_drift_nor_grow() {
    long(Duration::from_secs(10 * 3600)).await;
}
