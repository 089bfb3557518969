//! Bodies between the gateway and OpenAI-style servers: large media, compression, slow answers, and
//! private certificate authorities.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashgate::config::ServerKind;
use dashgate::grpc::pb;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::network::{World, tls, tls_in_front_of};
use crate::openai_answers::{chunk, events, settings_of, words};
use crate::openai_calls::timed;
use crate::support::*;

fn completion() -> String {
    json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "ok"}}]})
    .to_string()
}

/// The bytes of an event stream, without HTTP.
fn stream_of(texts: &[&str]) -> Vec<u8> {
    let mut bytes = String::new();
    for text in texts {
        let body = chunk(&json!({ "content": text }), Value::Null);
        bytes.push_str(&format!("data: {body}\n\n"));
    }
    let last = chunk(&json!({}), json!("stop"));
    bytes.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    bytes.into_bytes()
}

/// What a request has in place of audio, as base64.
fn digits(kind: ServerKind, sent: &Value) -> String {
    let content = &sent["messages"][0]["content"][0];
    let text = match kind {
        ServerKind::Vllm | ServerKind::Sglang => &content["audio_url"]["url"],
        ServerKind::SglangOmni => &sent["audios"][0],
        ServerKind::OpenAi | ServerKind::DashScopeCompatible => &content["input_audio"]["data"],
    };
    let text = text
        .as_str()
        .unwrap_or_else(|| panic!("{kind:?}: no audio"));
    text.rsplit_once(',')
        .map_or(text, |(_, digits)| digits)
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn large_audio_is_whole_in_every_dialect() {
    let mut audio = b"RIFF\0\0\0\0WAVE".to_vec();
    audio.extend((0..9_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]));
    let kinds = ServerKind::ALL.into_iter();
    for kind in kinds.filter(|kind| *kind != ServerKind::DashScopeCompatible) {
        let upstream = Upstream::always(json(200, &completion())).await;
        let gateway = gateway_with(settings_of(kind, &upstream)).await;
        let part = pb::content::Kind::Audio(pb::Audio {
            source: Some(pb::audio::Source::Data(audio.clone().into())),
            ..pb::Audio::default()
        });
        let call = ask_whole(conversation("m", vec![part]));
        gateway.conversation().converse(call).await.unwrap();
        let seen = upstream.seen();
        let digits = digits(kind, &seen[0].json());
        assert_eq!(digits.len(), audio.len().div_ceil(3) * 4, "{kind:?}");
        assert!(STANDARD.decode(digits).unwrap() == audio, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_of_a_server_is_refused_before_it_is_sent() {
    let upstream = Upstream::always(json(200, &completion())).await;
    let mut settings = settings_of(ServerKind::Vllm, &upstream);
    settings.models.max_request_bytes = vec![("m".to_owned(), 1 << 20)];
    let gateway = gateway_with(settings).await;
    let part = pb::content::Kind::Audio(pb::Audio {
        source: Some(pb::audio::Source::Data(vec![7; 1 << 20].into())),
        mime_type: "audio/wav".to_owned(),
        ..pb::Audio::default()
    });
    let call = ask_whole(conversation("m", vec![part]));
    let status = gateway.conversation().converse(call).await.unwrap_err();
    assert_fault(&status, Code::InvalidArgument, "MEDIA_TOO_LARGE");
    assert!(upstream.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn compressed_answers_are_read_and_truncated_ones_are_errors() {
    let headers = "content-encoding: gzip\r\ncontent-type: text/event-stream\r\n";
    let packed = gzip(&stream_of(&["Hel", "lo"]));
    let (got, _) = timed(http(200, headers, &packed)).await;
    assert_eq!(texts(&got).concat(), "Hello");
    assert!(got.iter().all(Result::is_ok), "{got:?}");
    let upstream = Upstream::always(http(200, headers, &gzip(completion().as_bytes()))).await;
    let gateway = gateway_with(settings_of(ServerKind::Sglang, &upstream)).await;
    gateway
        .conversation()
        .converse(ask_whole(words()))
        .await
        .unwrap();
    let asked = upstream.seen()[0]
        .header("accept-encoding")
        .map(str::to_owned);
    assert_eq!(asked.as_deref(), Some("gzip"));

    let cut = http(200, headers, &packed[..packed.len() / 2]);
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    for (name, steps) in [
        ("cut", cut),
        ("corrupt", http(200, headers, &corrupt)),
        ("plain", http(200, headers, &stream_of(&["Hello"]))),
        ("brotli", http(200, "content-encoding: br\r\n", &packed)),
        (
            "twice",
            http(200, "content-encoding: gzip, gzip\r\n", &packed),
        ),
    ] {
        let upstream = Upstream::always(steps).await;
        let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
        let mut client = gateway.conversation();
        let status = match client.converse_stream(ask_stream(words())).await {
            Ok(answer) => {
                let mut all: Vec<_> = answer.into_inner().collect().await;
                all.pop().unwrap().unwrap_err()
            }
            Err(status) => status,
        };
        assert_eq!(status.code(), Code::Internal, "{name}: {status:?}");
        assert!(
            !format!("{status:?}").contains("DashScope"),
            "{name}: {status:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_larger_unpacked_than_any_is_an_error() {
    let blank = format!("{{\"a\": \"{}\"}}", "x".repeat(200 << 20));
    let headers = "content-encoding: gzip\r\n";
    let upstream = Upstream::always(http(200, headers, &gzip(blank.as_bytes()))).await;
    drop(blank);
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let status = gateway
        .conversation()
        .converse(ask_whole(words()))
        .await
        .unwrap_err();
    assert_fault(&status, Code::Internal, "UPSTREAM_PROTOCOL");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_read_and_a_stalled_one_is_an_error() {
    let bytes = stream_of(&["Hel", "lo"]);
    let mut steps = vec![sse()];
    for part in bytes.chunks(7) {
        steps.push(Step::Pause(Duration::from_millis(900)));
        steps.push(piece(part));
    }
    let (got, took) = timed([&steps[..], &[end()]].concat()).await;
    assert_eq!(texts(&got).concat(), "Hello");
    assert!(took > Duration::from_secs(60), "{took:?}");

    steps.truncate(80);
    let (got, _) = timed([&steps[..], &[Step::Hang]].concat()).await;
    let last = got.into_iter().next_back().unwrap().unwrap_err();
    assert_fault(&last, Code::DeadlineExceeded, "STREAM_STALLED");
    assert!(last.message().contains("the upstream server"), "{last:?}");

    let upstream = Upstream::always(vec![sse(), piece(": waiting\n\n"), Step::Hang]).await;
    let gateway = gateway_with(settings_of(ServerKind::Vllm, &upstream)).await;
    let answer = gateway
        .conversation()
        .converse_stream(ask_stream(words()))
        .await;
    let status = match answer {
        Ok(answer) => {
            let all: Vec<_> = answer.into_inner().collect().await;
            all.into_iter().next_back().unwrap().unwrap_err()
        }
        Err(status) => status,
    };
    assert_fault(&status, Code::DeadlineExceeded, "FIRST_EVENT_TIMEOUT");
}

#[tokio::test]
async fn a_private_authority_is_trusted_for_its_account_alone() {
    let upstream = Upstream::start(|_, seen| match seen.path.ends_with("/models") {
        true => json(200, r#"{"data": [{"id": "listed", "max_model_len": 9}]}"#),
        false => json(200, &completion()),
    })
    .await;
    let (pem, acceptor) = tls(&["localhost"]);
    let port = tls_in_front_of(upstream.address, acceptor).await.port();
    let accounts = format!(
        "[[account]]\nname = \"with\"\nupstream = \"vllm\"\nmodels = [\"trusted\", \"l*\"]\n\
         url = \"https://localhost:{port}/v1\"\nca = \"own.pem\"\napi_key = \"sk-canary-with\"\n\
         [[account]]\nname = \"without\"\nupstream = \"openai\"\nmodels = [\"other\"]\n\
         url = \"https://localhost:{port}/v1\"\napi_key = \"sk-canary-without\"\n"
    );
    let world = World::default()
        .with_file("own.pem", &pem)
        .with_file("accounts.toml", &accounts)
        .set("DASHGATE_UPSTREAM_ACCOUNTS_FILE", "accounts.toml");
    let gateway = gateway_with(world.settings()).await;
    let call = |model: &str| {
        let text = pb::content::Kind::Text("?".to_owned());
        ask_whole(conversation(model, vec![text]))
    };
    gateway
        .conversation()
        .converse(call("trusted"))
        .await
        .unwrap();
    let status = gateway
        .conversation()
        .converse(call("other"))
        .await
        .unwrap_err();
    assert_fault(&status, Code::Unavailable, "UPSTREAM_TLS");
    let request = pb::ListModelsRequest::default();
    let page = gateway
        .models()
        .list_models(request)
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = page.models.iter().map(|model| &*model.name).collect();
    assert_eq!(names, ["listed", "other", "trusted"]);
    for seen in upstream.seen() {
        assert_eq!(seen.header("authorization"), Some("Bearer sk-canary-with"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_cut_at_any_byte() {
    let bytes = stream_of(&["语言", "language", " 🎵"]);
    for cut in 1..bytes.len() {
        let steps = vec![sse(), piece(&bytes[..cut]), piece(&bytes[cut..]), end()];
        if cut % 37 != 0 && bytes[cut].is_ascii() {
            continue;
        }
        let (got, _) = timed(steps).await;
        assert_eq!(texts(&got).concat(), "语言language 🎵", "{cut}");
    }
    let (got, _) = timed(events(&[chunk(&json!({"content": "ok"}), json!("stop"))])).await;
    assert_eq!(texts(&got), ["ok"]);
}
