//! Audio at rates that a model does not accept is resampled in both directions; what cannot be
//! resampled is refused with its field.

use std::f64::consts::TAU;

use dashgate::grpc::pb;
use dashgate::grpc::pb::converse_live_request::Event as Ask;
use dashgate::grpc::pb::converse_live_response::Event as Heard;
use serde_json::json;
use tonic::Code;

use crate::live_repairs_cancel::{by_hand, completed};
use crate::live_repairs_dialects::{before, create};
use crate::support::live_call::{LiveCall, answer};
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const QWEN_AUDIO: &str = "qwen-audio-3.1-realtime-plus";

/// Half a second of a tone of 440 Hz.
fn tone(rate: u32) -> Vec<u8> {
    let at = |n: u32| (f64::from(n) / f64::from(rate) * 440.0 * TAU).sin() * 16_000.0;
    (0..rate / 2)
        .flat_map(|n| (at(n) as i16).to_le_bytes())
        .collect()
}

/// How often the samples change their sign: 440 times in half a second of the tone.
fn sign_changes(pcm: &[u8]) -> usize {
    let samples = pcm
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
    let samples: Vec<i16> = samples.collect();
    samples
        .windows(2)
        .filter(|pair| (pair[0] < 0) != (pair[1] < 0))
        .count()
}

fn format(encoding: pb::AudioEncoding, sample_rate_hz: i32) -> Option<pb::AudioFormat> {
    Some(pb::AudioFormat {
        encoding: encoding.into(),
        sample_rate_hz,
    })
}

#[tokio::test(start_paused = true)]
async fn audio_is_resampled_in_both_directions_without_a_change_of_its_length() {
    let pcm = pb::AudioEncoding::Pcm;
    for (input, output) in [(44_100, 48_000), (48_000, 16_000), (8_000, 44_100)] {
        let mut upstream = RealtimeUpstream::start().await;
        let gateway = before(&upstream).await;
        let setup = pb::LiveSetup {
            input_audio: format(pcm, input),
            output_audio: format(pcm, output),
            ..by_hand(QWEN_AUDIO)
        };
        let opening = LiveCall::open(&gateway, setup);
        let (call, mut socket) = tokio::join!(opening, upstream.session());
        let mut call = call.unwrap();
        // The model is not asked for what it does not have.
        let update = socket.configured().await;
        assert_eq!(update["session"], json!({"turn_detection": null}));
        let Heard::SessionStarted(started) = call.event().await else {
            panic!("not started")
        };
        assert_eq!(started.input_audio, format(pcm, input));
        assert_eq!(started.output_audio, format(pcm, output));
        // Pieces of any length, in the middle of a sample too.
        for piece in tone(u32::try_from(input).unwrap()).chunks(1777) {
            call.send(Ask::Audio(piece.to_vec().into())).await;
        }
        call.send(Ask::Commit(pb::CommitInput {})).await;
        socket.until("input_audio_buffer.commit").await;
        let heard = socket.audio();
        assert_eq!(heard.len(), 16_000, "{input}");
        let changes = sign_changes(&heard);
        assert!((438..=442).contains(&changes), "{input}: {changes}");
        call.send(create()).await;
        socket.until("response.create").await;
        socket.response_created("r1");
        for piece in tone(24_000).chunks(1001) {
            socket.speak("r1", piece);
        }
        socket.response_done("r1", "completed");
        let events = call.until(|event| completed(event).is_some()).await;
        assert_eq!(
            answer(&events).2,
            usize::try_from(output).unwrap(),
            "{output}"
        );
        call.half_close();
        let rest = call.rest().await;
        let Some(Heard::SessionEnded(ended)) = rest.last() else {
            panic!("{rest:?}")
        };
        for duration in [&ended.input_audio_duration, &ended.output_audio_duration] {
            let duration = duration.as_ref().unwrap();
            assert_eq!((duration.seconds, duration.nanos), (0, 500_000_000));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn formats_that_cannot_be_resampled_are_refused_with_their_field() {
    let upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let opus = format(pb::AudioEncoding::Opus, 0);
    let wave = format(pb::AudioEncoding::Wav, 44_100);
    for (field, input_audio, output_audio) in [
        ("setup.input_audio", opus, None),
        ("setup.output_audio", None, wave),
    ] {
        let setup = pb::LiveSetup {
            input_audio,
            output_audio,
            ..by_hand("qwen3-omni-flash-realtime")
        };
        let status = LiveCall::open(&gateway, setup).await.err().unwrap();
        assert_fault(&status, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(violations(&status), [field]);
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_no_speech_has_is_not_believed() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for rate in [1_u32, 7_999, 48_001, 4_000_000_000] {
        let setup = pb::LiveSetup {
            output_audio: format(pb::AudioEncoding::Pcm, 44_100),
            ..by_hand("qwen-audio-3.1-realtime-plus")
        };
        let opening = LiveCall::open(&gateway, setup);
        let (call, mut socket) = tokio::join!(opening, async {
            let socket = upstream.accept().await;
            let output = json!({"format": {"type": "pcm", "sample_rate": rate}});
            socket.send(json!({"type": "session.created",
                "session": {"id": "sess_1", "audio": {"output": output}}}));
            socket
        });
        let mut call = call.unwrap();
        socket.configured().await;
        socket.response_created("r1");
        socket.speak("r1", &tone(24_000));
        socket.response_done("r1", "completed");
        let events = call.until(|event| completed(event).is_some()).await;
        // The tone of half a second, at the rate of the caller.
        assert_eq!(answer(&events).2, 44_100, "{rate}");
    }
}
