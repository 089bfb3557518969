//! Uploads files that are too large for a message, by `UploadMedia`.

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::grpc::pb;
use crate::grpc::pb::upload_media_request::Payload;

use super::error::Failure;
use super::gateway::Gateway;
use super::terminal::Terminal;

/// Chunks read ahead: one is read while another is sent.
const CHUNKS_AHEAD: usize = 2;
/// Delay before progress is shown.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);
/// Interval of progress updates.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// The source of an upload.
pub(crate) enum From<'a> {
    /// A file, which is read while it is sent.
    Path(&'a Path),
    /// Data, for example from a pipe.
    Bytes(Bytes),
}

/// A file to upload.
pub(crate) struct Upload<'a> {
    /// Its source.
    pub(crate) from: From<'a>,
    /// Its size in bytes.
    pub(crate) bytes: u64,
    /// The MIME type; empty if the gateway can detect it.
    pub(crate) mime_type: &'a str,
    /// The model that will use it.
    pub(crate) model: &'a str,
}

/// Uploads a file, and returns its URI in DashScope's storage.
pub(crate) async fn upload(
    gateway: &Gateway,
    file: Upload<'_>,
    timeout: Option<Duration>,
    terminal: &mut Terminal,
) -> Result<String, Failure> {
    let name = match &file.from {
        From::Path(path) => path.file_name().unwrap_or_default().to_string_lossy(),
        From::Bytes(_) => "stdin".into(),
    };
    let name = name.into_owned();
    let unreadable = |error| Failure::usage(format!("cannot read {name}: {error}"));
    let source: Box<dyn AsyncRead + Send + Unpin> = match file.from {
        From::Path(path) => Box::new(File::open(path).await.map_err(unreadable)?),
        From::Bytes(bytes) => Box::new(Cursor::new(bytes)),
    };
    let description = pb::MediaDescription {
        model: file.model.to_owned(),
        mime_type: file.mime_type.to_owned(),
        name: name.clone(),
        size_bytes: i64::try_from(file.bytes).ok(),
    };
    let sent = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let reading = read(
        source,
        description,
        gateway.chunk_bytes,
        sender,
        sent.clone(),
    );
    let request = gateway.request(ReceiverStream::new(receiver), timeout);
    let mut client = gateway.media();
    let calling = client.upload_media(request);
    let working = async { tokio::join!(reading, calling) };
    tokio::pin!(working);
    let silent = gateway.silent();
    tokio::pin!(silent);
    let begun = Instant::now();
    let mut shown = false;
    let (read, called) = loop {
        tokio::select! {
            done = &mut working => break done,
            failure = &mut silent => return Err(failure),
            () = tokio::time::sleep(PROGRESS_EVERY) => {
                if begun.elapsed() >= PROGRESS_AFTER && terminal.is_watched() {
                    let sent = sent.load(Ordering::Relaxed);
                    terminal.progress(&line(&name, sent, file.bytes));
                    shown = true;
                }
            }
        }
    };
    if shown {
        terminal.progress("");
    }
    read.map_err(unreadable)?;
    match called {
        Ok(done) => Ok(done.into_inner().uri),
        Err(status) => Err(gateway.explained(status.into()).await),
    }
}

/// Reads the file into the stream. If the receiver is gone, the call reports why.
async fn read(
    mut source: Box<dyn AsyncRead + Send + Unpin>,
    description: pb::MediaDescription,
    chunk_bytes: usize,
    sender: mpsc::Sender<pb::UploadMediaRequest>,
    sent: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut payload = Payload::Description(description);
    loop {
        let message = pb::UploadMediaRequest {
            payload: Some(payload),
        };
        if sender.send(message).await.is_err() {
            return Ok(());
        }
        let mut chunk = BytesMut::with_capacity(chunk_bytes);
        while chunk.len() < chunk_bytes {
            let room = (chunk_bytes - chunk.len()) as u64;
            if (&mut source).take(room).read_buf(&mut chunk).await? == 0 {
                break;
            }
        }
        if chunk.is_empty() {
            return Ok(());
        }
        sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        payload = Payload::Chunk(chunk.freeze());
    }
}

fn line(name: &str, sent: u64, total: u64) -> String {
    let share = sent.saturating_mul(100) / total.max(1);
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "uploading {name}: {:.1} of {:.1} MiB, {share} %",
        mebibytes(sent),
        mebibytes(total)
    )
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn progress_counts_in_mebibytes() {
        let expected = "uploading a.mp4: 1.5 of 3.0 MiB, 50 %";
        assert_eq!(line("a.mp4", 3 << 19, 3 << 20), expected);
        assert_eq!(line("a", 0, 0), "uploading a: 0.0 of 0.0 MiB, 0 %");
    }
}
