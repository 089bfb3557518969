"""Uploads of the client for asyncio, also of the large files of a request."""

from __future__ import annotations

import asyncio
from typing import cast

import grpc.aio

from dashgate import v1
from dashgate._aio_stored import AsyncStoredConversations
from dashgate._backoff import Deadline
from dashgate._calls import named_metadata, without_name
from dashgate._large_files import Upload, Uploads, large_media
from dashgate._log import CallLog
from dashgate._settings import Metadata
from dashgate._unary import awaited
from dashgate._upload import AsyncReader, UploadSource, describe, opened, read_chunk


class AsyncMediaCalls(AsyncStoredConversations):
    """The calls that upload files."""

    _uploads: Uploads

    async def upload(
        self,
        model: str,
        source: UploadSource | AsyncReader,
        *,
        mime_type: str = "",
        name: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.UploadMediaResponse:
        """Upload a file to DashScope's storage.

        The returned `uri` goes into a part, such as `audio(uploaded.uri)`.
        `source` is a path, bytes, or a reader, which is read in chunks. Asynchronous readers are
        awaited, others are read in a thread.
        """
        request_id, more = named_metadata(self._settings, metadata)
        connection = self._connections.here()
        with (
            opened(cast("UploadSource", source), name) as (reader, its_name, size),
            CallLog("UploadMedia", request_id, connection.address),
        ):
            chunk = await read_chunk(reader)
            call = connection.media.UploadMedia(
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            try:
                await call.write(describe(model, mime_type, its_name, chunk, size))
                while chunk:
                    await call.write(v1.UploadMediaRequest(chunk=chunk))
                    chunk = await read_chunk(reader)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The gateway has ended the call; its status is raised below.
                pass
            except BaseException:
                call.cancel()
                raise
            return await awaited(call, request_id)

    async def _upload_files(
        self, conversation: v1.Conversation, deadline: Deadline, metadata: Metadata | None
    ) -> None:
        """Upload the large files of a request, and put the URIs of the uploads in their place."""
        for medium, path in large_media(conversation):
            model = await self._model_of(conversation, deadline, metadata)
            upload = Upload.of(path, model)
            async with self._connections.here().uploading.of(upload, deadline):
                uri = self._uploads.uri(upload)
                if uri is None:
                    uploaded = await self.upload(
                        model,
                        path,
                        mime_type=medium.mime_type,
                        timeout=deadline.remaining(),
                        metadata=without_name(metadata),
                    )
                    self._uploads.add(upload, uploaded)
                    uri = uploaded.uri
            medium.uri = uri

    async def _model_of(
        self, conversation: v1.Conversation, deadline: Deadline, metadata: Metadata | None
    ) -> str:
        """Return the model of a request; a stored conversation has its own."""
        if conversation.model or not conversation.name:
            return conversation.model
        stored = await self.get_conversation(
            conversation.name, timeout=deadline.remaining(), metadata=without_name(metadata)
        )
        return stored.model
