//! Audio of OpenAI-style servers in other formats than that of streamed audio.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::config::ServerKind;
use dashgate::grpc::pb;
use serde_json::{Value, json};

use crate::openai_answers::{Got, chunk, header, stream, whole};

/// The header of a WAVE file of samples with this format code and width.
fn header_of(tag: u8, bits: u8, rate: u32, channels: u16) -> Vec<u8> {
    let mut header = header(rate, channels);
    header[20] = tag;
    header[32..34].copy_from_slice(&(channels * u16::from(bits / 8)).to_le_bytes());
    header[34] = bits;
    // The size of a stream: not known.
    header[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
    header
}

/// Three frames of MPEG-1 layer III, 128 kbit/s at 44.1 kHz.
fn mpeg() -> Vec<u8> {
    [&[0xff, 0xfb, 0x90, 0][..], &[7; 413]].concat().repeat(3)
}

async fn spoken(kind: ServerKind, pieces: &[&[u8]]) -> Got {
    let audio = |bytes: &&[u8]| json!({"audio": {"id": "a", "data": STANDARD.encode(bytes)}});
    let mut bodies: Vec<_> = pieces
        .iter()
        .map(|p| chunk(&audio(p), Value::Null))
        .collect();
    bodies.push(chunk(&json!({}), json!("stop")));
    stream(kind, &bodies).await
}

async fn spoken_whole(bytes: &[u8]) -> pb::Audio {
    let message = json!({"role": "assistant", "content": null,
        "audio": {"id": "a", "data": STANDARD.encode(bytes)}});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let got = whole(ServerKind::OpenAi, &json!({"id": "c", "choices": [choice]})).await;
    let content = got.choices[0].message.clone().unwrap().content;
    match content[0].kind.clone().unwrap() {
        pb::content::Kind::Audio(audio) => audio,
        other => panic!("{other:?}"),
    }
}

fn bytes(audio: &pb::Audio) -> &[u8] {
    match &audio.source {
        Some(pb::audio::Source::Data(bytes)) => bytes,
        other => panic!("{other:?}"),
    }
}

/// The type that a stream names before its first audio.
fn named(got: &Got) -> Option<String> {
    let parts = got.deltas().into_iter().filter_map(|delta| delta.part);
    let before = parts.take_while(|part| !matches!(part, pb::delta::Part::Audio(_)));
    before.into_iter().find_map(|part| match part {
        pb::delta::Part::AudioFile(file) => {
            let named = file.extra?.fields.remove("mime_type")?;
            match named.kind {
                Some(prost_types::value::Kind::StringValue(named)) => Some(named),
                other => panic!("{other:?}"),
            }
        }
        _ => None,
    })
}

#[tokio::test(start_paused = true)]
async fn samples_of_other_widths_become_16_bits_in_every_event() {
    let floats: Vec<u8> = [0.0_f32, 1.0, -1.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let expected: Vec<u8> = [0, 32_767, -32_767_i16]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let with_header = [&header_of(3, 32, 24_000, 1)[..], &floats].concat();
    for kind in [ServerKind::Vllm, ServerKind::SglangOmni, ServerKind::OpenAi] {
        // The second event continues the file in the middle of a sample.
        for cut in [1, 30, 44, 46, 51] {
            let got = spoken(kind, &[&with_header[..cut], &with_header[cut..]]).await;
            assert_eq!(got.audio, expected, "{kind:?} {cut}");
            assert_eq!(named(&got), None);
            assert!(got.end.warnings.is_empty(), "{:?}", got.end.warnings);
        }
        let got = spoken(kind, &[&with_header, &with_header]).await;
        assert_eq!(got.audio, expected.repeat(2), "{kind:?}");
    }
    let whole = spoken_whole(&with_header).await;
    assert_eq!(
        (bytes(&whole), &*whole.mime_type),
        (&*expected, "audio/pcm")
    );
    let wide = [&header_of(1, 24, 24_000, 1)[..], &[9, 1, 0, 9, 0xff, 0xff]].concat();
    assert_eq!(bytes(&spoken_whole(&wide).await), [1, 0, 0xff, 0xff]);
}

#[tokio::test(start_paused = true)]
async fn a_file_in_another_format_is_named_and_unchanged() {
    let mu_law = [&header_of(7, 8, 8_000, 1)[..], &[1; 99]].concat();
    let flac = b"fLaC and more".to_vec();
    for (file, expected) in [
        (mpeg(), "audio/mpeg"),
        (mu_law, "audio/wav"),
        (flac, "audio/flac"),
    ] {
        let got = spoken(ServerKind::OpenAi, &[&file[..3], &file[3..]]).await;
        assert_eq!(
            (&got.audio, named(&got).as_deref()),
            (&file, Some(expected))
        );
        let whole = spoken_whole(&file).await;
        assert_eq!((bytes(&whole), &*whole.mime_type), (&*file, expected));
    }
}

#[tokio::test(start_paused = true)]
async fn the_type_of_samples_has_an_unusual_rate() {
    let file = [&header(44_100, 2)[..], &[1, 0, 2, 0]].concat();
    let expected = "audio/pcm;rate=44100;channels=2";
    let got = spoken(ServerKind::Vllm, &[&file]).await;
    assert_eq!(named(&got).as_deref(), Some(expected));
    let whole = spoken_whole(&file).await;
    assert_eq!(
        (bytes(&whole), &*whole.mime_type),
        (&[1, 0, 2, 0][..], expected)
    );
    // What looks like the beginning of a file and is none.
    for samples in [&b"Ogg"[..], &[0xff, 0xfb, 0x90, 0, 1, 2, 3, 4], &[0; 9]] {
        let got = spoken(ServerKind::Vllm, &[&samples[..2], &samples[2..]]).await;
        assert_eq!((&got.audio[..], named(&got)), (samples, None));
        assert_eq!(spoken_whole(samples).await.mime_type, "audio/pcm");
    }
}
