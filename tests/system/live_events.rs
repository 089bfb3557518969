//! The events of a live session: tool calls, images, transcripts, refusals and errors, and what
//! this version of the gateway does not know.

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use dashgate::grpc::pb::response_delta::Part;
use serde_json::{Value, json};
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::{LiveCall, answer, order, setup};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const OMNI: &str = "qwen3-omni-flash-realtime";
const TRANSCRIPTION: &str = "conversation.item.input_audio_transcription";

/// The next warning.
async fn warning(call: &mut LiveCall) -> pb::SessionWarning {
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    match events.into_iter().next_back() {
        Some(Heard::SessionWarning(warning)) => warning,
        other => panic!("{other:?}"),
    }
}

/// The pieces of tool calls among these events.
fn calls(events: &[Heard]) -> Vec<pb::ToolCall> {
    let deltas = events.iter().filter_map(|event| match event {
        Heard::ResponseDelta(delta) => delta.part.clone(),
        _ => None,
    });
    deltas
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn tool_calls_are_deltas_and_their_results_are_sent_back() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.send(json!({"type": "response.created", "response": {"id": "r1"}}));
    socket.send(
        json!({"type": "response.output_item.added", "response_id": "r1",
        "output_index": 0, "item": {"id": "item_1", "type": "function_call",
        "call_id": "call_1", "name": "get_weather", "arguments": ""}}),
    );
    for delta in ["{\"city\":", "\"Paris\"}"] {
        socket.send(
            json!({"type": "response.function_call_arguments.delta", "response_id": "r1",
            "item_id": "item_1", "output_index": 0, "call_id": "call_1", "delta": delta}),
        );
    }
    socket.send(
        json!({"type": "response.function_call_arguments.done", "response_id": "r1",
        "item_id": "item_1", "output_index": 0, "call_id": "call_1", "name": "get_weather",
        "arguments": "{\"city\":\"Paris\"}"}),
    );
    socket.item_done("r1");
    socket.response_done("r1", "completed");
    let events = call.until(|event| completed(event).is_some()).await;
    let calls = calls(&events);
    assert_eq!((&*calls[0].id, &*calls[0].name), ("call_1", "get_weather"));
    assert!(
        calls[1..]
            .iter()
            .all(|call| call.id.is_empty() && call.name.is_empty())
    );
    let arguments: String = calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, "{\"city\":\"Paris\"}");
    call.send(Ask::ToolResult(pb::ToolResult {
        tool_call_id: "call_1".to_owned(),
        output: "{\"degrees\":18}".to_owned(),
    }))
    .await;
    call.send(create()).await;
    let item = socket.until("conversation.item.create").await["item"].clone();
    let expected = json!({
        "type": "function_call_output", "call_id": "call_1", "output": "{\"degrees\":18}",
    });
    assert_eq!(item, expected);
    socket.until("response.create").await;
    socket.answer("r2", "18 degrees");
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(answer(&events).0, "18 degrees");
}

#[tokio::test(start_paused = true)]
async fn images_follow_audio_and_those_that_cannot_work_are_refused() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    let image = |length: usize| {
        let mut jpeg = vec![0xff, 0xd8, 0xff];
        jpeg.resize(length, 0);
        Ask::Image(jpeg.into())
    };
    call.send(image(100)).await;
    let early = warning(&mut call).await;
    assert_eq!((&*early.field, early.refused_message), ("image", 2));
    call.send(Ask::Audio(vec![1; 3200].into())).await;
    call.send(image(190 * 1024 + 1)).await;
    let large = warning(&mut call).await;
    assert_eq!((&*large.field, large.refused_message), ("image", 4));
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    for (other, position) in [(&png[..], 5), (b"RIFF\0\0\0\0WEBP", 6)] {
        call.send(Ask::Image(other.to_vec().into())).await;
        let refused = warning(&mut call).await;
        assert_eq!(refused.reason(), pb::ErrorReason::InvalidRequest);
        assert_eq!(
            (&*refused.field, refused.refused_message),
            ("image", position)
        );
        assert!(refused.message.contains("JPEG"), "{refused:?}");
    }
    call.send(image(100)).await;
    call.send(Ask::Commit(pb::CommitInput {})).await;
    socket.until("input_audio_buffer.commit").await;
    let expected = [
        "session.update",
        "input_audio_buffer.append",
        "input_image_buffer.append",
        "input_audio_buffer.commit",
    ];
    assert_eq!(socket.kinds(), expected);
    // A model without images.
    let model = "qwen-audio-3.1-realtime-plus";
    let (mut call, _socket) = upstream.open(&gateway, setup(model)).await;
    call.send(Ask::Audio(vec![1; 3200].into())).await;
    call.send(image(100)).await;
    assert_eq!(warning(&mut call).await.field, "image");
}

#[tokio::test(start_paused = true)]
async fn transcripts_have_all_words_so_far_in_each_form_that_dashscope_sends() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, setup(OMNI)).await;
    let part = |step: &str, mut fields: Value| {
        fields["type"] = json!(format!("{TRANSCRIPTION}.{step}"));
        fields["item_id"] = json!("item_1");
        socket.send(fields);
    };
    part("delta", json!({"delta": "How "}));
    part("delta", json!({"delta": "are"}));
    part(
        "text",
        json!({"text": "How are ", "stash": "yo", "language": "en"}),
    );
    part("text", json!({"text": "How are ", "stash": "you"}));
    part(
        "completed",
        json!({"transcript": "How are you?", "emotion": "neutral"}),
    );
    socket.send(json!({
        "type": "conversation.item.ambient_audio_transcription.delta", "item_id": "item_2",
        "text": "hm", "stash": "",
    }));
    socket.send(json!({
        "type": format!("{TRANSCRIPTION}.failed"), "item_id": "item_3",
        "error": {"code": "too_short", "message": "The audio is too short."},
    }));
    let events = call
        .until(|event| matches!(event, Heard::SessionWarning(_)))
        .await;
    let heard: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Heard::InputTranscript(of) => Some((&*of.text, &*of.tentative, of.r#final)),
            _ => None,
        })
        .collect();
    let expected = [
        ("How ", "", false),
        ("How are", "", false),
        ("How are ", "yo", false),
        ("How are ", "you", false),
        ("How are you?", "", true),
    ];
    assert_eq!(heard, expected);
    let last = events.iter().rev().find_map(|event| match event {
        Heard::InputTranscript(of) => Some((&*of.language, &*of.emotion)),
        _ => None,
    });
    assert_eq!(last, Some(("en", "neutral")));
    let ambient = events.iter().find_map(|event| match event {
        Heard::AmbientTranscript(of) => Some((&*of.item_id, &*of.text)),
        _ => None,
    });
    assert_eq!(ambient, Some(("item_2", "hm")));
    let Some(Heard::SessionWarning(failed)) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&*failed.code, &*failed.field),
        ("TRANSCRIPTION_FAILED", "item_3")
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_warning_with_the_position_of_the_refused_message() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let opening = LiveCall::open(&gateway, by_hand(OMNI));
    let (call, mut socket) = tokio::join!(opening, upstream.session());
    let mut call = call.unwrap();
    let update = socket.until("session.update").await;
    socket.refuse(&update["event_id"], "session.voice", "no such voice");
    let refused = warning(&mut call).await;
    assert_eq!(
        (&*refused.field, refused.refused_message),
        ("session.voice", 1)
    );
    assert_eq!(refused.code, "invalid_value");
    // DashScope's own message needs `upstream.show_messages`.
    assert!(!refused.message.contains("no such voice"));
    assert_eq!(refused.reason().as_str_name(), "UPSTREAM_REJECTED");
    call.send(Ask::Audio(vec![1; 320].into())).await;
    call.send(Ask::Commit(pb::CommitInput {})).await;
    let commit = socket.until("input_audio_buffer.commit").await;
    call.send(Ask::Text("hello".to_owned())).await;
    socket.until("conversation.item.create").await;
    socket.refuse(
        &commit["event_id"],
        "input_audio_buffer",
        "buffer too small",
    );
    assert_eq!(warning(&mut call).await.refused_message, 3);
    // A response that was refused is not awaited.
    call.send(create()).await;
    let create = socket.until("response.create").await;
    socket.refuse(
        &create["event_id"],
        "",
        "Cannot create response while user is speaking.",
    );
    assert_eq!(warning(&mut call).await.refused_message, 5);
    // A refusal that is not of an event of this connection.
    socket.refuse(&json!("event_x"), "", "whatever");
    assert_eq!(warning(&mut call).await.refused_message, 0);
    call.half_close();
    socket.finish().await;
    assert_eq!(order(&call.rest().await), ["session_ended"]);
}

#[tokio::test(start_paused = true)]
async fn errors_that_end_the_session_have_the_status_of_their_cause() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for (kind, code, message, expected, reason) in [
        (
            "server_error",
            "internal_error",
            "Oops",
            Code::Internal,
            "UPSTREAM_INTERNAL",
        ),
        (
            "server_error",
            "Throttling.RateQuota",
            "slow down",
            Code::ResourceExhausted,
            "UPSTREAM_RATE",
        ),
        (
            "server_error",
            "DataInspectionFailed",
            "content",
            Code::InvalidArgument,
            "CONTENT_BLOCKED",
        ),
        (
            "server_error",
            "session_expired",
            "Session expired.",
            Code::DeadlineExceeded,
            "SESSION_EXPIRED",
        ),
    ] {
        let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
        let error = json!({"type": kind, "code": code, "message": message});
        socket.send(json!({"type": "error", "error": error}));
        let status = call.status().await;
        assert_fault(&status, expected, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_event_is_a_warning_with_all_of_it() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, socket) = upstream.open(&gateway, by_hand(OMNI)).await;
    socket.send(json!({"type": "response.video.delta", "delta": "AA==", "index": 3}));
    let unknown = warning(&mut call).await;
    assert_eq!(unknown.code, "UNKNOWN_EVENT");
    assert!(unknown.message.contains("response.video.delta"));
    let extra = unknown.extra.unwrap();
    let Some(prost_types::value::Kind::NumberValue(index)) = extra.fields["index"].kind else {
        panic!("{extra:?}")
    };
    assert_eq!(index.to_bits(), 3.0_f64.to_bits());
}

#[tokio::test(start_paused = true)]
async fn compact_frames_of_the_first_generation_are_deltas_of_the_running_response() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let (mut call, mut socket) = upstream
        .open(&gateway, by_hand("qwen-omni-turbo-realtime"))
        .await;
    call.send(create()).await;
    socket.until("response.create").await;
    socket.send(json!({"type": "response.created", "response": {"id": "r1"}}));
    socket.send(json!({"choices": [{"delta": {"content": "hel"}}]}));
    socket.send(json!({"choices": [{"delta": {"content": "lo"}}]}));
    socket.send(json!({"choices": [{"delta": {"audio": {"data": "AQI="}}}]}));
    socket.response_done("r1", "completed");
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(answer(&events), ("hello".to_owned(), String::new(), 2));
    let ids = events.iter().filter_map(|event| match event {
        Heard::ResponseDelta(delta) => Some(&*delta.response_id),
        _ => None,
    });
    assert!(ids.into_iter().all(|id| id == "r1"));
}

#[tokio::test(start_paused = true)]
async fn snapshots_become_deltas_and_repeat_nothing() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let model = "qwen3-livetranslate-flash-realtime";
    let (mut call, socket) = upstream.open(&gateway, setup(model)).await;
    socket.response_created("r1");
    for text in ["good", "good mor", "good morning"] {
        socket.send(
            json!({"type": "response.audio_transcript.text", "response_id": "r1",
            "item_id": "item_r1", "text": text, "stash": ""}),
        );
    }
    socket.send(
        json!({"type": "response.audio_transcript.done", "response_id": "r1",
        "item_id": "item_r1", "transcript": "good morning"}),
    );
    socket.response_done("r1", "completed");
    let events = call.until(|event| completed(event).is_some()).await;
    assert_eq!(answer(&events).1, "good morning");
}
