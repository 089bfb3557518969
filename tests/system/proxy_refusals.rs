//! Proxies that do not let pass: each is named, and nothing is sent around it.

use tokio::net::TcpListener;
use tonic::Code;

use crate::network::{World, ask, upload};
use crate::support::*;

/// What the proxy of the environment is shown.
const CREDENTIALS: &str = "user:p%40ss";

#[tokio::test]
async fn a_proxy_that_does_not_let_pass_is_named_and_nothing_is_sent() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_address = gone.local_addr().unwrap();
    drop(gone);
    let answers = |answer: &str| vec![Step::Write(answer.as_bytes().to_vec()), Step::Close];
    let unavailable = (Code::Unavailable, "UPSTREAM_CONNECT", "3");
    let cases = [
        (
            Some(http(403, "", b"body")),
            unavailable,
            ": it answered CONNECT with HTTP 403",
        ),
        (
            Some(answers("HTTP/1.1 502 Bad\r\n\r\nbody")),
            unavailable,
            ": it answered CONNECT with HTTP 502",
        ),
        (Some(answers("")), unavailable, ": it closed the connection"),
        (Some(answers("SSH-2.0-OpenSSH_9.6\r\n")), unavailable, ": "),
        (
            Some(answers("HTTP/1.1 200 OK\r\n\r\ntoo early")),
            unavailable,
            ": it sent data before the tunnel was used",
        ),
        (
            Some(http(407, "proxy-authenticate: Basic realm=\"x\"\r\n", b"")),
            (Code::Internal, "GATEWAY_CONFIG", "1"),
            "",
        ),
        (None, unavailable, ": connect failed"),
    ];
    for (steps, (code, reason, tries), problem) in cases {
        let told = format!("{steps:?}");
        let playing = match steps {
            Some(steps) => Some(Upstream::always(steps).await),
            None => None,
        };
        let address = playing
            .as_ref()
            .map_or(gone_address, |playing| playing.address);
        let world = World::with_upstream("https://dashscope.test/api/v1")
            .set("HTTPS_PROXY", &format!("http://{CREDENTIALS}@{address}"));
        let gateway = gateway_with(world.settings()).await;
        let error = ask(&gateway).await.unwrap_err();
        assert_fault(&error, code, reason);
        assert_eq!(attempts(&error), tries, "{told}");
        let name = format!("http://{address}");
        let said = format!("{name}{problem}");
        assert!(error.message().contains(&said), "{told}: {error:?}");
        assert!(!error.message().contains("body"), "{error:?}");
        assert!(!format!("{error:?}").contains("p@ss"), "{error:?}");
        for seen in playing.iter().flat_map(Upstream::seen) {
            assert_eq!(
                (&*seen.method, &*seen.path),
                ("CONNECT", "dashscope.test:443")
            );
        }
        let error = upload(&gateway).await.unwrap_err();
        assert!(
            error.message().contains(&name) || reason == "GATEWAY_CONFIG",
            "{told}: {error:?}"
        );
        if problem.contains("CONNECT") {
            let said = format!("{name}: it did not accept CONNECT");
            assert!(error.message().contains(&said), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_silent_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let world = World::with_upstream("https://dashscope.test/api/v1")
        .set("HTTPS_PROXY", &format!("http://{address}"))
        .set("DASHGATE_UPSTREAM_CONNECT_TIMEOUT", "50ms")
        .set("DASHGATE_RETRY_MAX_ATTEMPTS", "1");
    let gateway = gateway_with(world.settings()).await;
    let error = ask(&gateway).await.unwrap_err();
    assert_fault(&error, Code::Unavailable, "UPSTREAM_CONNECT");
    assert!(error.message().contains(&address.to_string()), "{error:?}");
}

/// A plain request that the proxy itself refuses, as if it were an answer.
#[tokio::test]
async fn credentials_that_a_proxy_refuses_are_not_the_callers_fault() {
    let proxy = Upstream::always(http(407, "", b"no")).await;
    let world = World::with_upstream("http://dashscope.test/api/v1")
        .set("DASHGATE_UPSTREAM_ALLOW_PLAINTEXT", "true")
        .set("HTTP_PROXY", &format!("http://{}", proxy.address));
    let gateway = gateway_with(world.settings()).await;
    let error = ask(&gateway).await.unwrap_err();
    assert_fault(&error, Code::Internal, "GATEWAY_CONFIG");
    assert!(
        error.message().contains(&proxy.address.to_string()),
        "{error:?}"
    );
    assert_eq!(proxy.seen().len(), 1);
}
