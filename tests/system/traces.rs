//! Traces, as a receiver of OTLP gets them and as DashScope is told of them.

use std::collections::BTreeMap;
use std::time::Duration;

use dashgate::config::{Sampler, Settings};
use dashgate::grpc::orca::LoadReport;
use dashgate::grpc::pb;
use dashgate::hex;
use dashgate::secret::Secret;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use crate::metrics::*;
use crate::support::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A receiver that takes everything.
async fn receiver() -> Upstream {
    Upstream::always(http(200, "content-type: application/x-protobuf\r\n", b"")).await
}

async fn traced(
    upstream: &Upstream,
    receiver: &Upstream,
    change: impl FnOnce(&mut Settings),
) -> Running {
    watched_with(upstream, |settings| {
        settings.telemetry.otlp_endpoint = Some(format!("http://{}", receiver.address));
        settings.telemetry.otlp_headers = Secret::new("x-tenant=sk-canary-otlp");
        change(settings);
    })
    .await
}

/// A call that belongs to a trace.
fn of_trace<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{CALLER}-{flags}");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().unwrap());
    metadata.insert("tracestate", "vendor=1".parse().unwrap());
    metadata.insert("x-request-id", "call-1".parse().unwrap());
    request
}

/// The spans that came, once the gateway has gone down, by their kind.
async fn spans(gateway: Running, receiver: &Upstream) -> BTreeMap<i32, Vec<Span>> {
    gateway.stop().await;
    gateway.ended().await;
    let mut spans: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for request in receiver.seen() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        assert_eq!(request.header("x-tenant"), Some("sk-canary-otlp"));
        let export = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
        for resource in export.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            assert!(attributes.iter().any(|pair| pair.key == "service.name"));
            let scopes = resource.scope_spans.into_iter();
            for span in scopes.flat_map(|scope| scope.spans) {
                spans.entry(span.kind).or_default().push(span);
            }
        }
    }
    spans
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let pair = span.attributes.iter().find(|pair| pair.key == key)?;
    Some(match pair.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let words = list.values.into_iter().map(|word| match word.value {
                Some(Value::StringValue(text)) => text,
                other => panic!("{other:?}"),
            });
            words.collect::<Vec<_>>().join(",")
        }
        other => panic!("{key}: {other:?}"),
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_is_one_trace_from_its_caller_to_dashscope() {
    let receiver = receiver().await;
    let upstream = Upstream::always(vec![
        sse(),
        piece(frame(1, "先", "null")),
        piece(frame(2, "canary-answer", "stop")),
        end(),
    ])
    .await;
    let gateway = traced(&upstream, &receiver, |_| {}).await;
    let mut client = gateway.conversation();
    let request = of_trace(ask_stream(question()), "01");
    let events = client.converse_stream(request).await.unwrap();
    let _: Vec<_> = events.into_inner().collect().await;

    let spans = spans(gateway, &receiver).await;
    let [door] = &spans[&(SpanKind::Server as i32)][..] else {
        panic!("{spans:?}")
    };
    let [ask] = &spans[&(SpanKind::Client as i32)][..] else {
        panic!("{spans:?}")
    };
    for span in [door, ask] {
        assert_eq!(hex::encode(&span.trace_id), TRACE);
        assert_eq!(attribute(span, "dashgate.request_id").unwrap(), "call-1");
    }
    assert_eq!(hex::encode(&door.parent_span_id), CALLER);
    assert_eq!(ask.parent_span_id, door.span_id);
    assert_eq!(door.name, "dashgate.v1.ConversationService/ConverseStream");
    assert_eq!(ask.name, "chat qwen-audio-turbo");
    for (span, key, expected) in [
        (door, "rpc.system.name", "grpc"),
        (
            door,
            "rpc.method",
            "dashgate.v1.ConversationService/ConverseStream",
        ),
        (door, "rpc.response.status_code", "OK"),
        (ask, "gen_ai.operation.name", "chat"),
        (ask, "gen_ai.provider.name", "dashscope"),
        (ask, "gen_ai.request.model", "qwen-audio-turbo"),
        (ask, "gen_ai.response.model", "qwen-audio-turbo"),
        (ask, "gen_ai.response.id", "up-1"),
        (ask, "gen_ai.response.finish_reasons", "stop"),
        (ask, "gen_ai.usage.input_tokens", "783"),
        (ask, "gen_ai.usage.output_tokens", "2"),
        (ask, "server.address", "127.0.0.1"),
        (ask, "server.port", &upstream.address.port().to_string()),
    ] {
        assert_eq!(attribute(span, key).as_deref(), Some(expected), "{key}");
    }
    let seen = upstream.seen().remove(0);
    let parent = format!("00-{TRACE}-{}-01", hex::encode(&ask.span_id));
    assert_eq!(seen.header("traceparent"), Some(&*parent));
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    // What was said is nobody's business, nor are keys.
    let everything = format!("{spans:?}");
    for secret in [
        "canary-answer",
        "这段音频在说什么",
        "sk-canary",
        "2channel_16K",
    ] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_reported_and_content_only_if_configured() {
    let receiver = receiver().await;
    let mut answers = vec![json(401, r#"{"code":"InvalidApiKey","message":"canary"}"#)];
    answers.insert(0, json(200, &whole("未来没有互联网")));
    let upstream = Upstream::start(move |_, _| answers.remove(0)).await;
    let gateway = traced(&upstream, &receiver, |settings| {
        settings.telemetry.capture_content = true;
    })
    .await;
    let mut client = gateway.conversation();
    client.converse(ask_whole(question())).await.unwrap();
    let status = client.converse(ask_whole(question())).await.unwrap_err();
    assert_fault(&status, Code::FailedPrecondition, "UPSTREAM_CREDENTIAL");

    let spans = spans(gateway, &receiver).await;
    let [good, bad] = &spans[&(SpanKind::Client as i32)][..] else {
        panic!("{spans:?}")
    };
    let said = attribute(good, "gen_ai.input.messages").unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        serde_json::json!([{"role": "user", "parts": [
            {"type": "uri", "modality": "audio", "uri":
             "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/2channel_16K.wav"},
            {"type": "text", "content": "这段音频在说什么?"},
        ]}])
    );
    let heard = attribute(good, "gen_ai.output.messages").unwrap();
    let heard: serde_json::Value = serde_json::from_str(&heard).unwrap();
    assert_eq!(
        heard,
        serde_json::json!([{"role": "assistant", "parts": [
            {"type": "text", "content": "未来没有互联网"},
        ], "finish_reason": "stop"}])
    );
    assert_eq!(attribute(bad, "error.type").unwrap(), "UPSTREAM_CREDENTIAL");
    assert_eq!(
        attribute(bad, "dashgate.upstream_code").unwrap(),
        "InvalidApiKey"
    );
    assert_eq!(bad.status.as_ref().unwrap().code, 2);
    let everything = format!("{spans:?}");
    assert!(!everything.contains("canary"), "{everything}");
    // No caller gave a trace, so each call began its own, with both of its spans.
    assert_ne!(good.trace_id, bad.trace_id);
    for door in &spans[&(SpanKind::Server as i32)] {
        assert!(door.parent_span_id.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsampled_call_is_traced_only_by_the_ratio_sampler() {
    for (sampler, ratio, kept) in [
        (Sampler::Parent, 1.0, false),
        (Sampler::Ratio, 1.0, true),
        (Sampler::Ratio, 0.0, false),
    ] {
        let receiver = receiver().await;
        let upstream = Upstream::always(json(200, &whole("好"))).await;
        let gateway = traced(&upstream, &receiver, |settings| {
            settings.telemetry.trace_sampler = sampler;
            settings.telemetry.trace_ratio = ratio;
        })
        .await;
        let mut client = gateway.conversation();
        client
            .converse(of_trace(ask_whole(question()), "00"))
            .await
            .unwrap();
        let spans = spans(gateway, &receiver).await;
        assert_eq!(!spans.is_empty(), kept, "{sampler:?} {ratio}");
        let seen = upstream.seen().remove(0);
        let told = seen.header("traceparent").unwrap();
        assert!(told.starts_with(&format!("00-{TRACE}-")), "{told}");
        assert!(told.ends_with(if kept { "-01" } else { "-00" }), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_call_is_the_same_call_in_another_trace() {
    let receiver = receiver().await;
    let upstream = Upstream::always(json(200, &whole("好"))).await;
    let gateway = traced(&upstream, &receiver, |_| {}).await;
    let mut client = gateway.conversation();
    for trace in ["1", "2"] {
        let mut request = Request::new(pb::ConverseRequest {
            request_id: "once".to_owned(),
            ..ask_whole(question())
        });
        let parent = format!("00-{}-{CALLER}-01", trace.repeat(32));
        request
            .metadata_mut()
            .insert("traceparent", parent.parse().unwrap());
        client.converse(request).await.unwrap();
    }
    assert_eq!(upstream.seen().len(), 1);
    let spans = spans(gateway, &receiver).await;
    assert_eq!(spans[&(SpanKind::Server as i32)].len(), 2);
    assert_eq!(spans[&(SpanKind::Client as i32)].len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p10_a_receiver_that_is_gone_harms_nothing_and_is_counted() {
    // It takes every connection and never answers.
    let receiver = Upstream::always(vec![Step::Hang]).await;
    let upstream = Upstream::always(json(200, &whole("好"))).await;
    let gateway = traced(&upstream, &receiver, |_| {}).await;
    let mut client = gateway.conversation();
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        client.converse(ask_whole(question())).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let numbers = scrape(&gateway, 3.0).await;
    assert_eq!(
        numbers.some("dashgate_trace_spans_total"),
        [("dashgate_trace_spans_total{outcome=\"failed\"}", 6.0)]
    );
    gateway.stop().await;
    gateway.ended().await;
}

#[tokio::test(start_paused = true)]
async fn answers_tell_the_load_when_the_operator_wants_it() {
    for wanted in [true, false] {
        let upstream = Upstream::always(json(200, &whole("好"))).await;
        let gateway = watched_with(&upstream, |settings| {
            settings.telemetry.load_reports = wanted;
            settings.server.max_in_flight = 4;
        })
        .await;
        let mut client = gateway.conversation();
        let response = client.converse(ask_whole(question())).await.unwrap();
        let told = response.metadata().get_bin("endpoint-load-metrics-bin");
        assert_eq!(told.is_some(), wanted, "{response:?}");
        let status = client.converse(pb::ConverseRequest::default()).await;
        let status = status.unwrap_err();
        let told = status.metadata().get_bin("endpoint-load-metrics-bin");
        assert_eq!(told.is_some(), wanted, "{status:?}");
        if let Some(told) = told {
            let report = LoadReport::decode(told.to_bytes().unwrap()).unwrap();
            assert!(report.application_utilization <= 0.25, "{report:?}");
            assert!(
                report
                    .named_metrics
                    .iter()
                    .any(|metric| metric.key == "in_flight"),
                "{report:?}"
            );
        }
    }
}
