//! Upstream hosts that misbehave at the level of connections and HTTP: they close what is idle all
//! at once, answer with statuses that do not exist, and never come to the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::support::*;

/// More than the 128 polls of tokio's cooperative budget, as each of them is looked at.
const CONNECTIONS: usize = 300;

/// The answers to so many calls at once.
async fn ask_together(gateway: &Running, calls: usize) -> Vec<Status> {
    let mut asked = JoinSet::new();
    for _ in 0..calls {
        let mut client = gateway.conversation();
        asked.spawn(async move { client.converse(ask_whole(question())).await });
    }
    let answers = asked.join_all().await;
    answers.into_iter().filter_map(Result::err).collect()
}

/// Reads a request of which nothing but its length matters.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return true;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return false;
        }
    }
}

/// Row 11: connections that wait are all closed by the host, in one go, in each of the ways that
/// hosts have. The calls that follow use none of them.
#[tokio::test]
async fn an_upstream_that_closes_every_idle_connection_fails_no_call() {
    for reset in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings(&Upstream::always(Vec::new()).await);
        let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
        let api_key = dashgate::secret::Secret::new("sk-canary");
        settings.upstream.endpoint = dashgate::config::Endpoint::Remote { base_url, api_key };
        settings.server.max_streams_per_connection = 2 * CONNECTIONS as u32;
        let gateway = gateway_with(settings).await;

        // The first round is answered together, so that each call has a connection of its own.
        let barrier = Arc::new(Barrier::new(CONNECTIONS));
        let (close, closing) = watch::channel(false);
        let closed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&closed);
        let server = tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (barrier, mut closing) = (Arc::clone(&barrier), closing.clone());
                let closed = Arc::clone(&count);
                let Step::Write(answer) = json(200, &whole("x")).remove(0) else {
                    panic!("an answer is written");
                };
                tokio::spawn(async move {
                    assert!(read_request(&mut stream).await);
                    if number < CONNECTIONS {
                        barrier.wait().await;
                    }
                    stream.write_all(&answer).await.unwrap();
                    if number < CONNECTIONS {
                        closing.wait_for(|close| *close).await.unwrap();
                        if reset {
                            let socket = socket2::SockRef::from(&stream);
                            socket.set_linger(Some(Duration::ZERO)).unwrap();
                        }
                        drop(stream);
                        closed.fetch_add(1, Ordering::SeqCst);
                    } else {
                        while read_request(&mut stream).await {
                            stream.write_all(&answer).await.unwrap();
                        }
                    }
                });
            }
        });
        let failed = ask_together(&gateway, CONNECTIONS).await;
        assert!(failed.is_empty(), "{failed:?}");
        close.send(true).unwrap();
        while closed.load(Ordering::SeqCst) < CONNECTIONS {
            tokio::task::yield_now().await;
        }
        let failed = ask_together(&gateway, CONNECTIONS).await;
        let message = format!("reset {reset}: {} of {CONNECTIONS}", failed.len());
        assert!(failed.is_empty(), "{message}: {:?}", failed.first());
        server.abort();
    }
}

/// Row 20: statuses that HTTP does not have, or that were not asked for.
#[tokio::test(start_paused = true)]
async fn a_status_that_does_not_exist_is_a_protocol_error_and_is_not_retried() {
    for status in ["000", "099", "101", "600", "999"] {
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        let upstream = Upstream::always(vec![Step::Write(head.into_bytes())]).await;
        let gateway = gateway(&upstream).await;
        let asked = gateway.conversation().converse(ask_whole(question())).await;
        let error = asked.unwrap_err();
        assert_fault(&error, Code::Internal, "UPSTREAM_PROTOCOL");
        assert_eq!(upstream.seen().len(), 1, "{status} was retried");
    }
    // The same as the status of an event.
    for status in ["101", "600", "999"] {
        let event =
            format!("id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:{{\"code\":\"New\"}}\n\n");
        let upstream = Upstream::always(vec![sse(), piece(event), end()]).await;
        let gateway = gateway(&upstream).await;
        let asked = gateway.conversation().converse(ask_whole(question())).await;
        let error = asked.unwrap_err();
        assert_fault(&error, Code::Internal, "UPSTREAM_PROTOCOL");
        assert_eq!(upstream.seen().len(), 1, "{status} was retried");
    }
}

/// Row 20: interim answers without end, each a write of its own and in one piece.
#[tokio::test(start_paused = true)]
async fn a_storm_of_interim_answers_ends_at_once() {
    let interim: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let large = [
        b"HTTP/1.1 103 X\r\na: ",
        &*vec![b'x'; 32 << 10],
        b"\r\n\r\n",
    ]
    .concat();
    for steps in [
        vec![Step::Write(interim.to_vec()); 10_000],
        vec![Step::Write(interim.repeat(10_000))],
        vec![Step::Write(large); 1_000],
    ] {
        let upstream = Upstream::always(steps).await;
        let gateway = gateway(&upstream).await;
        let started = Instant::now();
        let asked = gateway.conversation().converse(ask_whole(question())).await;
        let error = asked.unwrap_err();
        assert_fault(&error, Code::Internal, "UPSTREAM_PROTOCOL");
        assert_eq!(upstream.seen().len(), 1, "it was retried");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    // A few of them are what HTTP allows.
    let Step::Write(answer) = json(200, &whole("x")).remove(0) else {
        panic!("an answer is written");
    };
    let upstream =
        Upstream::always(vec![Step::Write(interim.repeat(5)), Step::Write(answer)]).await;
    let gateway = gateway(&upstream).await;
    let asked = gateway.conversation().converse(ask_whole(question())).await;
    assert!(asked.is_ok(), "{asked:?}");
}

/// A head of 64 KiB that comes byte by byte is not read again for each byte.
#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_costs_no_more_than_its_bytes() {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for number in 0..100 {
        head.extend(format!("x-{number}: {}\r\n", "a".repeat(600)).into_bytes());
    }
    let body = whole("x");
    head.extend(format!("content-length: {}\r\n\r\n{body}", body.len()).into_bytes());
    let steps = head.iter().map(|byte| Step::Write(vec![*byte])).collect();
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let asked = gateway.conversation().converse(ask_whole(question())).await;
    assert!(asked.is_ok(), "{asked:?}");
}

/// Row 20: a connection that is always busy is replaced when it is old.
#[tokio::test(start_paused = true)]
async fn a_busy_connection_has_an_age() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&Upstream::always(Vec::new()).await);
    let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let api_key = dashgate::secret::Secret::new("sk-canary");
    settings.upstream.endpoint = dashgate::config::Endpoint::Remote { base_url, api_key };
    settings.upstream.max_connection_age = Duration::from_secs(60);
    let gateway = gateway_with(settings).await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Step::Write(answer) = json(200, &whole("x")).remove(0) else {
                    panic!("an answer is written");
                };
                while read_request(&mut stream).await {
                    stream.write_all(&answer).await.unwrap();
                }
            });
        }
    });
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(600) {
        let asked = gateway.conversation().converse(ask_whole(question())).await;
        assert!(asked.is_ok(), "{asked:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let accepted = accepted.load(Ordering::SeqCst);
    assert!(
        (9..=12).contains(&accepted),
        "{accepted} connections in ten minutes"
    );
    server.abort();
}
