//! What a live session uses: per response, per session, in the metrics, against the limits of the
//! caller, and in the log; and how long the first audio of a response takes.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::{Value, json};
use tokio::time::sleep;
use tonic::Code;
use tracing_subscriber::fmt::MakeWriter;

use crate::callers::Folder;
use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::metrics::{Scrape, page};
use crate::support::live_call::{LiveCall, setup, started};
use crate::support::realtime::{RealtimeUpstream, UpstreamSocket};
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";

/// The lines of the log on this thread, on which all of a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// The line of the last call.
    fn last_call(&self) -> Value {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let of_call = |line: &Value| line["target"] == "dashgate::call";
        lines.rev().find(of_call).unwrap()
    }
}

/// A response that was requested, whose usage is 20 tokens in and 10 out.
async fn exchange(call: &mut LiveCall, socket: &mut UpstreamSocket, id: &str) {
    call.send(create()).await;
    socket.until("response.create").await;
    socket.response_created(id);
    sleep(Duration::from_millis(700)).await;
    // Half a second at 24 kHz.
    socket.speak(id, &[1; 24_000]);
    socket.response_done(id, "completed");
}

#[tokio::test(start_paused = true)]
async fn usage_is_reported_by_modality_per_response_and_session_in_metrics_and_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true);
    let subscriber = subscriber.with_writer(log.clone()).finish();
    // With a single subscriber, places in the code that another thread comes by first are off.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    // A second and a half at 16 kHz.
    call.send(Ask::Audio(vec![1; 48_000].into())).await;
    for id in ["r1", "r2"] {
        exchange(&mut call, &mut socket, id).await;
        let events = call.until(|event| completed(event).is_some()).await;
        let end = completed(events.last().unwrap()).unwrap();
        let usage = end.usage.as_ref().unwrap();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens),
            (Some(20), Some(10))
        );
        let details = usage.output_tokens_details.as_ref().unwrap();
        assert_eq!(
            (details.text_tokens, details.audio_tokens),
            (Some(4), Some(6))
        );
        let latency = end.first_audio_latency.as_ref().unwrap();
        assert_eq!((latency.seconds, latency.nanos), (0, 700_000_000));
    }
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    let usage = ended.usage.as_ref().unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(40), Some(20))
    );
    let details = usage.input_tokens_details.as_ref().unwrap();
    assert_eq!(
        (details.text_tokens, details.audio_tokens),
        (Some(10), Some(30))
    );
    assert_eq!(ended.responses, 2);
    let span = |duration: &Option<prost_types::Duration>| {
        let duration = duration.as_ref().unwrap();
        (duration.seconds, duration.nanos)
    };
    assert_eq!(span(&ended.input_audio_duration), (1, 500_000_000));
    assert_eq!(span(&ended.output_audio_duration), (1, 0));
    check_metrics(&gateway).await;
    let line = log.last_call();
    for (field, expected) in [
        ("outcome", json!("OK")),
        ("input_tokens", json!(40)),
        ("output_tokens", json!(20)),
        ("responses", json!(2)),
        ("input_audio_ms", json!(1500.0)),
        ("output_audio_ms", json!(1000.0)),
        ("ttft_ms", json!(700.0)),
    ] {
        assert_eq!(line[field], expected, "{field}: {line}");
    }
}

/// Checks the metrics after two responses, whose first audio took 700 ms each.
async fn check_metrics(gateway: &Running) {
    let numbers = Scrape::of(&page(gateway, "/metrics").await);
    for (kind, count) in [("input", 40.0), ("output", 20.0)] {
        let labels = format!("caller=\"anonymous\",kind=\"{kind}\",model=\"{OMNI}\"");
        let series = format!("dashgate_tokens_total{{{labels}}}");
        assert_eq!(numbers.value(&series), count, "{kind}");
    }
    let first = numbers.some("dashgate_live_first_audio_seconds_count");
    assert_eq!(first.iter().map(|(_, count)| count).sum::<f64>(), 2.0);
    let first = numbers.some("dashgate_live_first_audio_seconds_sum");
    let sum = first.iter().map(|(_, sum)| sum).sum::<f64>();
    assert!((sum - 1.4).abs() < 0.01, "{sum}");
    let audio = numbers.some("dashgate_live_audio_seconds_total");
    for (direction, seconds) in [("input", 1.5), ("output", 1.0)] {
        let is_of = |(series, _): &&(&str, f64)| series.contains(direction);
        let (_, counted) = audio.iter().find(is_of).unwrap();
        assert!((counted - seconds).abs() < 0.01, "{audio:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_that_is_reported_again_is_counted_once() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    exchange(&mut call, &mut socket, "r1").await;
    socket.response_done("r1", "completed");
    // The end of a response that was cancelled may come late, and then again.
    call.send(create()).await;
    socket.until("response.create").await;
    socket.response_created("r2");
    socket.response_created("r3");
    for _ in 0..3 {
        socket.response_done("r2", "cancelled");
    }
    socket.response_done("r3", "completed");
    call.half_close();
    socket.finish().await;
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    assert_eq!(ended.responses, 3);
    assert_eq!(ended.usage.as_ref().unwrap().input_tokens, Some(60));
}

#[tokio::test(start_paused = true)]
async fn the_first_audio_after_a_detected_turn_is_measured_from_the_end_of_speech() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    socket.speech_started("item_1");
    sleep(Duration::from_secs(3)).await;
    socket.speech_stopped("item_1");
    sleep(Duration::from_millis(300)).await;
    socket.response_created("r1");
    sleep(Duration::from_millis(200)).await;
    socket.transcript("r1", "hi");
    sleep(Duration::from_millis(100)).await;
    socket.speak("r1", &[1; 480]);
    sleep(Duration::from_secs(2)).await;
    socket.speak("r1", &[1; 480]);
    socket.response_done("r1", "completed");
    let events = call.until(|event| completed(event).is_some()).await;
    let latency = completed(events.last().unwrap()).unwrap();
    let latency = latency.first_audio_latency.as_ref().unwrap();
    assert_eq!((latency.seconds, latency.nanos), (0, 600_000_000));
    // A response without audio has none.
    socket.answer("r2", "text");
    let events = call.until(|event| completed(event).is_some()).await;
    let end = completed(events.last().unwrap()).unwrap();
    assert_eq!(end.first_audio_latency, None);
}

#[tokio::test(start_paused = true)]
async fn tokens_count_against_the_limits_of_the_caller_and_end_its_session() {
    for (per_day, reason) in [(true, "CALLER_BUDGET"), (false, "CALLER_TOKENS")] {
        let mut upstream = RealtimeUpstream::start().await;
        let folder = Folder::new();
        let (_, key) = folder.key("team-a", |entry| match per_day {
            true => entry.limits.tokens_per_day = Some(60),
            false => entry.limits.tokens_per_minute = Some(60),
        });
        let http = Upstream::always(vec![Step::Close]).await;
        let mut settings = folder.settings(&http);
        settings.upstream.endpoint = settings_at(upstream.base_url()).upstream.endpoint;
        let gateway = gateway_with(settings).await;
        let opening = LiveCall::open_as(&gateway, by_hand(OMNI), &key);
        let (call, mut socket) = tokio::join!(opening, upstream.session());
        let mut call = call.unwrap();
        socket.configured().await;
        exchange(&mut call, &mut socket, "r1").await;
        call.until(|event| completed(event).is_some()).await;
        exchange(&mut call, &mut socket, "r2").await;
        let events = call.until(|event| completed(event).is_some()).await;
        let end = completed(events.last().unwrap()).unwrap();
        assert_eq!(end.status(), pb::ResponseStatus::Completed);
        let status = call.status().await;
        assert_fault(&status, Code::ResourceExhausted, reason);
        assert_eq!(call_failure(&status).usage.unwrap().total_tokens, Some(60));
        // Another session is refused before it is opened.
        let refused = LiveCall::open_as(&gateway, by_hand(OMNI), &key).await;
        assert_fault(&refused.err().unwrap(), Code::ResourceExhausted, reason);
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_stream_is_counted_as_a_repair() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    let (mut call, _socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    let first = started(&mut call).await;
    let _resumed = LiveCall::resume(&gateway, &first, 1).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let numbers = Scrape::of(&page(&gateway, "/metrics").await);
    let repairs = numbers.some("dashgate_live_repairs_total");
    let [(series, count)] = repairs[..] else {
        panic!("{repairs:?}")
    };
    assert!(series.contains("resume") && (count - 1.0).abs() < 0.5);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_with_its_session_is_counted_like_any_other() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    exchange(&mut call, &mut socket, "r1").await;
    call.until(|event| completed(event).is_some()).await;
    socket.response_created("r2");
    call.until(|event| matches!(event, Heard::ResponseStarted(_)))
        .await;
    socket.cut();
    let status = call.status().await;
    assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
    let scrape = Scrape::of(&page(&gateway, "/metrics").await);
    let counted: Vec<_> = scrape.some("dashgate_live_responses_total");
    for status in ["completed", "failed"] {
        let is_of = |(series, _): &&(&str, f64)| series.contains(status);
        let found = counted.iter().find(is_of).unwrap();
        assert!((found.1 - 1.0).abs() < 0.5, "{counted:?}");
    }
}
