//! Uploads of large files to DashScope's storage.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use crate::call_metadata::CallMetadata;
use crate::client;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::media::{file_path, named};
use crate::sniff;
use crate::terms::Terms;
use crate::v1::upload_media_request::Payload;
use crate::v1::{MediaDescription, UploadMediaRequest, UploadMediaResponse};

const CHUNK_BYTES: usize = 256 * 1024;
/// One chunk is sent while the next is read.
const CHUNKS_AHEAD: usize = 1;

/// The source of an upload: a path or a `file:` URI, bytes, or a reader.
pub struct UploadSource(Place);

enum Place {
    Path(PathBuf),
    /// A file that is open: its size and its name.
    File(File, u64, String),
    Bytes(Bytes),
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

impl UploadSource {
    /// A reader, whose length is not known before its end.
    pub fn reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self(Place::Reader(Box::pin(reader)))
    }

    /// A file that is open, with its size and its path.
    pub(crate) fn open_file(file: File, size: u64, path: &Path) -> Self {
        Self(Place::File(file, size, last_part(path)))
    }
}

/// The name of a file without its folders.
fn last_part(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl fmt::Debug for UploadSource {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Path(path) => path.fmt(to),
            Place::File(_, _, name) => name.fmt(to),
            Place::Bytes(bytes) => write!(to, "{} bytes", bytes.len()),
            Place::Reader(_) => to.write_str("a reader"),
        }
    }
}

impl From<&str> for UploadSource {
    fn from(path: &str) -> Self {
        Self(Place::Path(path.into()))
    }
}

impl From<String> for UploadSource {
    fn from(path: String) -> Self {
        Self(Place::Path(path.into()))
    }
}

impl From<&Path> for UploadSource {
    fn from(path: &Path) -> Self {
        Self(Place::Path(path.into()))
    }
}

impl From<PathBuf> for UploadSource {
    fn from(path: PathBuf) -> Self {
        Self(Place::Path(path))
    }
}

impl From<Bytes> for UploadSource {
    fn from(bytes: Bytes) -> Self {
        Self(Place::Bytes(bytes))
    }
}

impl From<Vec<u8>> for UploadSource {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Place::Bytes(bytes.into()))
    }
}

/// An upload that is sent when it is awaited. It is not retried.
///
/// ```no_run
/// # async fn ask(client: dashgate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use dashgate_client::{Conversation, Media, text, video};
///
/// let uploaded = client.upload("qwen3-vl-plus", "video.mp4").await?;
/// let mut conversation = Conversation::new("qwen3-vl-plus");
/// conversation.user([video(Media::uri(uploaded.uri)).await?, text("What happens?")]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited"]
pub struct Upload {
    client: Client,
    description: MediaDescription,
    source: UploadSource,
    timeout: Option<Duration>,
    metadata: CallMetadata,
}

impl Client {
    /// Uploads a file of any size to DashScope's storage, from a path, bytes or a reader. Pass the
    /// returned `uri` to [`crate::Media::uri`].
    pub fn upload(&self, model: impl Into<String>, source: impl Into<UploadSource>) -> Upload {
        Upload::new(self.clone(), model.into(), source.into())
    }
}

impl Upload {
    pub(crate) fn new(client: Client, model: String, source: UploadSource) -> Self {
        Self {
            client,
            description: MediaDescription {
                model,
                ..MediaDescription::default()
            },
            source,
            timeout: None,
            metadata: CallMetadata::default(),
        }
    }

    /// Sets the MIME type. Default: detected from the first bytes, then from the extension.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.description.mime_type = mime_type.into();
        self
    }

    /// Sets the file's name, for its extension. Default: the last part of the path.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.description.name = name.into();
        self
    }

    /// Sets the size of a reader, by which the gateway refuses a file that is too large before it is
    /// sent. That of other sources is known.
    pub fn size_bytes(mut self, bytes: u64) -> Self {
        self.description.size_bytes = i64::try_from(bytes).ok();
        self
    }

    /// Sets the deadline. Default: the client's, or 10 minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a metadata entry to this upload.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((name.into(), value.into()));
        self
    }

    async fn run(self) -> Result<UploadMediaResponse, Error> {
        let timeout = self.timeout.unwrap_or_else(|| self.client.whole_timeout());
        let metadata = self.client.metadata(&self.metadata)?;
        let terms = terms_of(&self.client, metadata, timeout);
        logged(&terms, self.description, self.source).await
    }
}

/// Uploads what a source has, as a part of a call with this deadline.
pub(crate) async fn send(
    client: &Client,
    metadata: MetadataMap,
    deadline: Option<Instant>,
    description: MediaDescription,
    source: UploadSource,
) -> Result<UploadMediaResponse, Error> {
    let terms = terms_of(client, metadata, client.whole_timeout()).within_call(deadline);
    logged(&terms, description, source).await
}

fn terms_of(client: &Client, metadata: MetadataMap, timeout: Duration) -> Terms {
    let (metadata, request_id) = client::named(metadata);
    let timeout = Some(timeout);
    Terms::new(client.clone(), "UploadMedia", metadata, timeout, request_id)
}

async fn logged(
    terms: &Terms,
    description: MediaDescription,
    source: UploadSource,
) -> Result<UploadMediaResponse, Error> {
    let mut log = terms.log();
    let result = sent(terms, description, source).await;
    log.end(result.as_ref());
    result
}

async fn sent(
    terms: &Terms,
    description: MediaDescription,
    source: UploadSource,
) -> Result<UploadMediaResponse, Error> {
    let (mut service, _counted) = terms.after_others(terms.client.uploading()).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let calling = pin!(service.upload_media(terms.request(Messages(receiver))));
    let feeding = pin!(feed(description, source, sender));
    let answered = terms.within(both(calling, feeding)).await??;
    let response = answered.map_err(|status| terms.failed(status))?;
    Ok(response.into_inner())
}

impl IntoFuture for Upload {
    type Output = Result<UploadMediaResponse, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

type Answered = Result<Response<UploadMediaResponse>, Status>;

/// Sends the call and its chunks concurrently. An error of the reader drops the call, which cancels
/// it: an upload that only ended early would be taken for a complete one.
async fn both(
    mut calling: Pin<&mut impl Future<Output = Answered>>,
    mut feeding: Pin<&mut impl Future<Output = Result<(), Error>>>,
) -> Result<Answered, Error> {
    let mut is_fed = false;
    poll_fn(|context| {
        if !is_fed && let Poll::Ready(fed) = feeding.as_mut().poll(context) {
            is_fed = true;
            if let Err(error) = fed {
                return Poll::Ready(Err(error));
            }
        }
        calling.as_mut().poll(context).map(Ok)
    })
    .await
}

async fn feed(
    mut description: MediaDescription,
    source: UploadSource,
    sender: mpsc::Sender<UploadMediaRequest>,
) -> Result<(), Error> {
    let mut reader: Pin<Box<dyn AsyncRead + Send>> = match source.0 {
        Place::Path(path) => {
            let (file, size, name) = opened(path).await?;
            of_file(&mut description, file, size, name)
        }
        Place::Reader(reader) => reader,
        Place::Bytes(bytes) => {
            description.size_bytes = i64::try_from(bytes.len()).ok();
            Box::pin(std::io::Cursor::new(bytes))
        }
        Place::File(file, size, name) => of_file(&mut description, file, size, name),
    };
    let mut chunk = next_chunk(&mut reader).await?;
    if description.mime_type.is_empty() {
        let start = chunk.get(..sniff::LONGEST).unwrap_or(&chunk);
        description.mime_type = sniff::mime_type(start, &description.name, "").to_owned();
    }
    let mut payload = Payload::Description(description);
    loop {
        let message = UploadMediaRequest {
            payload: Some(payload),
        };
        // The receiver is closed if the gateway has already responded; its response has the reason.
        if sender.send(message).await.is_err() || chunk.is_empty() {
            return Ok(());
        }
        payload = Payload::Chunk(chunk);
        chunk = next_chunk(&mut reader).await?;
    }
}

/// Opens the file that a path or a `file:` URI names.
async fn opened(path: PathBuf) -> Result<(File, u64, String), Error> {
    let path = match path.to_str().and_then(file_path) {
        Some(named) => named.map_err(unreadable)?,
        None => path,
    };
    let (file, metadata) = files::open(&path)
        .await
        .map_err(|error| unreadable(named(&path, &error)))?;
    Ok((file, metadata.len(), last_part(&path)))
}

/// Describes a file, and returns its reader.
fn of_file(
    description: &mut MediaDescription,
    file: File,
    size: u64,
    name: String,
) -> Pin<Box<dyn AsyncRead + Send>> {
    description.size_bytes = i64::try_from(size).ok();
    if description.name.is_empty() {
        description.name = name;
    }
    Box::pin(file)
}

/// The error of a source that cannot be read; its cause is the reader's own error.
pub(crate) fn unreadable(error: std::io::Error) -> Error {
    Error::caused(format!("the upload cannot be read: {error}"), error)
}

/// Reads the next chunk; empty at the end.
async fn next_chunk(reader: &mut Pin<Box<dyn AsyncRead + Send>>) -> Result<Bytes, Error> {
    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
    let mut rest = reader.take(CHUNK_BYTES as u64);
    loop {
        let read = rest.read_buf(&mut chunk).await;
        let read = read.map_err(unreadable)?;
        if read == 0 {
            return Ok(chunk.freeze());
        }
    }
}

struct Messages(mpsc::Receiver<UploadMediaRequest>);

impl Stream for Messages {
    type Item = UploadMediaRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
