//! HTTP/2 frame by frame, for callers that no library would let us play.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame that was heard.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame as it is written.
pub fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a call of this method, and more headers.
pub fn block(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "gateway"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    all.extend(more);
    fields(&all)
}

/// Headers.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal, not kept in any table.
        block.push(0);
        for text in [name, value] {
            push_length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

fn push_length(length: usize, block: &mut Vec<u8>) {
    let Some(mut more) = length.checked_sub(127) else {
        block.push(length as u8);
        return;
    };
    block.push(127);
    while more >= 128 {
        block.push(more as u8 | 128);
        more >>= 7;
    }
    block.push(more as u8);
}

/// Whether a caller answers pings.
#[derive(Clone, Copy, PartialEq)]
pub enum Manners {
    Answers,
    IsDead,
}

/// A caller.
pub struct Raw {
    write: Arc<Mutex<OwnedWriteHalf>>,
    frames: mpsc::Receiver<Frame>,
    listening: AbortHandle,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Raw {
    /// Connects and greets, and waits until both sides are ready.
    pub async fn connect(address: SocketAddr, manners: Manners) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let write = Arc::new(Mutex::new(write));
        let (heard, frames) = mpsc::channel(100_000);
        let listening = tokio::spawn(listen(read, heard, Arc::clone(&write), manners));
        let mut raw = Self {
            write,
            frames,
            listening: listening.abort_handle(),
        };
        raw.send(&[PREFACE, &h2(SETTINGS, 0, 0, &[])].concat())
            .await;
        while raw
            .next()
            .await
            .is_some_and(|frame| frame.kind != SETTINGS || frame.flags & ACK == 0)
        {}
        raw.send(&h2(SETTINGS, ACK, 0, &[])).await;
        raw
    }

    /// Writes bytes. Whether that was still possible.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write.lock().await.write_all(bytes).await.is_ok()
    }

    /// The next frame; none when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// All frames until the connection is closed.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let all = async {
            while let Some(frame) = self.frames.recv().await {
                frames.push(frame);
            }
        };
        let limit = Duration::from_secs(24 * 3600);
        tokio::time::timeout(limit, all)
            .await
            .expect("it is closed");
        frames
    }

    /// Why the connection was closed: the code and the text of the last GOAWAY.
    pub async fn dismissed(&mut self) -> (u32, String) {
        let frames = self.rest().await;
        let last = frames.iter().rfind(|frame| frame.kind == GOAWAY);
        let payload = &last
            .unwrap_or_else(|| panic!("no GOAWAY in {frames:?}"))
            .payload;
        let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
        (code, String::from_utf8_lossy(&payload[8..]).into_owned())
    }
}

async fn listen(
    mut read: OwnedReadHalf,
    heard: mpsc::Sender<Frame>,
    write: Arc<Mutex<OwnedWriteHalf>>,
    manners: Manners,
) {
    loop {
        let mut head = [0; 9];
        if read.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        let (kind, flags) = (head[3], head[4]);
        if manners == Manners::Answers && kind == PING && flags & ACK == 0 {
            let answer = h2(PING, ACK, 0, &payload);
            let _gone = write.lock().await.write_all(&answer).await;
        }
        let frame = Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        };
        if heard.send(frame).await.is_err() {
            return;
        }
    }
}
