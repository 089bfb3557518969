//! What `dashgate ask` does when its connection breaks, its time is over, or its terminal is
//! closed: the real program, in front of a gateway and a DashScope that is played.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::command_answers::dashgate;
use crate::support::*;

/// A proxy whose first connection breaks when the gateway has sent these bytes.
async fn breaking_proxy(gateway: SocketAddr, at: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(gateway).await.unwrap();
        {
            let ((mut client, mut up), (mut server, mut down)) = (first.split(), to.split());
            let mut received = Vec::new();
            let passing = async {
                while !received.windows(at.len()).any(|bytes| bytes == at) {
                    let begun = received.len();
                    assert!(server.read_buf(&mut received).await.unwrap() > 0);
                    up.write_all(&received[begun..]).await.unwrap();
                }
            };
            tokio::select! {
                () = passing => {}
                _ = tokio::io::copy(&mut client, &mut down) => panic!("the client left"),
            }
        }
        drop((first, to));
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut to = TcpStream::connect(gateway).await.unwrap();
            tokio::spawn(async move {
                let _ends = tokio::io::copy_bidirectional(&mut client, &mut to).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_stream_whose_connection_breaks_is_continued() {
    let steps = vec![
        sse(),
        piece(frame(1, "one ", "null")),
        Step::Pause(Duration::from_secs(1)),
        piece(frame(2, "two", "stop")),
        end(),
    ];
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let address = breaking_proxy(gateway.address, b"one ").await;
    let arguments = ["ask", "--server", &address, "hi"];
    let (code, out, err) = dashgate("http://127.0.0.1:9", &arguments).await;
    assert_eq!((code, out.as_str()), (Some(0), "one two\n"), "{err}");
    assert_eq!(upstream.seen().len(), 1);
}

/// A terminal that is closed sends SIGHUP.
#[cfg(unix)]
#[tokio::test]
async fn a_call_ends_with_its_terminal() {
    for (signal, code) in [("HUP", 130), ("QUIT", 130), ("TERM", 130)] {
        let mut steps = vec![sse(), piece(frame(1, "one ", "null"))];
        steps.push(Step::Hang);
        let mut upstream = Upstream::always(steps).await;
        let gateway = gateway(&upstream).await;
        let mut child = Command::new(env!("CARGO_BIN_EXE_dashgate"))
            .args(["ask", "--server", &gateway.address.to_string(), "hi"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        upstream.wait_for_requests(1).await;
        let pid = child.id().to_string();
        let killed = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(killed.unwrap().success());
        // Well below the time for which the gateway keeps a stream that may be resumed.
        let closed = tokio::time::timeout(Duration::from_secs(8), upstream.closed()).await;
        assert!(closed.is_ok(), "{signal}");
        let ended = tokio::task::spawn_blocking(move || child.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(code), "{signal}");
    }
}

#[tokio::test]
async fn a_timeout_includes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for command in [&["ask", "hi"][..], &["models"]] {
        let begun = tokio::time::Instant::now();
        let more = ["--timeout", "300ms", "--server", &address];
        let (code, _, err) = dashgate("http://127.0.0.1:9", &[command, &more].concat()).await;
        assert_eq!(code, Some(3), "{command:?} {err}");
        let words = format!("{address} did not answer within 300ms");
        assert!(err.contains(&words), "{command:?} {err}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{command:?}");
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_keeps_what_is_known_of_it() {
    let steps = vec![sse(), piece(frame(1, "one ", "null")), Step::Hang];
    let upstream = Upstream::always(steps).await;
    let gateway = gateway(&upstream).await;
    let address = gateway.address.to_string();
    let arguments = [
        "ask",
        "--json",
        "--timeout",
        "1s",
        "--server",
        &address,
        "hi",
    ];
    let (code, out, err) = dashgate("http://127.0.0.1:9", &arguments).await;
    assert_eq!(code, Some(1), "{err}");
    let error = &serde_json::from_str::<Value>(&out).unwrap()["error"];
    assert_eq!(error["code"], "DEADLINE_EXCEEDED", "{out}");
    assert_eq!(error["output_started"], true, "{out}");
    assert!(error["usage"].is_object(), "{out}");
    assert!(error["request_id"].is_string(), "{out}");
}

#[tokio::test]
async fn a_smaller_chunk_limit_does_not_stop_uploads_of_the_command() {
    let wav = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("small-chunks.wav");
    let mut large = crate::media::WAV.to_vec();
    large.resize(17 << 20, 0);
    std::fs::write(&wav, large).unwrap();
    let audio = wav.to_str().unwrap();
    let arguments = [
        "ask",
        "--set",
        "server.max_chunk_bytes=65536",
        "--audio",
        audio,
        "hi",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_dashgate"));
    let output = command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!err.contains("MESSAGE_TOO_LARGE"), "{err}");
    assert_eq!(output.status.code(), Some(0), "{err}");
    std::fs::remove_file(wav).unwrap();
}
