//! The admin port: who says nothing holds nobody up, and web pages cannot read it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::*;

async fn watched(change: impl FnOnce(&mut dashgate::config::Settings)) -> Running {
    let upstream = Upstream::always(Vec::new()).await;
    let mut settings = settings(&upstream);
    settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    change(&mut settings);
    gateway_with(settings).await
}

/// The status and the body of an answer; none if the connection is closed without one.
async fn ask(gateway: &Running, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(gateway.admin.unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn silent_connections_delay_no_other() {
    let gateway = watched(|_| ()).await;
    let mut silent = Vec::new();
    for count in [40, 200, 1000] {
        while silent.len() < count {
            let mut stream = TcpStream::connect(gateway.admin.unwrap()).await.unwrap();
            // Some say half a head.
            if silent.len() % 2 == 0 {
                let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await;
            }
            silent.push(stream);
        }
        let started = Instant::now();
        let request = "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        let answer = ask(&gateway, request).await;
        assert_eq!(answer, Some((200, "ok\n".to_owned())), "{count}");
        assert!(started.elapsed() < Duration::from_secs(1), "{count}");
    }
    // And they are closed: the newest after the time that a head may take.
    let newest = silent.last_mut().unwrap();
    let started = Instant::now();
    let _ = newest.read_to_end(&mut Vec::new()).await;
    assert!(
        started.elapsed() <= Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_known_are_refused() {
    let gateway = watched(|settings| {
        settings.admin.allowed_hosts = vec!["gateway.internal".to_owned()];
    })
    .await;
    for page in ["/metrics", "/config", "/calls", "/healthz", "/readyz", "/"] {
        for (host, expected) in [
            ("127.0.0.1:9464", 200),
            ("[::1]:9464", 200),
            ("localhost:9464", 200),
            ("gateway.internal", 200),
            ("evil.example:9464", 421),
            ("localhost.evil.example", 421),
        ] {
            let request = format!("GET {page} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            let (status, body) = ask(&gateway, &request).await.unwrap();
            assert_eq!(status, expected, "{page} {host}");
            if status == 421 {
                assert!(body.contains("admin.allowed_hosts"), "{body}");
            }
        }
    }
    let two = "GET /config HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n";
    assert_ne!(
        ask(&gateway, two).await.map(|(status, _)| status),
        Some(200)
    );
    let absolute = "GET http://evil.example/config HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    assert_eq!(ask(&gateway, absolute).await.unwrap().0, 421);
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert_ne!(
        ask(&gateway, &large).await.map(|(status, _)| status),
        Some(200)
    );
}
