//! The emulator on a loopback socket, and a minimal HTTP client that shows every byte.

use std::net::SocketAddr;

use dashgate::emulator::{EmulatorConfig, Script, serve};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The path of the generation endpoint.
pub const GENERATION: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// A running emulator.
pub struct TestEmulator {
    /// Its address.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// How a response ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Complete, as HTTP defines it.
    Whole,
    /// The connection was closed before the end.
    Closed,
    /// The connection was reset.
    Reset,
}

/// A response.
#[derive(Debug)]
pub struct TestResponse {
    /// The HTTP status. 0 if no head was received.
    pub status: u16,
    /// The headers, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, without chunked framing.
    pub body: Vec<u8>,
    /// How it ended.
    pub end: End,
}

impl TestResponse {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl TestEmulator {
    /// Starts an emulator with a script.
    pub async fn scripted(script: &str) -> Self {
        let script = Script::parse(script).unwrap();
        Self::start(EmulatorConfig {
            script,
            ..EmulatorConfig::default()
        })
        .await
    }

    /// Starts an emulator with the default settings.
    pub async fn plain() -> Self {
        Self::start(EmulatorConfig::default()).await
    }

    /// Starts an emulator.
    pub async fn start(settings: EmulatorConfig) -> Self {
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

    /// Stops the emulator and waits until it has ended.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    /// Sends a request; its response is read from the stream that is returned.
    pub async fn send(
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

    /// Sends a request and reads its response.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TestResponse {
        read(self.send(method, path, headers, body).await).await
    }

    /// Calls a model with a valid key.
    pub async fn request(&self, body: &Value) -> TestResponse {
        let headers = [("authorization", "Bearer sk-test")];
        self.call("POST", GENERATION, &headers, body.to_string().as_bytes())
            .await
    }

    /// Calls a model for a stream, with a valid key.
    pub async fn request_stream(&self, body: &Value) -> TestResponse {
        read(self.open_stream(body).await).await
    }

    /// Calls a model for a stream and reads nothing of it.
    pub async fn open_stream(&self, body: &Value) -> TcpStream {
        let headers = [
            ("authorization", "Bearer sk-test"),
            ("x-dashscope-sse", "enable"),
        ];
        self.send("POST", GENERATION, &headers, body.to_string().as_bytes())
            .await
    }

    /// The journal's entries for the latest requests.
    pub async fn journal(&self) -> Vec<Value> {
        let journal = self.call("GET", "/emulator/journal", &[], b"").await.json();
        journal["requests"].as_array().unwrap().clone()
    }

    /// Waits until the latest request has ended, and returns its journal entry.
    pub async fn ended(&self) -> Value {
        // Each iteration is an exchange over the socket, during which the server reads what
        // arrived.
        for _ in 0..1000 {
            let last = self.journal().await.pop().unwrap();
            if last["end"] != "running" {
                return last;
            }
        }
        panic!("the request goes on");
    }
}

/// Reads a response to its end.
pub async fn read(mut stream: TcpStream) -> TestResponse {
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
        return TestResponse {
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
    TestResponse {
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

/// A WAV file with one channel of 16 bits.
pub fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let size = u32::try_from(2 * samples.len()).unwrap();
    let mut file = b"RIFF".to_vec();
    file.extend((size + 36).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((2 * rate).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(size.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}
