//! `dashgate live` when it is interrupted, and when its connection breaks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::command_live::{command, dashgate, example, text};
use super::live_repairs_dialects::before;
use crate::support::realtime::RealtimeUpstream;

#[test]
#[cfg(unix)]
fn a_first_interrupt_ends_the_input_and_the_answer_completes() {
    let wave = std::fs::read(example("sentence-en.wav")).unwrap();
    let mut child = command(&["live", "--audio", "-", "--json"])
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&wave).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let speaks = |line: &Result<String, _>| line.as_ref().unwrap().contains("speech_started");
    assert!(lines.any(|line| speaks(&line)));
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        rest.last().unwrap().contains("\"responses\":1"),
        "{:?}",
        rest.last()
    );
    // It was open all the time.
    drop(stdin);
}

/// A gateway in a process of its own, with the emulator.
struct Gateway(Child, String);

impl Gateway {
    fn start() -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--upstream", "embedded"];
        let mut child = command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self(child, address.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Copies bytes until the end of either side, which then ends both.
fn copy(from: &TcpStream, to: &TcpStream) {
    let (mut reader, mut writer) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut writer);
        let _ = writer.shutdown(Shutdown::Both);
        let _ = reader.shutdown(Shutdown::Both);
    });
}

/// A proxy whose first connection breaks after this time.
fn breaking_proxy(gateway: String, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (at, client) in listener.incoming().enumerate() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&gateway).unwrap());
            copy(&client, &server);
            copy(&server, &client);
            if at == 0 {
                // The time is that of another process, and cannot be paused.
                let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
                let _ = never.recv_timeout(after);
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            }
        }
    });
    address
}

#[test]
fn a_connection_that_breaks_is_resumed_and_the_session_completes() {
    let gateway = Gateway::start();
    let address = breaking_proxy(gateway.1.clone(), Duration::from_millis(1_500));
    let sentence = example("sentence-en.wav");
    let arguments = [
        "live",
        "--audio",
        &sentence,
        "--realtime",
        "--server",
        &address,
    ];
    let (code, out, err) = dashgate(&arguments, b"");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("the connection broke"), "{err}");
    assert!(err.contains("the session was resumed"), "{err}");
    let out = text(out);
    assert!(out.contains("Model: I heard"), "{out}");
    assert!(err.contains("1 response"), "{err}");
}

/// A session that is only dropped goes on at DashScope for the time in which it may be resumed.
#[tokio::test]
async fn a_session_ends_with_its_command() {
    let mut upstream = RealtimeUpstream::start().await;
    let gateway = before(&upstream).await;
    let address = gateway.address.to_string();
    let mut child = command(&["live", "--audio", "-", "--json", "--server", &address])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let wave = std::fs::read(example("sentence-en.wav")).unwrap();
    stdin.write_all(&wave[..32_000]).unwrap();
    let mut socket = upstream.session().await;
    socket.configured().await;
    // Its reader leaves, and the next event cannot be written.
    drop(child.stdout.take());
    socket.response_created("r1");
    socket.speak("r1", &[1; 480]);
    let cancelled = tokio::time::timeout(Duration::from_secs(10), async {
        socket.until("response.cancel").await;
        socket.response_done("r1", "cancelled");
        socket.until("session.finish").await
    });
    assert!(cancelled.await.is_ok(), "{:?}", socket.kinds());
    let ended = tokio::task::spawn_blocking(move || child.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
    drop(stdin);
}
