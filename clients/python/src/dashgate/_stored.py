"""Management of stored conversations, of the synchronous client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dashgate import v1
from dashgate._caller import Caller
from dashgate._settings import Metadata
from dashgate._stored_requests import Ttl, create_request, update_request


class StoredConversations(Caller):
    """The calls that manage the conversations that a gateway with a store keeps.

    A name is `conversations/{id}`, that of a turn `conversations/{id}/turns/{number}`.
    """

    def create_conversation(
        self,
        conversation_id: str = "",
        *,
        model: str = "",
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.Conversation:
        """Create a conversation; default: with an id that the gateway generates.

        `ttl` is how long it is kept after its latest turn. Only a call with an id is retried:
        otherwise a second attempt could create a second conversation.
        """
        request = create_request(conversation_id, model, labels, ttl)
        response = self._unary(
            lambda connection: connection.conversations.CreateConversation,
            request,
            timeout=timeout,
            metadata=metadata,
            retries_unavailable=bool(conversation_id),
        )
        return response.conversation

    def get_conversation(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Conversation:
        """Return a conversation, without its turns."""
        response = self._unary(
            lambda connection: connection.conversations.GetConversation,
            v1.GetConversationRequest(name=name),
            timeout=timeout,
            metadata=metadata,
        )
        return response.conversation

    def list_conversations(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Iterator[v1.Conversation]:
        """Return an iterator of the conversations of the caller, the latest update first.

        Pages are fetched as in `list_models`.
        """

        def fetch(token: str) -> tuple[Sequence[v1.Conversation], str]:
            page = self._unary(
                lambda connection: connection.conversations.ListConversations,
                v1.ListConversationsRequest(page_size=page_size, page_token=token),
                timeout=timeout,
                metadata=metadata,
            )
            return page.conversations, page.next_page_token

        return self._pages(fetch)

    def update_conversation(
        self,
        name: str,
        *,
        model: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.Conversation:
        """Change what is given of a conversation; `labels` replaces all labels."""
        response = self._unary(
            lambda connection: connection.conversations.UpdateConversation,
            update_request(name, model, labels, ttl),
            timeout=timeout,
            metadata=metadata,
        )
        return response.conversation

    def delete_conversation(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Delete a conversation with its turns and media."""
        self._unary(
            lambda connection: connection.conversations.DeleteConversation,
            v1.DeleteConversationRequest(name=name),
            timeout=timeout,
            metadata=metadata,
        )

    def list_turns(
        self,
        name: str,
        *,
        newest_first: bool = False,
        include_media: bool = False,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Iterator[v1.Turn]:
        """Return an iterator of the turns of a conversation, also of those that failed.

        Pages are fetched as in `list_models`. Without `include_media`, media that were sent as
        bytes have their MIME type only.
        """

        def fetch(token: str) -> tuple[Sequence[v1.Turn], str]:
            page = self._unary(
                lambda connection: connection.conversations.ListTurns,
                v1.ListTurnsRequest(
                    name=name,
                    page_size=page_size,
                    page_token=token,
                    include_media=include_media,
                    newest_first=newest_first,
                ),
                timeout=timeout,
                metadata=metadata,
            )
            return page.turns, page.next_page_token

        return self._pages(fetch)

    def delete_turn(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> None:
        """Delete a turn. The numbers of other turns do not change."""
        self._unary(
            lambda connection: connection.conversations.DeleteTurn,
            v1.DeleteTurnRequest(name=name),
            timeout=timeout,
            metadata=metadata,
        )

    def fork_conversation(
        self,
        name: str,
        *,
        last_turn: int | None = None,
        conversation_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> v1.Conversation:
        """Copy a conversation up to a turn; default: all of it.

        The id of the copy, and retries, are as in `create_conversation`.
        """
        response = self._unary(
            lambda connection: connection.conversations.ForkConversation,
            v1.ForkConversationRequest(
                name=name, last_turn=last_turn, conversation_id=conversation_id
            ),
            timeout=timeout,
            metadata=metadata,
            retries_unavailable=bool(conversation_id),
        )
        return response.conversation

    def cancel_turn(
        self,
        name: str,
        *,
        request_id: str = "",
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> str:
        """Cancel the turn that is running, or only the one with this request id.

        Returns the request id of the turn that was cancelled; empty if none was running.
        """
        response = self._unary(
            lambda connection: connection.conversations.CancelTurn,
            v1.CancelTurnRequest(name=name, request_id=request_id),
            timeout=timeout,
            metadata=metadata,
        )
        return response.request_id
