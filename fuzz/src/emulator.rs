//! An emulator in this process, called over a socket as its clients do.

use std::net::SocketAddr;
use std::time::Duration;

use dashgate::emulator::{EmulatorConfig, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// How long an answer may take. Time is paused, so nobody waits for it: scripts may ask for hours.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// An emulator, and the runtime in which it is called.
pub struct Emulator {
    runtime: Runtime,
    address: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status; 0 if the connection ended before there was one.
    pub status: u16,
    /// All of it, head included.
    pub text: Vec<u8>,
}

impl Answer {
    /// The text after this one, up to a double quote.
    pub fn after(&self, text: &str) -> Option<String> {
        let all = String::from_utf8_lossy(&self.text);
        let (_, rest) = all.split_once(text)?;
        rest.split('"').next().map(str::to_owned)
    }
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Emulator {
    /// Starts one.
    pub fn new() -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let settings = EmulatorConfig {
            // Small, so that a run of hours keeps its size.
            store_bytes: 4 << 20,
            max_body_bytes: 1 << 20,
            journal_entries: 16,
            ..EmulatorConfig::default()
        };
        runtime.spawn(serve(listener, settings, std::future::pending()));
        Self { runtime, address }
    }

    /// Sends a request and reads the answer to its end.
    pub fn call(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("authorization: Bearer sk-fuzz\r\nconnection: close\r\n");
        request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let request = [request.as_bytes(), body].concat();
        let text = self.runtime.block_on(async {
            let mut text = Vec::new();
            let exchange = async {
                let mut stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream.write_all(&request).await?;
                stream.read_to_end(&mut text).await
            };
            // An answer that hangs, or that a script breaks off, is an answer too.
            let _ = tokio::time::timeout(PATIENCE, exchange).await;
            text
        });
        let status = text
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_default();
        Answer { status, text }
    }
}
