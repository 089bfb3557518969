//! Audio that is longer than the model hears is never cut in silence.

use dashgate::grpc::pb::upload_media_request::Payload;
use dashgate::grpc::pb::{self, content, converse_stream_response::Event};
use tokio_stream::StreamExt;
use tonic::Code;

use crate::storage::dashscope;
use crate::support::*;

/// A WAVE of mono samples of 16 bits at 8 kHz.
fn wave(seconds: usize) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(8_000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data\0\0\0\0");
    file.extend(vec![0; seconds * 16_000]);
    file
}

fn question_about(model: &str, source: pb::audio::Source) -> pb::Conversation {
    let audio = pb::Audio {
        source: Some(source),
        ..pb::Audio::default()
    };
    let text = content::Kind::Text("What is said?".to_owned());
    conversation(model, vec![content::Kind::Audio(audio), text])
}

fn with(conversation: pb::Conversation, long_audio: pb::LongAudio) -> pb::ConverseRequest {
    let mut request = ask_whole(conversation);
    let options = pb::GenerationOptions {
        long_audio: long_audio.into(),
        ..pb::GenerationOptions::default()
    };
    request.options = Some(options.into());
    request
}

const FIELD: &str = "conversation.messages[0].content[0].audio";

#[tokio::test(start_paused = true)]
async fn audio_beyond_the_limit_of_the_model_is_answered_with_a_warning() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let data = |seconds| pb::audio::Source::Data(wave(seconds).into());
    for (model, seconds, expected) in [
        ("qwen-audio-turbo", 30, None),
        (
            "qwen-audio-turbo-latest",
            31,
            Some(
                "the audio is 31.0 s long; qwen-audio-turbo-latest processes the first 30 s \
                 and ignores the rest",
            ),
        ),
        ("qwen3-asr-flash", 290, None),
        (
            "qwen3-asr-flash",
            310,
            Some(
                "the audio is 310.0 s long; qwen3-asr-flash processes the first 300 s and \
                 ignores the rest",
            ),
        ),
        ("unknown-model", 310, None),
    ] {
        let request = ask_whole(question_about(model, data(seconds)));
        let answer = gateway.conversation().converse(request).await.unwrap();
        let warnings = answer.into_inner().warnings;
        let found: Vec<_> = warnings.iter().map(|w| w.message.as_str()).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        for warning in warnings {
            assert_eq!(
                (&*warning.code, &*warning.field),
                ("AUDIO_TRUNCATED", FIELD)
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_warning_comes_at_the_end_of_a_stream() {
    let steps = vec![
        sse(),
        piece(frame(1, "hello", "null")),
        piece(frame(2, "", "stop")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let source = pb::audio::Source::Data(wave(40).into());
    let request = ask_stream(question_about("qwen-audio-turbo", source));
    let stream = gateway.conversation().converse_stream(request).await;
    let events: Vec<_> = stream.unwrap().into_inner().collect().await;
    let Some(Event::Completed(end)) = events.last().unwrap().as_ref().unwrap().event.clone() else {
        panic!("{events:?}");
    };
    assert_eq!(end.warnings[0].code, "AUDIO_TRUNCATED");
}

#[tokio::test(start_paused = true)]
async fn strict_checks_of_the_caller_or_the_operator_refuse_before_a_request_is_sent() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    let source = || {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(wave(40));
        pb::audio::Source::Uri(format!("data:audio/wav;base64,{text}"))
    };
    let question = || question_about("qwen-audio-turbo", source());
    let lenient = gateway_with(settings.clone()).await;
    settings.models.refuse_long_audio = true;
    let strict = gateway_with(settings).await;
    for (gateway, request) in [
        (&lenient, with(question(), pb::LongAudio::Fail)),
        (&strict, ask_whole(question())),
    ] {
        let status = gateway.conversation().converse(request).await.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LONG");
        assert_eq!(violations(&status), [FIELD]);
        assert_eq!(attempts(&status), "0");
    }
    assert!(upstream.seen().is_empty());
    let request = with(question(), pb::LongAudio::Warn);
    let answer = strict.conversation().converse(request).await.unwrap();
    assert_eq!(answer.into_inner().warnings.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn audio_that_was_uploaded_here_is_measured_on_its_way() {
    let upstream = dashscope(|_, _| None).await;
    let gateway = gateway(&upstream).await;
    let description = pb::MediaDescription {
        model: "qwen-audio-turbo".to_owned(),
        name: "speech.wav".to_owned(),
        ..pb::MediaDescription::default()
    };
    let mut messages = vec![Payload::Description(description)];
    let file = wave(95);
    messages.extend(
        file.chunks(100_000)
            .map(|chunk| Payload::Chunk(chunk.to_vec().into())),
    );
    let messages = messages.into_iter().map(|payload| pb::UploadMediaRequest {
        payload: Some(payload),
    });
    let messages = tokio_stream::iter(messages.collect::<Vec<_>>());
    let stored = gateway.media().upload_media(messages).await.unwrap();
    let source = pb::audio::Source::Uri(stored.into_inner().uri);
    let request = ask_whole(question_about("qwen-audio-turbo", source));
    let answer = gateway.conversation().converse(request).await.unwrap();
    let warnings = answer.into_inner().warnings;
    assert!(warnings[0].message.contains("95.0 s long"), "{warnings:?}");
}

/// A WAVE at 8 kHz: code, byte rate, block and bits of its format, the size that it says that its
/// samples have, and the samples.
fn odd_wave(format: (u16, u32, u16, u16), more: &[u8], said: u32, samples: &[u8]) -> Vec<u8> {
    let (code, byte_rate, block, bits) = format;
    let size = u32::try_from(16 + more.len()).unwrap();
    let mut file = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    file.extend(size.to_le_bytes());
    file.extend(code.to_le_bytes());
    file.extend(1_u16.to_le_bytes());
    file.extend(8_000_u32.to_le_bytes());
    file.extend(byte_rate.to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(more);
    file.extend(b"data");
    file.extend(said.to_le_bytes());
    file.extend(samples);
    file
}

#[tokio::test]
async fn the_gateway_and_the_emulator_measure_the_same_duration() {
    let world = crate::network::World::default();
    let gateway = gateway_with(world.settings()).await;
    // Never zero, so that no samples look like the name of a chunk.
    let pcm = |seconds: usize| [0x81, 0x02].repeat(seconds * 8_000);
    // A block of 256 bytes begins with a sample, and holds 505.
    let mut block = vec![0, 0, 0, 0];
    block.resize(256, 0x08);
    let ima = |blocks: usize| block.repeat(blocks);
    let ima_format = |byte_rate| (0x11, byte_rate, 256, 4);
    let more = [2, 0, 0xf9, 1];
    for (name, file, is_long) in [
        (
            "ima",
            odd_wave(ima_format(8_000), &more, 0, &ima(713)),
            true,
        ),
        (
            "short ima",
            odd_wave(ima_format(1_000), &more, 0, &ima(317)),
            false,
        ),
        (
            "small size",
            odd_wave((1, 16_000, 2, 16), &[], 16, &pcm(45)),
            true,
        ),
        (
            "no byte rate",
            odd_wave((1, 0, 2, 16), &[], 720_000, &pcm(45)),
            true,
        ),
        (
            "byte rate",
            odd_wave((1, u32::MAX, 2, 16), &[], 720_000, &pcm(45)),
            true,
        ),
        (
            "low byte rate",
            odd_wave((1, 100, 2, 16), &[], 320_000, &pcm(20)),
            false,
        ),
    ] {
        let source = || pb::audio::Source::Data(file.clone().into());
        let request = ask_whole(question_about("qwen-audio-turbo", source()));
        let answer = gateway.conversation().converse(request).await.unwrap();
        let answer = answer.into_inner();
        let heard = format!("{:?}", answer.choices).contains("processes the first 30 s only");
        assert_eq!(heard, is_long, "{name}: {answer:?}");
        let warned = answer.warnings.iter().any(|w| w.code == "AUDIO_TRUNCATED");
        assert_eq!(warned, is_long, "{name}: {answer:?}");
        let question = question_about("qwen-audio-turbo", source());
        let strict = with(question, pb::LongAudio::Fail);
        let refused = gateway.conversation().converse(strict).await.is_err();
        assert_eq!(refused, is_long, "{name}");
    }
}

/// A WAVE of 8-bit samples at 8 kHz in the part of newer models for speech recognition, which the
/// schema does not type.
fn input_audio(seconds: usize, inner: bool) -> serde_json::Value {
    use base64::Engine as _;
    let samples = vec![0x81; seconds * 8_000];
    let said = u32::try_from(samples.len()).unwrap();
    let file = odd_wave((1, 8_000, 1, 8), &[], said, &samples);
    let text = base64::engine::general_purpose::STANDARD.encode(file);
    let uri = format!("data:audio/wav;base64,{text}");
    let audio = match inner {
        true => serde_json::json!({ "data": uri }),
        false => serde_json::json!(uri),
    };
    serde_json::json!({"extra": {"type": "input_audio", "input_audio": audio}})
}

fn recognition(model: &str, part: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({"conversation": {"model": model, "messages": [
        {"role": "ROLE_USER", "content": [part]}]},
        "options": {"extra_parameters": {"format": "wav", "sample_rate": "8000"}}})
}

// Time is not paused: it would pass while megabytes are on their way through the sockets.
#[tokio::test]
async fn audio_in_a_part_that_the_schema_does_not_type_is_measured_too() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let mut settings = settings(&upstream);
    let limit = std::time::Duration::from_secs(300);
    for model in ["fun-asr-flash*", "qwen-audio-*-asr*"] {
        settings.models.audio_limits.push((model.to_owned(), limit));
    }
    let gateway = gateway_with(settings).await;
    const FIELD: &str = "conversation.messages[0].content[0].extra";
    for (model, seconds, inner, is_long) in [
        ("fun-asr-flash-2026-06-15", 310, true, true),
        ("fun-asr-flash-2026-06-15", 310, false, true),
        ("fun-asr-flash-2026-06-15", 299, true, false),
        ("qwen-audio-3.0-asr-flash", 310, true, true),
        ("qwen-audio-3.1-asr-flash", 310, true, true),
        ("qwen-audio-3.1-asr-flash", 30, true, false),
        ("unknown-model", 310, true, false),
    ] {
        let mut request = recognition(model, &input_audio(seconds, inner));
        let lenient: pb::ConverseRequest = crate::notation::message(&request);
        let answer = gateway.conversation().converse(lenient).await.unwrap();
        let warnings = answer.into_inner().warnings;
        let found: Vec<_> = warnings.iter().map(|w| (&*w.code, &*w.field)).collect();
        let expected = is_long.then_some(("AUDIO_TRUNCATED", FIELD));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{model}");

        request["options"]["long_audio"] = "LONG_AUDIO_FAIL".into();
        let strict: pb::ConverseRequest = crate::notation::message(&request);
        let outcome = gateway.conversation().converse(strict).await;
        if !is_long {
            outcome.unwrap();
            continue;
        }
        let status = outcome.unwrap_err();
        assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LONG");
        assert_eq!(violations(&status), [FIELD]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_strict_caller_is_refused_before_a_request_is_sent() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let source = pb::audio::Source::Data(wave(40).into());
    let mut request = ask_stream(question_about("qwen-audio-turbo", source));
    let options = pb::GenerationOptions {
        long_audio: pb::LongAudio::Fail.into(),
        ..pb::GenerationOptions::default()
    };
    request.options = Some(options.into());
    let outcome = gateway.conversation().converse_stream(request).await;
    let status = outcome.map(|_| ()).unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LONG");
    assert_eq!(violations(&status), [FIELD]);
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn only_the_part_that_is_too_long_has_a_warning() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let audio = |seconds| {
        content::Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Data(wave(seconds).into())),
            ..pb::Audio::default()
        })
    };
    let text = content::Kind::Text("What is said?".to_owned());
    let parts = vec![audio(10), text, audio(40)];
    let request = ask_whole(conversation("qwen-audio-turbo", parts));
    let answer = gateway.conversation().converse(request).await.unwrap();
    let warnings = answer.into_inner().warnings;
    let fields: Vec<_> = warnings.iter().map(|w| (&*w.code, &*w.field)).collect();
    let field = "conversation.messages[0].content[2].audio";
    assert_eq!(fields, [("AUDIO_TRUNCATED", field)]);
}

#[tokio::test]
async fn the_embedded_dashscope_recognises_speech_in_a_part_that_the_schema_does_not_type() {
    let world = crate::network::World::default();
    let gateway = gateway_with(world.settings()).await;
    for model in ["fun-asr-flash-2026-06-15", "qwen-audio-3.1-asr-flash"] {
        let request = recognition(model, &input_audio(1, true));
        let request: pb::ConverseRequest = crate::notation::message(&request);
        let answer = gateway.conversation().converse(request).await.unwrap();
        let answer = answer.into_inner();
        let message = answer.choices[0].message.as_ref().unwrap();
        let text = format!("{:?}", message.content);
        assert!(text.contains("1.00 s, 8000 Hz"), "{model}: {text}");
        assert_eq!(answer.warnings, [], "{model}");
    }
}
