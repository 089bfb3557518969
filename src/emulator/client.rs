//! For tests: the emulator on a loopback socket, and a client so plain that it hides nothing.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::script::{GENERATION, Script};
use super::server::serve;
use super::settings::EmulatorConfig;

/// An emulator that runs.
pub(super) struct Served {
    /// Where it listens.
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// How an answer ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As HTTP says.
    Whole,
    /// The connection was closed too early.
    Closed,
    /// The connection was reset.
    Reset,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// The HTTP status. 0 if there was no head.
    pub(super) status: u16,
    /// The headers, with names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub(super) body: Vec<u8>,
    /// How it ended.
    pub(super) end: End,
}

impl Answered {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Served {
    /// Starts one with a script.
    pub(super) async fn scripted(script: &str) -> Self {
        let script = Script::parse(script).unwrap();
        Self::start(EmulatorConfig {
            script,
            ..EmulatorConfig::default()
        })
        .await
    }

    /// Starts one that behaves.
    pub(super) async fn plain() -> Self {
        Self::start(EmulatorConfig::default()).await
    }

    /// Starts one.
    pub(super) async fn start(settings: EmulatorConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, settings, shutdown));
        Self {
            address,
            stop,
            task,
        }
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// Sends a request and leaves the connection open for its answer.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    /// Sends a request and reads its answer.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answered {
        read(self.send(method, path, headers, body).await).await
    }

    /// Asks a model, with a good key.
    pub(super) async fn ask(&self, body: &Value) -> Answered {
        let headers = [("authorization", "Bearer sk-test")];
        self.call("POST", GENERATION, &headers, body.to_string().as_bytes())
            .await
    }

    /// Asks a model for a stream, with a good key.
    pub(super) async fn ask_stream(&self, body: &Value) -> Answered {
        read(self.open_stream(body).await).await
    }

    /// Asks a model for a stream and reads nothing of it.
    pub(super) async fn open_stream(&self, body: &Value) -> TcpStream {
        let headers = [
            ("authorization", "Bearer sk-test"),
            ("x-dashscope-sse", "enable"),
        ];
        self.send("POST", GENERATION, &headers, body.to_string().as_bytes())
            .await
    }

    /// What the journal tells of the latest requests.
    pub(super) async fn journal(&self) -> Vec<Value> {
        let journal = self.call("GET", "/emulator/journal", &[], b"").await.json();
        journal["requests"].as_array().unwrap().clone()
    }

    /// Waits until the latest request has ended, as the journal tells it.
    pub(super) async fn ended(&self) -> Value {
        // Each turn is a whole exchange over the socket, in which the server sees what came.
        for _ in 0..1000 {
            let last = self.journal().await.pop().unwrap();
            if last["end"] != "running" {
                return last;
            }
        }
        panic!("the request goes on");
    }
}

/// Reads an answer to its end.
pub(super) async fn read(mut stream: TcpStream) -> Answered {
    let mut bytes = Vec::new();
    let reset = loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break true,
            Err(error) => panic!("the socket failed: {error}"),
        }
    };
    let cut = if reset { End::Reset } else { End::Closed };
    let Some(split) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        assert!(bytes.is_empty(), "half a head");
        return Answered {
            status: 0,
            headers: Vec::new(),
            body: Vec::new(),
            end: cut,
        };
    };
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let rest = &bytes[split + 4..];
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let (body, whole) = if chunked {
        unchunked(rest)
    } else {
        (rest.to_vec(), true)
    };
    let end = if whole { End::Whole } else { cut };
    Answered {
        status,
        headers,
        body,
        end,
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let data = &rest[line + 2..];
        if data.len() < size + 2 {
            body.extend(&data[..size.min(data.len())]);
            return (body, false);
        }
        body.extend(&data[..size]);
        rest = &data[size + 2..];
    }
    (body, false)
}
