//! Uploads files that are too large for a message, by `UploadMedia`.

use std::io::{self, Cursor};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use dashgate_client::UploadSource;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::error::Failure;
use super::gateway::Gateway;
use super::terminal::Terminal;

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
    let source: Pin<Box<dyn AsyncRead + Send>> = match file.from {
        From::Path(path) => Box::pin(File::open(path).await.map_err(unreadable)?),
        From::Bytes(bytes) => Box::pin(Cursor::new(bytes)),
    };
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        source,
        read: Arc::clone(&sent),
    };
    let source = UploadSource::reader(counted);
    let mut call = gateway.client.upload(file.model, source);
    call = call
        .name(&name)
        .mime_type(file.mime_type)
        .size_bytes(file.bytes);
    if let Some(timeout) = timeout {
        call = call.timeout(timeout);
    }
    let working = call.into_future();
    tokio::pin!(working);
    let begun = Instant::now();
    let mut shown = false;
    let called = loop {
        tokio::select! {
            done = &mut working => break done,
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
    match called {
        Ok(uploaded) => Ok(uploaded.uri),
        Err(error) => Err(gateway.explained(error.into()).await),
    }
}

/// A source that counts what is read of it.
struct Counted {
    source: Pin<Box<dyn AsyncRead + Send>>,
    read: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.source.as_mut().poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
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
