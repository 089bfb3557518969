//! Speech synthesis whose setup DashScope refuses: there is no audio in another format or voice.

use dashgate::grpc::pb;
use dashgate::grpc::pb::live_service_client::LiveServiceClient;
use dashgate::grpc::pb::synthesize_live_request::Event as Say;
use dashgate::grpc::pb::synthesize_live_response::Event as Spoken;
use serde_json::json;
use tonic::{Code, Status};

use crate::live_repairs_dialects::before;
use crate::live_sessions;
use crate::support::emulator::TestEmulator;
use crate::support::realtime::RealtimeUpstream;
use crate::support::*;

const TTS: &str = "qwen3-tts-flash-realtime";

/// A setup with this format.
fn setup(encoding: pb::AudioEncoding) -> pb::SynthesisSetup {
    pb::SynthesisSetup {
        model: TTS.to_owned(),
        voice: "Cherry".to_owned(),
        output_audio: Some(pb::AudioFormat {
            encoding: encoding.into(),
            sample_rate_hz: 24_000,
        }),
        ..pb::SynthesisSetup::default()
    }
}

/// Speaks a sentence. Returns the audio, or the status of a call that fails, without audio.
async fn speak(gateway: &Running, setup: pb::SynthesisSetup) -> Result<Vec<u8>, Status> {
    let said = [Say::Setup(setup), Say::Text("Good morning.".to_owned())];
    let requests = said.map(|event| pb::SynthesizeLiveRequest { event: Some(event) });
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut client = LiveServiceClient::with_origin(gateway.client.clone(), origin);
    let call = client.synthesize_live(tokio_stream::iter(requests)).await?;
    let mut responses = call.into_inner();
    let mut audio = Vec::new();
    loop {
        match responses.message().await {
            Ok(None) => return Ok(audio),
            Ok(Some(response)) => {
                if let Some(Spoken::ResponseDelta(delta)) = response.event
                    && let Some(pb::response_delta::Part::Audio(bytes)) = delta.part
                {
                    audio.extend(bytes);
                }
            }
            Err(status) => {
                assert!(audio.is_empty());
                return Err(status);
            }
        }
    }
}

/// The field that a status refuses.
fn field(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

#[tokio::test(start_paused = true)]
async fn a_refused_setup_ends_the_synthesis_with_its_field() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    for has_id in [true, false] {
        let speaking = speak(&gateway, setup(pb::AudioEncoding::Mp3));
        let (spoken, _socket) = tokio::join!(speaking, async {
            let mut socket = upstream.session().await;
            let update = socket.until("session.update").await;
            let id = match has_id {
                true => update["event_id"].clone(),
                false => json!(null),
            };
            socket.refuse(&id, "session.response_format", "unknown format");
            socket
        });
        let status = spoken.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "UPSTREAM_REJECTED");
        assert_eq!(field(&status), "setup.output_audio");
    }
}

#[tokio::test(start_paused = true)]
async fn the_emulator_refuses_formats_that_it_does_not_encode() {
    let emulator = TestEmulator::plain().await;
    let gateway = live_sessions::before(&emulator).await;
    for encoding in [pb::AudioEncoding::Mp3, pb::AudioEncoding::Opus] {
        let status = speak(&gateway, setup(encoding)).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "UPSTREAM_REJECTED");
        assert_eq!(field(&status), "setup.output_audio");
    }
    let wave = speak(&gateway, setup(pb::AudioEncoding::Wav))
        .await
        .unwrap();
    assert!(wave.starts_with(b"RIFF"));
    let raw = speak(&gateway, setup(pb::AudioEncoding::Pcm))
        .await
        .unwrap();
    assert_eq!(raw.len() + 44, wave.len());
}
