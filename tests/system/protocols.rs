//! HTTP/1.1 that is no gRPC-Web: it is told what this is, and never left waiting.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn other_protocols_over_http_1_get_an_answer_that_names_grpc() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for (request, status, told) in [
        (
            "GET / HTTP/1.1\r\nhost: x\r\n",
            "405",
            "this is a gRPC server",
        ),
        ("HEAD / HTTP/1.0\r\n", "405", ""),
        (
            "POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-type: text/html\r\n",
            "415",
            "application/grpc",
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-type: application/grpc\r\n",
            "505",
            "gRPC needs HTTP/2",
        ),
        ("NONSENSE\r\n", "400", ""),
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03\r\n",
            "400",
            "",
        ),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let text = format!("{request}connection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        let heard = String::from_utf8_lossy(&heard);
        let first = heard.lines().next().unwrap_or_default();
        assert!(first.contains(status), "{request:?} was answered {heard:?}");
        assert!(heard.contains(told), "{request:?} was answered {heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_times_out() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let half = "POST /dashgate.v1.ConversationService/Converse HTTP/1.1\r\nhost: x\r\nx-slow: ";
    stream.write_all(half.as_bytes()).await.unwrap();
    let started = Instant::now();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    let passed = started.elapsed().as_secs();
    assert!((9..=11).contains(&passed), "{passed} s");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_read_to_its_end_before_it_is_refused_within_a_limit() {
    let upstream = Upstream::always(Vec::new()).await;
    let gateway = gateway(&upstream).await;
    for (sent, seconds) in [(10, 0), (9, 1)] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 10][..sent]).await.unwrap();
        let started = Instant::now();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("this is a gRPC server") {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
        }
        assert_eq!(started.elapsed().as_secs(), seconds, "{sent} of 10 bytes");
    }
}
