//! `dashgate.v1.MediaService`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::chat::upload::Upload;
use crate::error::{Error, Reason};
use crate::memory::{CallMemory, Share};
use crate::relay::Relay;
use crate::relay::admission::Held;

use super::call_context::CallContext;
use super::config::GrpcConfig;
use super::metadata_keys;
use super::pb::media_service_server::MediaService;
use super::pb::upload_media_request::Payload;
use super::pb::{MediaDescription, UploadMediaRequest, UploadMediaResponse};
use super::receive_error::receive_error;
use super::status;

/// The service, for one call.
pub struct Media {
    /// The relay of uploads.
    pub relay: Relay,
    /// The configuration.
    pub settings: Arc<GrpcConfig>,
    /// The context of this call.
    pub context: Box<CallContext>,
    /// The permit while it is read.
    pub held: Held,
    /// The memory that is charged for its chunks.
    pub memory: CallMemory,
    /// The unread data that the transport may hold for it.
    pub window: Share,
}

#[tonic::async_trait]
impl MediaService for Media {
    async fn upload_media(
        &self,
        request: Request<Streaming<UploadMediaRequest>>,
    ) -> Result<Response<UploadMediaResponse>, Status> {
        let response = self.upload(request.into_inner()).await;
        let request_id = &self.context.request_id;
        let message = response.map_err(|error| {
            status::status(&error, request_id, self.settings.show_upstream_messages)
        })?;
        let mut response = Response::new(message);
        status::insert(
            response.metadata_mut(),
            metadata_keys::X_REQUEST_ID,
            request_id,
        );
        Ok(response)
    }
}

impl Media {
    async fn upload(
        &self,
        mut messages: Streaming<UploadMediaRequest>,
    ) -> Result<UploadMediaResponse, Error> {
        let limit = self.settings.max_chunk_bytes;
        let first = messages.message().await;
        let first = first.map_err(|status| receive_fault(&self.memory, &status, limit));
        let upload = first.and_then(|first| self.upload_of(first));
        let upload = upload.inspect_err(|error| {
            let report = self.context.report();
            self.relay.refuse(report, self.context.at, error);
        })?;
        let report = self.context.report();
        let timeout = self
            .context
            .timeout(self.settings.max_timeout, &self.settings);
        let window = (self.context.at, timeout);
        let chunks = Chunks {
            messages,
            limit,
            memory: self.memory.clone(),
        };
        let whose = (report, &self.held, &self.context.identity);
        let stored = self.relay.upload(upload, chunks, whose, window).await?;
        Ok(UploadMediaResponse {
            uri: stored.uri,
            model: stored.model,
            expires_at: Some(prost_types::Timestamp {
                seconds: stored.expires_at,
                nanos: 0,
            }),
            size_bytes: i64::try_from(stored.size_bytes).unwrap_or(i64::MAX),
            mime_type: stored.mime_type,
            request_id: self.context.request_id.as_ref().to_owned(),
        })
    }

    fn upload_of(&self, first: Option<UploadMediaRequest>) -> Result<Upload, Error> {
        let Some(Payload::Description(description)) = first.and_then(|first| first.payload) else {
            let what = "must be the first message; send model, mime_type and name, then the chunks";
            return Err(Error::field("description", what));
        };
        let MediaDescription {
            model,
            mime_type,
            name,
            size_bytes,
        } = description;
        if model.is_empty() {
            let what = "is empty; name the model that will use the file";
            return Err(Error::field("description.model", what));
        }
        if size_bytes == Some(0) {
            let what = "must not be 0; no model reads an empty file";
            return Err(Error::field("description.size_bytes", what));
        }
        let size_bytes = match size_bytes.map(u64::try_from).transpose() {
            Ok(size) => size,
            Err(_) => {
                let what = "must not be negative; leave it out if the size is not known";
                return Err(Error::field("description.size_bytes", what));
            }
        };
        let passing = self.context.passing.clone();
        Ok(Upload {
            model: model.into(),
            mime_type,
            name,
            size_bytes,
            passing,
        })
    }
}

/// The bytes of an upload, one message at a time: the next is read only when the storage has taken
/// the previous one.
struct Chunks {
    messages: Streaming<UploadMediaRequest>,
    limit: usize,
    memory: CallMemory,
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = std::task::ready!(Pin::new(&mut self.messages).poll_next(cx));
        Poll::Ready(message.map(|message| match message {
            Err(status) => Err(receive_fault(&self.memory, &status, self.limit)),
            Ok(UploadMediaRequest {
                payload: Some(Payload::Chunk(chunk)),
            }) if chunk.len() > self.limit => Err(too_large(self.limit)),
            Ok(UploadMediaRequest {
                payload: Some(Payload::Chunk(chunk)),
            }) => Ok(chunk),
            Ok(UploadMediaRequest {
                payload: Some(Payload::Description(_)),
            }) => Err(Error::field(
                "description",
                "was sent twice; send it first, then only chunks",
            )),
            Ok(UploadMediaRequest { payload: None }) => {
                Err(Error::field("payload", "is missing; send a chunk"))
            }
        }))
    }
}

/// The error of a message that could not be received.
fn receive_fault(memory: &CallMemory, status: &Status, limit: usize) -> Error {
    let error = receive_error(memory, status, "upload");
    match error.reason() == Reason::MessageTooLarge {
        true => too_large(limit),
        false => error,
    }
}

/// A message may be a little larger than its chunk, so the chunk is checked too.
fn too_large(limit: usize) -> Error {
    let message = format!("a chunk is larger than {limit} bytes; cut the file into smaller chunks");
    Error::new(Reason::MessageTooLarge, message)
}
