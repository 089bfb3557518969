"""Uploads of the client for asyncio, also of the large files of a request."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, TypeAlias, cast

import grpc.aio

from dashgate import v1
from dashgate._aio_stored import AsyncStoredConversations
from dashgate._aio_writing import has_connected, has_written
from dashgate._backoff import Deadline
from dashgate._calls import named_metadata, without_name
from dashgate._large_files import Upload, Uploads, check_files, large_media
from dashgate._log import CallLog
from dashgate._regular_files import opened_in_thread
from dashgate._settings import Metadata
from dashgate._unary import awaited
from dashgate._upload import AsyncReader, UploadSource, describe, opened_async, read_chunk
from dashgate.content import Reader
from dashgate.errors import Error

_Asking: TypeAlias = v1.ConverseRequest | v1.ConverseStreamRequest


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
        async with opened_async(source, name) as (reader, its_name, size):
            with CallLog("UploadMedia", request_id, connection.address):
                chunk = await read_chunk(reader)
                call = connection.media.UploadMedia(
                    timeout=self._settings.unary_timeout(timeout),
                    metadata=self._settings.sent_metadata(more),
                )
                attempt = connection.reach.attempt(call)
                first = describe(model, mime_type, its_name, chunk, size)
                sending = asyncio.ensure_future(_send(call, first, chunk, reader))
                # A reader that waits must not hide the end of the call.
                call.add_done_callback(lambda _: _cancel(sending))
                try:
                    await asyncio.wait([sending])
                    if not sending.cancelled():
                        sending.result()
                except BaseException:
                    call.cancel()
                    # The caller may close the reader from now on.
                    await asyncio.wait([sending])
                    raise
                uploaded = await awaited(attempt, request_id, connection.reach)
                return cast("v1.UploadMediaResponse", uploaded)

    async def _upload_files(
        self, request: _Asking, deadline: Deadline, metadata: Metadata | None
    ) -> None:
        """Upload the large files of a request, and put the URIs of the uploads in their place."""
        conversation, connection = request.conversation, self._connections.here()
        media = large_media(conversation)
        if media:
            await asyncio.to_thread(check_files, media)
        for medium, file in media:
            model = await self._model_of(conversation, deadline, metadata)
            upload = Upload(file.identity, model, medium.mime_type)
            async with contextlib.AsyncExitStack() as held:
                try:
                    await held.enter_async_context(connection.uploading.of(upload, deadline))
                except Error as late:
                    late.request_id = request.request_id
                    raise await connection.reach.explained(late, None) from None
                reader = await held.enter_async_context(opened_in_thread(file.open))
                uri = self._uploads.uri(upload)
                if uri is None:
                    uploaded = await self.upload(
                        model,
                        reader,
                        mime_type=medium.mime_type,
                        name=file.path.name,
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


async def _send(call: Any, first: v1.UploadMediaRequest, chunk: bytes, reader: Reader) -> None:
    """Send the messages of an upload. If the stream ends early, its status says why."""
    if await has_connected(call) and await has_written(call, first):
        while chunk and await has_written(call, v1.UploadMediaRequest(chunk=chunk)):
            chunk = await read_chunk(reader)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.done_writing()


def _cancel(sending: asyncio.Future[None]) -> None:
    sending.cancel()
