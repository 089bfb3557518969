"""Uploads of the synchronous client, also of the large files of a request."""

from __future__ import annotations

import contextlib
from typing import TypeAlias, cast

from dashgate import v1
from dashgate._backoff import Deadline
from dashgate._calls import named_metadata, without_name
from dashgate._large_files import Upload, Uploads, check_files, large_media
from dashgate._log import CallLog
from dashgate._settings import Metadata
from dashgate._stored import StoredConversations
from dashgate._unary import waited
from dashgate._upload import UploadMessages, UploadSource, opened
from dashgate.errors import Error

_Asking: TypeAlias = v1.ConverseRequest | v1.ConverseStreamRequest


class MediaCalls(StoredConversations):
    """The calls that upload files."""

    _uploads: Uploads

    def upload(
        self,
        model: str,
        source: UploadSource,
        *,
        mime_type: str = "",
        name: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.UploadMediaResponse:
        """Upload a file to DashScope's storage.

        The returned `uri` goes into a part, such as `audio(uploaded.uri)`.
        `source` is a path, bytes, or a reader, which is read in chunks.
        """
        request_id, more = named_metadata(self._settings, metadata)
        connection = self._connections.here()
        with (
            opened(source, name) as (reader, its_name, size),
            CallLog("UploadMedia", request_id, connection.address),
        ):
            messages = UploadMessages(reader, model, mime_type, its_name, size)
            call = connection.media.UploadMedia.future(
                iter(messages),
                timeout=self._settings.unary_timeout(timeout),
                metadata=self._settings.sent_metadata(more),
            )
            messages.started(call)
            attempt = connection.reach.attempt(call)
            try:
                return cast("v1.UploadMediaResponse", waited(attempt, request_id, connection.reach))
            except BaseException:
                if messages.fault is not None:
                    raise messages.fault from None
                raise
            finally:
                # The caller may close the reader from now on.
                messages.stop()

    def _upload_files(
        self, request: _Asking, deadline: Deadline, metadata: Metadata | None
    ) -> None:
        """Upload the large files of a request, and put the URIs of the uploads in their place."""
        conversation, connection = request.conversation, self._connections.here()
        media = large_media(conversation)
        check_files(media)
        for medium, file in media:
            model = self._model_of(conversation, deadline, metadata)
            upload = Upload(file.identity, model, medium.mime_type)
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(connection.uploading.of(upload, deadline))
                except Error as late:
                    late.request_id = request.request_id
                    raise connection.reach.explained(late, None) from None
                reader = held.enter_context(file.open())
                uri = self._uploads.uri(upload)
                if uri is None:
                    uploaded = self.upload(
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

    def _model_of(
        self, conversation: v1.Conversation, deadline: Deadline, metadata: Metadata | None
    ) -> str:
        """Return the model of a request; a stored conversation has its own."""
        if conversation.model or not conversation.name:
            return conversation.model
        stored = self.get_conversation(
            conversation.name, timeout=deadline.remaining(), metadata=without_name(metadata)
        )
        return stored.model
