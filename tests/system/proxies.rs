//! Proxies on the way out, as the environment or the settings name them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashgate::config;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::metrics::page;
use crate::network::{World, ask, dashscope, tls, tls_in_front_of, upload};
use crate::storage::FOLDER;
use crate::support::*;

/// `user:p@ss`, as a URL writes it and as `Proxy-Authorization` does.
const CREDENTIALS: &str = "user:p%40ss";
const BASIC: &str = "Basic dXNlcjpwQHNz";

/// A proxy that is asked for tunnels, and leads all of them to one address.
struct TunnelProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TunnelProxy {
    async fn start(target: SocketAddr, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let heads = Arc::clone(&heads);
                match acceptor.clone() {
                    None => tokio::spawn(tunnel(stream, target, heads)),
                    Some(acceptor) => tokio::spawn(async move {
                        let stream = acceptor.accept(stream).await.unwrap();
                        tunnel(stream, target, heads).await;
                    }),
                };
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn tunnel<S>(mut stream: S, target: SocketAddr, heads: Arc<Mutex<Vec<String>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    let mut target = TcpStream::connect(target).await.unwrap();
    let answer = b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    let _ended = copy_bidirectional(&mut stream, &mut target).await;
}

#[tokio::test]
async fn https_goes_through_the_proxy_of_the_environment_by_connect() {
    let (pem, acceptor) = tls(&["dashscope.test", "oss.test"]);
    let upstream = dashscope("https://oss.test".to_owned()).await;
    let secure = tls_in_front_of(upstream.address, acceptor).await;
    let proxy = TunnelProxy::start(secure, None).await;
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let url = format!("http://{CREDENTIALS}@{}", proxy.address);
        let world = World::with_upstream("https://dashscope.test/api/v1")
            .set(name, &url)
            .set("NO_PROXY", "other.test,10.0.0.0/8")
            .trusting(&pem);
        let mut settings = world.settings();
        settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        let gateway = gateway_with(settings).await;
        ask(&gateway).await.unwrap();
        ask(&gateway).await.unwrap();
        let uri = upload(&gateway).await.unwrap();
        assert!(uri.starts_with(&format!("oss://{FOLDER}/")), "{uri}");

        let asked = std::mem::take(&mut *proxy.asked.lock().unwrap());
        // Calls share a connection; the storage has two hosts.
        assert_eq!(asked.len(), 3, "{asked:?}");
        for (head, host) in asked.iter().zip(["dashscope", "dashscope", "oss"]) {
            let head = head.to_lowercase();
            assert!(
                head.starts_with(&format!("connect {host}.test:443 http/1.1\r\n")),
                "{head}"
            );
            let pass = format!("proxy-authorization: {}\r\n", BASIC.to_lowercase());
            assert!(head.contains(&pass), "{head}");
            assert!(!head.contains("canary"), "{head}");
        }
        let shown = page(&gateway, "/config").await;
        let line = format!("upstream.proxy = http://{}", proxy.address);
        assert!(
            shown.contains(&line) && !shown.contains("p%40ss"),
            "{shown}"
        );
    }
    for seen in upstream.seen() {
        assert_eq!(seen.header("proxy-authorization"), None);
    }
}

#[tokio::test]
async fn a_proxy_with_an_https_url_is_reached_over_tls() {
    let (pem, acceptor) = tls(&["dashscope.test"]);
    let (proxy_pem, proxy_acceptor) = tls(&["localhost"]);
    let upstream = dashscope("https://dashscope.test".to_owned()).await;
    let secure = tls_in_front_of(upstream.address, acceptor).await;
    let proxy = TunnelProxy::start(secure, Some(proxy_acceptor)).await;
    let url = format!("https://{CREDENTIALS}@localhost:{}", proxy.address.port());
    let world = World::with_upstream("https://dashscope.test/api/v1")
        .set("DASHGATE_UPSTREAM_PROXY", &url)
        .set("DASHGATE_UPSTREAM_TLS_SYSTEM_ROOTS", "false")
        .trusting(&format!("{pem}{proxy_pem}"));
    let gateway = gateway_with(world.settings()).await;
    for _ in 0..3 {
        ask(&gateway).await.unwrap();
    }
    upload(&gateway).await.unwrap();
    let asked = proxy.asked();
    assert!(asked.len() >= 2, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|head| head.starts_with("CONNECT dashscope.test:443 "))
    );
}

#[tokio::test]
async fn http_is_given_to_the_proxy_in_absolute_form() {
    // The proxy answers by itself, as if it were all hosts.
    let proxy = dashscope("http://oss.test".to_owned()).await;
    let url = format!("http://{CREDENTIALS}@{}", proxy.address);
    let world = World::with_upstream("http://dashscope.test:8080/api/v1")
        .set("DASHGATE_UPSTREAM_ALLOW_PLAINTEXT", "true")
        .set("HTTP_PROXY", &url)
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel.test:4318");
    let gateway = gateway_with(world.settings()).await;
    for _ in 0..2 {
        ask(&gateway).await.unwrap();
    }
    upload(&gateway).await.unwrap();
    gateway.stop().await;
    gateway.ended().await;
    let seen = proxy.seen();
    for request in &seen {
        assert_eq!(
            request.header("proxy-authorization"),
            Some(BASIC),
            "{request:?}"
        );
    }
    let mut paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let expected = [
        "http://dashscope.test:8080/api/v1/services/aigc/multimodal-generation/generation",
        "http://dashscope.test:8080/api/v1/uploads?action=getPolicy&model=qwen-vl-max",
        "http://oss.test/oss",
        "http://otel.test:4318/v1/traces",
    ];
    assert_eq!(paths, expected);
    let hosts = seen.iter().filter(|seen| seen.path.contains("generation"));
    for request in hosts {
        assert_eq!(request.header("host"), Some("dashscope.test:8080"));
    }
}

#[tokio::test]
async fn spans_go_through_the_proxy_by_connect_when_their_collector_has_tls() {
    let (pem, acceptor) = tls(&["dashscope.test", "otel.test"]);
    let upstream = dashscope(String::new()).await;
    let secure = tls_in_front_of(upstream.address, acceptor).await;
    let proxy = TunnelProxy::start(secure, None).await;
    let world = World::with_upstream("https://dashscope.test/api/v1")
        .set("HTTPS_PROXY", &format!("http://{}", proxy.address))
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otel.test:4318")
        .trusting(&pem);
    let gateway = gateway_with(world.settings()).await;
    ask(&gateway).await.unwrap();
    gateway.stop().await;
    gateway.ended().await;
    let asked = proxy.asked();
    let hosts: Vec<_> = asked.iter().map(|head| head.lines().next()).collect();
    let expected = ["dashscope.test:443", "otel.test:4318"];
    let expected = expected.map(|host| format!("CONNECT {host} HTTP/1.1"));
    assert_eq!(hosts, expected.each_ref().map(|line| Some(line.as_str())));
}

#[tokio::test]
async fn a_storage_that_no_proxy_names_is_reached_directly_and_dashscope_is_not() {
    let (pem, acceptor) = tls(&["dashscope.test", "localhost"]);
    let storage = dashscope(String::new()).await;
    let secure_storage = tls_in_front_of(storage.address, acceptor.clone()).await;
    let port = secure_storage.port();
    let upstream = dashscope(format!("https://localhost:{port}")).await;
    let secure = tls_in_front_of(upstream.address, acceptor).await;
    for (no_proxy, stored_directly) in [("localhost", true), ("other.test", false)] {
        let proxy = TunnelProxy::start(secure, None).await;
        // A proxy that is set by name is also for hosts on loopback.
        let world = World::with_upstream("https://dashscope.test/api/v1")
            .set(
                "DASHGATE_UPSTREAM_PROXY",
                &format!("http://{}", proxy.address),
            )
            .set("NO_PROXY", no_proxy)
            .trusting(&pem);
        let gateway = gateway_with(world.settings()).await;
        let before = storage.seen().len();
        ask(&gateway).await.unwrap();
        upload(&gateway).await.unwrap();
        let stored = storage.seen().len() - before;
        assert_eq!(stored, usize::from(stored_directly), "{no_proxy}");
        let asked = proxy.asked();
        let is_of = |host: &str| {
            let line = format!("CONNECT {host} ");
            asked.iter().any(|head| head.starts_with(&line))
        };
        assert!(is_of("dashscope.test:443"), "{asked:?}");
        let by_proxy = is_of(&format!("localhost:{port}"));
        assert_eq!(by_proxy, !stored_directly, "{asked:?}");
    }
}

#[tokio::test]
async fn a_socks_proxy_resolves_the_name_itself() {
    let upstream = dashscope("http://oss.test".to_owned()).await;
    let target = upstream.address;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let names = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&names);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut greeting = [0; 2];
                stream.read_exact(&mut greeting).await.unwrap();
                let mut methods = vec![0; greeting[1].into()];
                stream.read_exact(&mut methods).await.unwrap();
                assert!(methods.contains(&2), "{methods:?}");
                stream.write_all(&[5, 2]).await.unwrap();
                let mut user = vec![0; 2 + 4 + 1 + 4];
                stream.read_exact(&mut user).await.unwrap();
                assert_eq!(&user[2..], b"user\x04p@ss");
                stream.write_all(&[1, 0]).await.unwrap();
                let mut request = [0; 5];
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(request[..4], [5, 1, 0, 3]);
                let mut name = vec![0; usize::from(request[4]) + 2];
                stream.read_exact(&mut name).await.unwrap();
                name.truncate(request[4].into());
                asked.lock().unwrap().push(String::from_utf8(name).unwrap());
                let answer = [5, 0, 0, 1, 127, 0, 0, 1, 0, 80];
                stream.write_all(&answer).await.unwrap();
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ended = copy_bidirectional(&mut stream, &mut target).await;
            });
        }
    });
    for scheme in ["socks5", "socks5h"] {
        let world = World::with_upstream("http://dashscope.test/api/v1")
            .set("DASHGATE_UPSTREAM_ALLOW_PLAINTEXT", "true")
            .set("all_proxy", &format!("{scheme}://{CREDENTIALS}@{address}"));
        let gateway = gateway_with(world.settings()).await;
        ask(&gateway).await.unwrap();
        upload(&gateway).await.unwrap();
        let asked = std::mem::take(&mut *names.lock().unwrap());
        assert_eq!(asked, ["dashscope.test", "dashscope.test", "oss.test"]);
    }
}

#[tokio::test]
async fn loopback_and_what_no_proxy_names_are_reached_directly() {
    let upstream = dashscope("http://127.0.0.1:1".to_owned()).await;
    let proxy = TunnelProxy::start(upstream.address, None).await;
    let through = format!("http://{}", proxy.address);
    let direct = World::with_upstream(&upstream.base_url());
    for (world, asked) in [
        // Neither kind of proxy of the environment is for loopback.
        (
            direct
                .clone()
                .set("HTTP_PROXY", &through)
                .set("HTTPS_PROXY", &through),
            0,
        ),
        (direct.clone().set("ALL_PROXY", &through), 0),
        (
            direct
                .clone()
                .set("DASHGATE_UPSTREAM_PROXY", "none")
                .set("HTTP_PROXY", &through),
            0,
        ),
        // One that is named is, unless it is told not to be.
        (
            direct
                .clone()
                .set("DASHGATE_UPSTREAM_PROXY", &through)
                .set("NO_PROXY", "localhost,127.0.0.0/8"),
            0,
        ),
        (
            direct
                .clone()
                .set("DASHGATE_UPSTREAM_PROXY", &through)
                .set("DASHGATE_UPSTREAM_NO_PROXY", &upstream.address.to_string()),
            0,
        ),
    ] {
        let gateway = gateway_with(world.settings()).await;
        ask(&gateway).await.unwrap();
        assert_eq!(proxy.asked().len(), asked);
    }
    // The embedded DashScope is never asked through a proxy.
    let world = World::default().set("DASHGATE_UPSTREAM_PROXY", "http://127.0.0.1:1");
    let gateway = gateway_with(world.settings()).await;
    ask(&gateway).await.unwrap();
    // This one is the proxy itself.
    let named = World::with_upstream("http://127.0.0.1:1/api/v1").set(
        "DASHGATE_UPSTREAM_PROXY",
        &upstream.base_url().replace("/api/v1", ""),
    );
    let gateway = gateway_with(named.settings()).await;
    ask(&gateway).await.unwrap();
    let last = upstream.seen().pop().unwrap();
    assert!(
        last.path.starts_with("http://127.0.0.1:1/api/v1/"),
        "{}",
        last.path
    );
}

#[tokio::test]
async fn the_keys_of_an_authority_are_fetched_through_the_proxy() {
    let upstream = dashscope(String::new()).await;
    let proxy = TunnelProxy::start(upstream.address, None).await;
    let mut settings = World::with_upstream(&upstream.base_url())
        .set("HTTPS_PROXY", &format!("http://{}", proxy.address))
        .settings();
    settings.callers.tokens = Some(config::TokenSettings {
        jwks: "https://id.test/keys".to_owned(),
        issuer: "https://id.test".to_owned(),
        audience: vec!["dashgate".to_owned()],
        algorithms: vec!["ES256".to_owned()],
        clock_skew: Duration::from_secs(30),
        name_claim: "sub".to_owned(),
        limits_claim: None,
    });
    let _gateway = gateway_with(settings).await;
    while proxy.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(proxy.asked()[0].starts_with("CONNECT id.test:443 "));
}
