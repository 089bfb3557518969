//! One stream written in every way that event streams allow: it says the same.

use std::io::Write as _;

use dashgate::grpc::pb;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio_stream::StreamExt;

use crate::captures::plain;
use crate::support::*;

/// The stream as DashScope writes it.
fn stream() -> String {
    let frames = [
        frame(1, "第一句话", "null"),
        frame(2, "说了\"没有\"。", "null"),
        frame(3, "😀", "stop"),
    ];
    frames.concat()
}

fn head(extra: &str) -> Step {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{extra}\
         transfer-encoding: chunked\r\n\r\n"
    );
    Step::Write(head.into_bytes())
}

/// What a caller gets of a stream that is written so.
async fn events(steps: Vec<Step>) -> Vec<pb::ConverseStreamResponse> {
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let call = ask_stream(question());
    let stream = gateway.conversation().converse_stream(call).await.unwrap();
    plain(stream.into_inner().collect().await)
}

fn in_one(text: &str) -> Vec<Step> {
    vec![head(""), piece(text), end()]
}

#[tokio::test(start_paused = true)]
async fn u17_all_forms_of_sse_are_read() {
    let plain = stream();
    let expected = events(in_one(&plain)).await;
    assert_eq!(expected.len(), 5, "{expected:?}");
    let spaced = plain
        .replace("id:", "id: ")
        .replace("event:", "event: ")
        .replace("data:", "data: ");
    let two_lines = plain.replace(",\"usage\"", ",\ndata:\"usage\"");
    assert_ne!(two_lines, plain);
    let rows = [
        ("CR LF", plain.replace('\n', "\r\n")),
        ("CR", plain.replace('\n', "\r")),
        ("spaces", spaced),
        ("no blank lines", plain.replace("\n\n", "\n")),
        ("no end of the last line", plain.trim_end().to_owned()),
        ("a byte order mark", format!("\u{feff}{plain}")),
        (
            "comments",
            format!(": ping\n\n:\n{}", plain.replace("event:", ":x\nevent:")),
        ),
        ("two lines of data", two_lines),
        (
            "fields that nobody knows",
            format!("retry: 3000\nx\nx:y\n\n{plain}"),
        ),
        ("ids with NUL", plain.replace("id:", "id:\0")),
        (
            "events with no data",
            format!("event:result\n\nid:9\n\n{plain}"),
        ),
        ("a sign at the end", format!("{plain}data:[DONE]\n\n")),
        ("no names of events", plain.replace("event:result\n", "")),
        ("blank lines before", format!("\n\n\n{plain}")),
    ];
    for (name, text) in rows {
        assert_eq!(events(in_one(&text)).await, expected, "{name}");
        let mut steps = vec![head("")];
        steps.extend(text.as_bytes().chunks(1).map(piece));
        steps.push(end());
        assert_eq!(events(steps).await, expected, "{name}, byte by byte");
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_stream_has_the_same_events_wherever_it_is_cut() {
    let plain = stream();
    let expected = events(in_one(&plain)).await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    for size in [1, 2, 3, 7, 64, packed.len()] {
        let mut steps = vec![head("content-encoding: gzip\r\n")];
        steps.extend(packed.chunks(size).map(piece));
        steps.push(end());
        assert_eq!(events(steps).await, expected, "in pieces of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_packed_event_is_passed_on_before_the_next_one_comes() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut steps = vec![head("content-encoding: gzip\r\n")];
    for id in 1..=3 {
        encoder
            .write_all(frame(id, &format!("第{id}"), "null").as_bytes())
            .unwrap();
        encoder.flush().unwrap();
        steps.push(piece(std::mem::take(encoder.get_mut())));
    }
    steps.push(Step::Hang);
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let call = ask_stream(question());
    let stream = gateway.conversation().converse_stream(call).await.unwrap();
    let started = tokio::time::Instant::now();
    let events: Vec<_> = stream.into_inner().take(4).collect().await;
    assert_eq!(texts(&events), ["第1", "第2", "第3"]);
    assert_eq!(started.elapsed().as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_unary_answer_is_decompressed() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(whole("好的。").as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let upstream = Upstream::always(http(200, headers, &packed)).await;
    let gateway = gateway(&upstream).await;
    let answer = gateway
        .conversation()
        .converse(ask_whole(question()))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().choices.len(), 1);

    // One that is corrupt, or cut short, is never taken for an answer.
    let mut corrupt = packed.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    for bad in [&corrupt[..], &packed[..packed.len() - 12]] {
        let upstream = Upstream::always(http(200, headers, bad)).await;
        let gateway = crate::support::gateway(&upstream).await;
        let status = gateway
            .conversation()
            .converse(ask_whole(question()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), tonic::Code::Internal, "{status:?}");
    }
}
