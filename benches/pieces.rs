//! The pieces of a call by themselves: message to call, call to JSON, bytes to events, events to
//! messages, faults to statuses. `cargo bench --bench pieces`.
//!
//! Where bytes are moved, a plain copy of as many stands beside it: nothing is faster.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use http::HeaderMap;
use prost::Message as _;

use dashgate::chat::call::{Call, Delivery};
use dashgate::dashscope::reply::{Opening, Reply};
use dashgate::dashscope::sse::{Decoder, Frame, Limits};
use dashgate::dashscope::{self, DashScope, RequestTarget, Stored};
use dashgate::error::{Error, Reason, Sent, Upstream};
use dashgate::grpc::call_context::CallContext;
use dashgate::grpc::pb::{self, audio, content};
use dashgate::grpc::request::{self, Ask};
use dashgate::grpc::{config, response, status};
use dashgate::relay::reply::Timing;
use dashgate::secret::Secret;
use dashgate::server::call_clock::CallClock;

/// Anything that can go wrong before something is measured.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The events of the stream that is read.
const EVENTS: usize = 200;

/// As much as a connection gives at one time when a model is slow, and when it is not.
const READS: [(&str, usize); 2] = [("256 bytes a read", 256), ("64 KiB a read", 64 * 1024)];

/// Sizes of a sound: a word, a sentence in good quality, the most.
const SOUNDS: [(&str, usize); 3] = [("48 KiB", 48 << 10), ("1 MiB", 1 << 20), ("8 MiB", 8 << 20)];

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    door(&mut criterion)?;
    bodies(&mut criterion)?;
    streams(&mut criterion)?;
    answers(&mut criterion)?;
    faults(&mut criterion);
    criterion.final_summary();
    Ok(())
}

/// From the bytes of a message to a call.
fn door(criterion: &mut Criterion) -> Result<()> {
    let mut group = criterion.benchmark_group("message to call");
    for (name, request) in [("small", small()), ("100 turns", turns(100))] {
        let bytes = Bytes::from(request.encode_to_vec());
        call(request)?;
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| pb::ConverseRequest::decode(black_box(bytes.clone())).map(call));
        });
    }
    group.finish();
    Ok(())
}

/// From a call to the body of a request.
fn bodies(criterion: &mut Criterion) -> Result<()> {
    let dashscope = dashscope()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let prepare = |call: &Call| {
        let wanted = RequestTarget {
            model: &call.prompt.model,
            delivery: Delivery::Stream,
            max_bytes: usize::MAX,
        };
        runtime.block_on(dashscope.prepare(call, wanted, &mut Stored::default()))
    };
    let mut group = criterion.benchmark_group("call to JSON");
    for (name, request) in [("small", small()), ("100 turns", turns(100))] {
        let call = call(request)?;
        let bytes = prepare(&call)?.body_bytes();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| prepare(black_box(&call))));
    }
    group.finish();

    let mut group = criterion.benchmark_group("sound to base64 in JSON");
    for (name, size) in SOUNDS {
        let data = vec![0xA5; size];
        let call = call(sound(data.clone()))?;
        prepare(&call)?;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(name, |bencher| bencher.iter(|| prepare(black_box(&call))));
        let mut room = vec![0; size];
        group.bench_function(format!("{name}, a plain copy"), |bencher| {
            bencher.iter(|| {
                room.copy_from_slice(black_box(&data));
                black_box(&mut room);
            });
        });
    }
    group.finish();
    Ok(())
}

/// From the bytes of a stream to its events, as DashScope cuts them and as we do.
fn streams(criterion: &mut Criterion) -> Result<()> {
    let bytes = Bytes::from(stream());
    let mut group = criterion.benchmark_group(format!("bytes to {EVENTS} events"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for (name, size) in READS {
        group.bench_function(name, |bencher| {
            bencher.iter(|| frames(black_box(&bytes), size, |_| ()));
        });
    }
    let mut room = vec![0; bytes.len()];
    group.bench_function("a plain copy", |bencher| {
        bencher.iter(|| {
            room.copy_from_slice(black_box(&bytes));
            black_box(&mut room);
        });
    });
    group.finish();

    let mut all = Vec::new();
    frames(&bytes, bytes.len(), |frame| all.push(frame))?;
    if read(&all)? < EVENTS {
        return Err("the stream is not read to its end".into());
    }
    let mut group = criterion.benchmark_group(format!("{EVENTS} events of JSON to ours"));
    group.throughput(Throughput::Elements(EVENTS as u64));
    group.bench_function("text", |bencher| bencher.iter(|| read(black_box(&all))));
    group.finish();
    Ok(())
}

/// From our events to the bytes of messages.
fn answers(criterion: &mut Criterion) -> Result<()> {
    let bytes = Bytes::from(stream());
    let mut reader = Reply::new(Opening::default());
    frames(&bytes, bytes.len(), |frame| {
        // What is wrong shows below: there are too few events then.
        let _ = reader.push_frame(&frame);
    })?;
    reader.finish()?;
    let events: Vec<_> = std::iter::from_fn(|| reader.pop()).collect();
    if events.len() < EVENTS {
        return Err("the stream is not read to its end".into());
    }
    let took = Timing {
        first_event: None,
        total: Duration::from_secs(1),
        attempts: 1,
    };
    let mut group = criterion.benchmark_group("events to messages");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("text", |bencher| {
        bencher.iter_batched(
            || events.clone(),
            |events| {
                let messages = events.into_iter().map(|event| pb::ConverseStreamResponse {
                    sequence: 1,
                    event: Some(response::event(event, ("request", false), || took)),
                });
                messages.map(|all| all.encode_to_vec().len()).sum::<usize>()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    Ok(())
}

/// From a fault to a status with its details.
fn faults(criterion: &mut Criterion) {
    let throttled = Error::new(Reason::UpstreamRate, "DashScope throttles")
        .with_sent(Sent::Maybe)
        .with_retry_after(Duration::from_secs(2))
        .with_upstream(Upstream {
            code: "Throttling.RateQuota".to_owned(),
            http_status: 429,
            request_id: "0f572076-bc05-4678-98a1-7f14ca161669".to_owned(),
            ..Default::default()
        });
    let field = Error::field("conversation.messages[0].content", "is empty");
    let mut group = criterion.benchmark_group("fault to status");
    for (name, fault) in [("throttled", throttled), ("a field", field)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| status::status(black_box(&fault), "request", true));
        });
    }
    group.finish();
}

fn frames(bytes: &Bytes, size: usize, mut each: impl FnMut(Frame)) -> Result<()> {
    let mut decoder = Decoder::new(Limits {
        line_bytes: dashscope::MAX_LINE_BYTES,
        event_bytes: dashscope::MAX_EVENT_BYTES,
    });
    let overflow = |overflow| format!("a stream of our own is too long: {overflow:?}");
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        decoder.push(rest.split_to(size.min(rest.len())));
        while let Some(frame) = decoder.next().map_err(overflow)? {
            each(frame);
        }
    }
    decoder.end();
    while let Some(frame) = decoder.next().map_err(overflow)? {
        each(frame);
    }
    Ok(())
}

fn read(frames: &[Frame]) -> Result<usize> {
    let mut reader = Reply::new(Opening {
        warnings: Vec::new(),
        form: dashgate::dashscope::TextForm::Unknown,
        choices: 1,
        ..Default::default()
    });
    let mut events = 0;
    for frame in frames {
        reader.push_frame(frame)?;
        while let Some(event) = reader.pop() {
            black_box(event);
            events += 1;
        }
    }
    reader.finish()?;
    Ok(events)
}

/// A stream as DashScope writes it.
fn stream() -> String {
    let event = |at| {
        let finish = if at == EVENTS { "stop" } else { "null" };
        format!(
            "id:{at}\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"choices\":[{{\
             \"message\":{{\"content\":[{{\"text\":\"word{at} \"}}],\"role\":\"assistant\"}},\
             \"finish_reason\":\"{finish}\"}}]}},\"usage\":{{\"audio_tokens\":752,\
             \"input_tokens\":783,\"output_tokens\":{at}}},\
             \"request_id\":\"bb6ab962-af57-99f1-9af8-eb7016ebc18e\"}}\n\n"
        )
    };
    (1..=EVENTS).map(event).collect()
}

/// A gateway's own call, as if it came with no metadata.
fn call(request: pb::ConverseRequest) -> Result<Arc<Call>> {
    let settings = settings();
    let clock = CallClock::new(tokio::time::Instant::now());
    let context =
        CallContext::read(&HeaderMap::new(), &settings, clock).map_err(|(_, fault)| fault)?;
    let ask = Ask {
        conversation: request.conversation,
        options: request.options,
        request_id: request.request_id,
        delivery: Delivery::Stream,
        expected_turn: None,
        history: None,
        uses_model: false,
        after_sequence: 0,
        detached: false,
        resumable: false,
    };
    Ok(request::call(ask, &context, &settings)?)
}

fn settings() -> config::GrpcConfig {
    config::GrpcConfig {
        max_request_bytes: 16 << 20,
        max_chunk_bytes: 1 << 20,
        max_metadata_bytes: 8 << 10,
        request_body_timeout: Duration::from_secs(30),
        unary_timeout: Duration::from_secs(120),
        stream_timeout: Duration::from_secs(600),
        live_timeout: Duration::from_secs(600),
        max_timeout: Duration::from_secs(600),
        heartbeat_after: Duration::from_secs(15),
        slow_consumer_timeout: Duration::from_secs(30),
        open_reflection: false,
        show_upstream_messages: false,
    }
}

/// Never connected to; the bound on what goes inline is higher than DashScope's, to see more.
fn dashscope() -> Result<DashScope> {
    let url = "http://127.0.0.1:9/api/v1".parse()?;
    let mut settings = dashscope::DashScopeConfig::new(url, Secret::new("sk-bench"));
    settings.inline_limit = 16 << 20;
    Ok(DashScope::new(settings)?)
}

fn small() -> pb::ConverseRequest {
    let uri = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3";
    let audio = audio::Source::Uri(uri.to_owned());
    asked(vec![said(vec![heard(audio), words(0)])])
}

fn turns(count: usize) -> pb::ConverseRequest {
    let turn = |at| {
        let role = if at % 2 == 0 {
            pb::Role::User
        } else {
            pb::Role::Assistant
        };
        pb::Message {
            role: role.into(),
            ..said(vec![words(at)])
        }
    };
    asked((0..count | 1).map(turn).collect())
}

fn sound(data: Vec<u8>) -> pb::ConverseRequest {
    let audio = audio::Source::Data(data.into());
    asked(vec![said(vec![heard(audio), words(0)])])
}

fn asked(messages: Vec<pb::Message>) -> pb::ConverseRequest {
    pb::ConverseRequest {
        conversation: Some(pb::Conversation {
            model: "qwen-audio-turbo".to_owned(),
            messages,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn said(content: Vec<pb::Content>) -> pb::Message {
    pb::Message {
        role: pb::Role::User.into(),
        content,
        ..Default::default()
    }
}

fn words(at: usize) -> pb::Content {
    let words =
        format!("This is line {at}. What does \"this audio\" say, in one sentence? 说什么?");
    pb::Content {
        kind: Some(content::Kind::Text(words)),
        ..Default::default()
    }
}

fn heard(source: audio::Source) -> pb::Content {
    pb::Content {
        kind: Some(content::Kind::Audio(pb::Audio {
            mime_type: "audio/wav".to_owned(),
            source: Some(source),
            ..Default::default()
        })),
        ..Default::default()
    }
}
