//! Answers that DashScope really gave, through the whole gateway.
//!
//! What an answer means is worked out here once more, from its JSON alone, by another hand than the
//! gateway's.

use bytes::Bytes;
use dashgate::chat::event::Event as Said;
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::{Decoder, Frame, Limits};
use dashgate::error::{Error, Reason};
use dashgate::grpc::pb::{self, content};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::mutations::mutate;
use crate::normalized::{bodies, heard, meaning, read};
use crate::notation::message;
use crate::recorded::{Recording, recordings, streams};
use crate::response_forms::OSS_PATH;
use crate::support::*;

/// How far apart the cuts are that are made in the whole gateway. A prime, so that they fall on
/// every part of a line.
const STRIDE: usize = 251;

pub async fn a_recorded_call_is_asked_and_answered_as_it_was() {
    for recording in recordings("multimodal-generation-") {
        let upstream = Upstream::always(recording.steps()).await;
        let gateway = gateway(&upstream).await;
        let expected = meaning(&bodies(&recording));
        let found = if recording.is_stream() {
            let call: pb::ConverseStreamRequest = message(&recording.call());
            let events = gateway.conversation().converse_stream(call).await.unwrap();
            heard(events.into_inner().collect().await)
        } else {
            let call: pb::ConverseRequest = message(&recording.call());
            read(
                gateway
                    .conversation()
                    .converse(call)
                    .await
                    .unwrap()
                    .into_inner(),
            )
        };
        let name = &recording.name;
        assert_eq!(found, expected, "{name}");
        assert_eq!(upstream.seen()[0].json(), recording.body(), "{name}");
        let streamed = upstream.seen()[0].header("x-dashscope-sse").is_some();
        assert_eq!(streamed, recording.is_stream(), "{name}");
    }
}

pub async fn a_recorded_refusal_is_a_status() {
    for (name, code, reason) in [
        (
            "auth-error",
            Code::FailedPrecondition,
            "UPSTREAM_CREDENTIAL",
        ),
        (
            "parameter-error",
            Code::InvalidArgument,
            "UPSTREAM_REJECTED",
        ),
    ] {
        for recording in recordings(name) {
            let upstream = Upstream::always(recording.steps()).await;
            // Each call has its own gateway: an error may pause the account.
            let first = gateway(&upstream).await;
            let whole = first.conversation().converse(ask_whole(question())).await;
            let second = gateway(&upstream).await;
            let stream = ask_stream(question());
            let stream = second.conversation().converse_stream(stream).await;
            for status in [whole.map(|_| ()), stream.map(|_| ())] {
                let status = status.unwrap_err();
                assert_fault(&status, code, reason);
                let id = bodies(&recording)[0]["request_id"].clone();
                let told = status.metadata().get("x-dashscope-request-id").unwrap();
                assert_eq!(json!(told.to_str().unwrap()), id);
            }
        }
    }
}

pub async fn a_recorded_certificate_lets_a_file_be_stored() {
    for recording in recordings("get-upload-policy") {
        let policy = recording.clone();
        let upstream = Upstream::start(move |number, request| match number {
            0 => {
                let host = format!("http://{}{OSS_PATH}", request.header("host").unwrap());
                policy.replaced(
                    "https://dashscope-file-mgr.oss-cn-beijing.aliyuncs.com",
                    &host,
                )
            }
            1 => http(200, "", b""),
            _ => json(200, &whole("好")),
        })
        .await;
        let mut settings = settings(&upstream);
        settings.upstream.inline_limit = 16;
        let gateway = gateway_with(settings).await;
        let audio = pb::Audio {
            mime_type: "audio/wav".to_owned(),
            source: Some(pb::audio::Source::Data(Bytes::from_static(b"RIFF....WAVE"))),
            ..pb::Audio::default()
        };
        let call = conversation("qwen-vl-plus", vec![content::Kind::Audio(audio)]);
        gateway
            .conversation()
            .converse(ask_whole(call))
            .await
            .unwrap();
        let data = bodies(&recording)[0]["data"].clone();
        let uri = upstream.seen()[2].json()["input"]["messages"][0]["content"][0]["audio"].clone();
        let folder = format!("oss://{}/", data["upload_dir"].as_str().unwrap());
        assert!(uri.as_str().unwrap().starts_with(&folder), "{uri}");
    }
}

/// The events of a stream that comes in these pieces.
fn frames(pieces: &[Bytes]) -> Vec<Frame> {
    let mut decoder = Decoder::new(Limits {
        line_bytes: 1 << 20,
        event_bytes: 1 << 20,
    });
    let mut frames = Vec::new();
    let mut take = |decoder: &mut Decoder| {
        while let Some(frame) = decoder.next().unwrap() {
            frames.push(frame);
        }
    };
    for piece in pieces {
        decoder.push(piece.clone());
        take(&mut decoder);
    }
    decoder.end();
    take(&mut decoder);
    frames
}

/// What the events say.
fn said(frames: &[Frame]) -> (Vec<Said>, Result<(), Error>) {
    let mut reply = Reply::new(Opening {
        warnings: Vec::new(),
        form: dashgate::dashscope::TextForm::Unknown,
        model: "m".into(),
        request_id: String::new(),
        choices: 1,
    });
    let outcome = frames.iter().try_for_each(|frame| reply.push_frame(frame));
    let outcome = outcome.and_then(|()| reply.finish());
    let mut events = Vec::new();
    while let Some(event) = reply.pop() {
        events.push(event);
    }
    (events, outcome)
}

pub fn u17_a_recorded_stream_cut_at_any_byte_has_the_same_events() {
    for recording in recordings("").into_iter().filter(Recording::is_stream) {
        let all = Bytes::from(recording.answer.clone());
        let whole = frames(std::slice::from_ref(&all));
        assert!(!whole.is_empty());
        for at in 0..=all.len() {
            let pieces = [all.slice(..at), all.slice(at..)];
            assert_eq!(frames(&pieces), whole, "{} at {at}", recording.name);
        }
        let bytes: Vec<Bytes> = (0..all.len()).map(|at| all.slice(at..=at)).collect();
        assert_eq!(frames(&bytes), whole, "{} byte by byte", recording.name);
    }
}

pub fn u8_a_recorded_stream_that_ends_at_any_byte_is_never_complete() {
    for recording in streams() {
        let all = Bytes::from(recording.answer.clone());
        let (events, outcome) = said(&frames(std::slice::from_ref(&all)));
        outcome.unwrap();
        let end = recording.last_brace();
        for at in 0..all.len() {
            let cut = frames(&[all.slice(..at)]);
            // Only the last two can hold the end, and reading all of them each time is slow.
            let last = cut.len().saturating_sub(2);
            let (begun, outcome) = said(&cut[last..]);
            match outcome {
                Ok(()) => assert!(at > end, "{} at {at} is no whole answer", recording.name),
                Err(error) => {
                    assert!(at <= end, "{} at {at} is a whole answer", recording.name);
                    assert_eq!(error.reason(), Reason::StreamTruncated, "at {at}");
                    assert!(!begun.iter().any(|event| matches!(event, Said::End(_))));
                }
            }
        }
        // The short way above is the long one.
        for at in (0..all.len()).step_by(STRIDE) {
            let (begun, outcome) = said(&frames(&[all.slice(..at)]));
            assert_eq!(outcome.is_ok(), at > end);
            let same = begun.iter().zip(&events).all(|(a, b)| a == b);
            assert!(same || outcome.is_ok(), "{} at {at}", recording.name);
        }
    }
}

pub async fn u17_a_recorded_stream_cut_on_the_wire_has_the_same_events() {
    for recording in streams() {
        let expected = meaning(&bodies(&recording));
        let mut steps = vec![sse()];
        // One call for each piece that the stream is cut into would be the same test, but slow.
        steps.extend(recording.answer.chunks(STRIDE).map(piece));
        steps.push(end());
        let mut scripts = vec![steps];
        for at in (1..6).chain((6..recording.answer.len()).step_by(STRIDE * 16)) {
            let (head, tail) = recording.answer.split_at(at);
            let pause = Step::Pause(std::time::Duration::from_millis(1));
            scripts.push(vec![sse(), piece(head), pause, piece(tail), end()]);
        }
        for steps in scripts {
            let upstream = Upstream::always(steps).await;
            let gateway = gateway(&upstream).await;
            let mut client = gateway.conversation();
            let stream = client
                .converse_stream(ask_stream(question()))
                .await
                .unwrap();
            let events = stream.into_inner().collect().await;
            assert_eq!(heard(events), expected, "{}", recording.name);
        }
    }
}

pub async fn u8_a_recorded_stream_that_breaks_on_the_wire_is_never_ok() {
    for recording in streams() {
        let end_of_answer = recording.last_brace();
        for at in (0..end_of_answer).step_by(STRIDE * 4) {
            let head = piece(&recording.answer[..at]);
            for last in [Step::Close, Step::Reset, end()] {
                let mut steps = vec![sse(), last];
                if at > 0 {
                    steps.insert(1, head.clone());
                }
                let upstream = Upstream::always(steps).await;
                let gateway = gateway(&upstream).await;
                let mut client = gateway.conversation();
                let status = match client.converse_stream(ask_stream(question())).await {
                    Err(status) => status,
                    Ok(stream) => {
                        let events: Vec<_> = stream.into_inner().collect().await;
                        events.into_iter().next_back().unwrap().unwrap_err()
                    }
                };
                assert_fault(&status, Code::Internal, "STREAM_TRUNCATED");
            }
        }
    }
}

pub fn s1_no_mutation_of_a_recording_loses_a_part_in_silence() {
    let recordings = recordings("");
    let texts = recordings
        .iter()
        .filter_map(|recording| std::str::from_utf8(&recording.answer).ok());
    let answers: Vec<_> = texts.filter_map(crate::mutations::bodies).collect();
    assert!(!answers.is_empty());
    let (read, refused) = mutate(&answers);
    assert!(read > refused, "{read} of {}", read + refused);
}
