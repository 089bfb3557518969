//! Tool calls whose arguments DashScope does not send in deltas, and the usage of transcriptions.

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::response_delta::Part;
use serde_json::{Value, json};
use tonic::Code;

use crate::callers::Folder;
use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::metrics::{Scrape, page};
use crate::support::live_call::{LiveCall, setup};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const ASR: &str = "qwen3-asr-flash-realtime";
const ARGUMENTS: &str = r#"{"city":"Paris"}"#;

/// The tool call as an item, with these arguments.
fn item(arguments: &str) -> Value {
    json!({"id": "item_1", "type": "function_call", "status": "completed",
        "call_id": "call_1", "name": "get_weather", "arguments": arguments})
}

/// An event about the arguments of the call.
fn of_arguments(kind: &str, key: &str, value: &str) -> Value {
    json!({"type": format!("response.function_call_arguments.{kind}"), "response_id": "r1",
        "item_id": "item_1", "output_index": 0, "call_id": "call_1", key: value})
}

/// An event about the item.
fn of_item(kind: &str, item: &Value) -> Value {
    json!({"type": format!("response.output_item.{kind}"), "response_id": "r1",
        "output_index": 0, "item": item})
}

#[tokio::test(start_paused = true)]
async fn arguments_are_passed_on_once_from_every_field() {
    let added = of_item("added", &item(""));
    let delta = of_arguments("delta", "delta", r#"{"city":"#);
    let done = of_arguments("done", "arguments", ARGUMENTS);
    let nothing_done = of_arguments("done", "arguments", "");
    let item_done = of_item("done", &item(ARGUMENTS));
    let empty_item_done = of_item("done", &item(""));
    let whole_delta = of_arguments("delta", "delta", ARGUMENTS);
    let spaced_item_done = of_item("done", &item(r#"{"city": "Paris"}"#));
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for (frames, listed) in [
        (vec![&added, &done, &item_done], true),
        (vec![&added, &item_done], true),
        (vec![&item_done], true),
        (vec![&done, &item_done], false),
        (vec![&added, &nothing_done, &item_done], true),
        (vec![&added, &delta, &item_done], true),
        (vec![&added, &delta, &done], true),
        (vec![&added, &empty_item_done], true),
        // The same arguments, written in another way.
        (vec![&added, &whole_delta, &spaced_item_done], false),
        (vec![], true),
    ] {
        let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
        call.send(create()).await;
        socket.until("response.create").await;
        socket.send(json!({"type": "response.created", "response": {"id": "r1"}}));
        for frame in &frames {
            socket.send((*frame).clone());
        }
        let output = listed.then(|| item(ARGUMENTS));
        socket.send(json!({"type": "response.done", "response": {"id": "r1",
            "status": "completed", "output": output.as_slice()}}));
        let events = call.until(|event| completed(event).is_some()).await;
        let calls: Vec<pb::ToolCall> = events
            .into_iter()
            .filter_map(|event| match event {
                Heard::ResponseDelta(delta) => match delta.part? {
                    Part::ToolCall(call) => Some(call),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let first = calls.first().unwrap();
        assert_eq!((&*first.id, &*first.name), ("call_1", "get_weather"));
        assert!(calls[1..].iter().all(|call| call.id.is_empty()));
        let arguments: String = calls.iter().map(|call| &*call.arguments).collect();
        assert_eq!(arguments, ARGUMENTS, "{frames:?}");
    }
}

/// A transcript that has used 25 tokens for the audio and 10 for the text.
fn transcript(item_id: &str) -> Value {
    json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item_id,
        "content_index": 0, "transcript": "hello", "usage": {"total_tokens": 35,
        "input_tokens": 25, "output_tokens": 10, "input_tokens_details": {"audio_tokens": 25},
        "output_tokens_details": {"text_tokens": 10}}})
}

#[tokio::test(start_paused = true)]
async fn the_usage_of_transcripts_is_in_the_session_and_in_the_metrics() {
    let mut upstream = RealtimeUpstream::start().await;
    let mut settings = settings_at(upstream.base_url());
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    let gateway = gateway_with(settings).await;
    let (mut call, mut socket) = upstream.open(&gateway, setup(ASR)).await;
    call.send(Ask::Audio(vec![1; 3200].into())).await;
    socket.send(transcript("item_1"));
    call.half_close();
    socket.until("session.finish").await;
    socket.send(transcript("item_2"));
    socket.send(json!({"type": "session.finished"}));
    let rest = call.rest().await;
    let Some(Heard::SessionEnded(ended)) = rest.last() else {
        panic!("{rest:?}")
    };
    let usage = ended.usage.as_ref().unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.total_tokens),
        (Some(50), Some(20), Some(70))
    );
    let details = usage.input_tokens_details.as_ref().unwrap();
    assert_eq!(details.audio_tokens, Some(50));
    assert_eq!(ended.responses, 0);
    let numbers = Scrape::of(&page(&gateway, "/metrics").await);
    for (kind, count) in [("input", 50.0), ("output", 20.0)] {
        let labels = format!("caller=\"anonymous\",kind=\"{kind}\",model=\"{ASR}\"");
        let series = format!("dashgate_tokens_total{{{labels}}}");
        assert_eq!(numbers.value(&series), count, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_usage_of_transcripts_counts_against_the_limits_of_the_caller() {
    let mut upstream = RealtimeUpstream::start().await;
    let folder = Folder::new();
    let (_, key) = folder.key("team-a", |entry| entry.limits.tokens_per_day = Some(70));
    let gateway = gateway_at(upstream.base_url(), |settings| {
        settings.callers.keys_file = Some(folder.keys());
    })
    .await;
    let opening = LiveCall::open_as(&gateway, setup(ASR), &key);
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    socket.configured().await;
    for id in ["item_1", "item_2"] {
        socket.send(transcript(id));
    }
    let status = call.status().await;
    assert_fault(&status, Code::ResourceExhausted, "CALLER_BUDGET");
    assert_eq!(call_failure(&status).usage.unwrap().total_tokens, Some(70));
}
