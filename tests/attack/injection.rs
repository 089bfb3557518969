//! Callers who write what they should not into metadata and fields: none of it becomes a header of
//! a request to DashScope, or of an answer.

use dashgate::grpc::pb;
use prost::Message;

use crate::support::http2_peer::*;
use crate::support::*;

const CONVERSE: &str = "/dashgate.v1.ConversationService/Converse";

/// The headers that a request to DashScope may have.
const KNOWN: &[&str] = &[
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-type",
    "content-length",
    "authorization",
    "x-dashscope-workspace",
    "x-dashscope-datainspection",
    "traceparent",
    "tracestate",
];

/// Sends a call with these headers as they are, and reads until it or its connection ends.
async fn send(
    gateway: &Running,
    more: &[(&str, &str)],
    request: &pb::ConverseRequest,
) -> Vec<Frame> {
    let mut raw = Raw::connect(gateway.address, Manners::Answers).await;
    let head = h2(HEADERS, END_HEADERS, 1, &block(CONVERSE, more));
    let bytes = request.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &bytes].concat();
    raw.send(&head).await;
    raw.send(&h2(DATA, END_STREAM, 1, &message)).await;
    let mut frames = Vec::new();
    while let Some(frame) = raw.next().await {
        let over = frame.stream == 1
            && (frame.kind == RST_STREAM || frame.kind == HEADERS && frame.flags & END_STREAM != 0);
        frames.push(frame);
        if over {
            break;
        }
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn x13_what_callers_write_into_metadata_never_becomes_a_header() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    let names = [
        "x-request-id",
        "x-dashscope-workspace",
        "x-dashscope-data-inspection",
        "traceparent",
        "tracestate",
        "authorization",
        "x-api-key",
        "x-evil",
        "user-agent",
        "cookie",
        "host",
        "x-dashscope-async",
        "x-dashscope-ossresourceresolve",
        "connection",
        "transfer-encoding",
        "content-length",
        "x_evil",
        "X-Evil",
        "x evil",
        "x-evil:",
        "grpc-evil",
        "",
    ];
    let values = [
        "plain",
        "a\r\nx-evil: 1",
        "a\nx-evil: 1",
        "a\rx-evil: 1",
        "a\0b",
        "a\r\n\r\nPOST /evil HTTP/1.1\r\nhost: evil\r\n\r\n",
        " a ",
        "\u{e9}vil",
        "",
        "12345678901234567890",
    ];
    for name in names {
        for value in values {
            send(&gateway, &[(name, value)], &ask_whole(question())).await;
        }
    }
    let seen = upstream.seen();
    assert!(seen.len() >= names.len(), "{} came through", seen.len());
    let host = upstream.address.to_string();
    for request in seen {
        let path = "/api/v1/services/aigc/multimodal-generation/generation";
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", path)
        );
        for (name, value) in &request.headers {
            let name = name.to_ascii_lowercase();
            assert!(KNOWN.contains(&name.as_str()), "{name}: {value}");
            assert!(
                !value.contains("evil") || value.is_ascii(),
                "{name}: {value}"
            );
        }
        assert_eq!(request.header("host"), Some(host.as_str()));
        assert_eq!(request.header("authorization"), Some("Bearer sk-canary"));
        let all = format!("{:?}", request.headers);
        assert!(!all.contains("x-evil: 1"), "{all}");
    }
}

#[tokio::test(start_paused = true)]
async fn x13_what_callers_write_into_fields_never_becomes_a_header() {
    let upstream = Upstream::always(json(200, &whole("x"))).await;
    let gateway = gateway(&upstream).await;
    for text in [
        "a\r\nx-evil: 1",
        "a\nb",
        "a\0b",
        "\u{2028}x",
        "é",
        " ",
        "\u{7f}",
    ] {
        let mut conversation = question();
        conversation.model = text.to_owned();
        let requests = [
            pb::ConverseRequest {
                request_id: text.to_owned(),
                ..ask_whole(question())
            },
            ask_whole(conversation),
        ];
        for request in requests {
            if let Ok(answer) = gateway.conversation().converse(request).await {
                for (name, value) in answer.metadata().clone().into_headers() {
                    let name = name.unwrap();
                    assert!(!value.as_bytes().contains(&b'\n'), "{name}");
                    assert_ne!(name.as_str(), "x-evil");
                }
            }
        }
    }
    for request in upstream.seen() {
        for (name, value) in &request.headers {
            let name = name.to_ascii_lowercase();
            assert!(KNOWN.contains(&name.as_str()), "{name}: {value}");
        }
    }
}

/// What DashScope says is not trusted either: its name of a call becomes a header of the answer.
#[tokio::test(start_paused = true)]
async fn x26_text_of_dashscope_never_becomes_a_header() {
    for id in [
        "a\r\nx-evil: 1",
        "a\nb",
        "\0",
        "\u{e9}",
        &"r".repeat(100_000),
    ] {
        let id = serde_json::to_string(id).unwrap();
        let good = format!(
            "{{\"output\":{{\"choices\":[{{\"finish_reason\":\"stop\",\"message\":{{\"content\":\
             \"x\"}}}}]}},\"request_id\":{id}}}"
        );
        let bad = format!("{{\"code\":{id},\"message\":{id},\"request_id\":{id}}}");
        for (status, body) in [(200, &good), (200, &bad), (400, &bad), (429, &bad)] {
            let upstream = Upstream::always(json(status, body)).await;
            let mut settings = settings(&upstream);
            settings.retry.max_attempts = 1;
            let gateway = gateway_with(settings).await;
            let metadata = match gateway.conversation().converse(ask_whole(question())).await {
                Ok(answer) => answer.metadata().clone(),
                Err(status) => {
                    assert!(status.message().len() <= 1024, "{}", status.message().len());
                    assert!(!status.message().contains(['\r', '\n', '\0']), "{status:?}");
                    status.metadata().clone()
                }
            };
            assert!(!metadata.contains_key("x-evil"));
            let all = metadata.into_headers();
            let size: usize = all
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len())
                .sum();
            assert!(size <= 16 * 1024, "{size} bytes of metadata");
        }
    }
}
