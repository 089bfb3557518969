//! The row of a large file, which passes through and is held nowhere.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bench::{Bench, Value};
use crate::client::{Ask, Line, UPLOAD, finish, framed, send};
use crate::error::Result;
use crate::messages::{chunk, description, noise};
use crate::subject::{Subject, Variant};

/// The largest chunk that the gateway takes by default.
const CHUNK: usize = 1 << 20;

/// Sends a file through, and sees what it costs.
pub(crate) async fn upload(bench: &Bench, variant: Variant) -> Result<Vec<Value>> {
    let size = bench.options.file_bytes;
    let data = Bytes::from(noise(CHUNK));
    let subject = if variant.is_dashgate() {
        bench.start(variant, &[]).await?
    } else {
        bench.starter.start_copy()?
    };
    let (before, cpu) = (subject.memory(), subject.cpu());
    let begun = Instant::now();
    if variant.is_dashgate() {
        through(bench, &subject, size, data).await?;
    } else {
        copied(&subject, size, &data).await?;
    }
    let took = begun.elapsed().as_secs_f64();
    let mut values = Vec::new();
    let megabytes = size as f64 / 1e6;
    if let Some((now, before)) = subject.cpu().zip(cpu) {
        let each = now.since(&before).as_secs_f64() * 1e6 / megabytes;
        values.push(Value::drawn("CPU of a MB, beside a copy", "us", each));
    }
    values.push(Value::new("file", "MB/s", megabytes / took));
    if let Some((now, before)) = subject.memory().zip(before) {
        let grown = now.peak.saturating_sub(before.resident) as f64 / f64::from(1 << 20);
        values.push(Value::new("memory over rest, at most", "MiB", grown));
    }
    Ok(values)
}

async fn through(bench: &Bench, subject: &Subject, size: u64, data: Bytes) -> Result<()> {
    let stored = || {
        bench
            .shared
            .stored
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    let before = stored();
    let line = Line::connect(subject.address).await?;
    let key = subject.key.as_deref();
    let ask = Ask::new(subject.address, UPLOAD, key, "10M", &description(size))?;
    let (response, mut sender) = line.begin(&ask).await?;
    send(&mut sender, ask.body.clone(), false).await?;
    let piece = framed(&chunk(data));
    for left in (0..size / CHUNK as u64).rev() {
        // What was refused is told by the answer, and not by the chunk that nobody took.
        if send(&mut sender, piece.clone(), left == 0).await.is_err() {
            break;
        }
    }
    finish(response, None).await?.check()?;
    if stored() - before < size {
        return Err("the fake has stored less than was sent".into());
    }
    Ok(())
}

async fn copied(subject: &Subject, size: u64, data: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(subject.address).await?;
    for _ in 0..size / CHUNK as u64 {
        stream.write_all(data).await?;
    }
    stream.shutdown().await?;
    // The end comes back when all has arrived.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}
