"""The models of a gateway, of the client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from dashgate import v1
from dashgate._aio_caller import AsyncCaller
from dashgate._settings import Metadata


class AsyncModelCalls(AsyncCaller):
    """The calls that return models."""

    def list_models(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> AsyncIterator[v1.Model]:
        """Give the models that can be used, in the order of their names.

        A page of at most `page_size` models is fetched when its first model is needed; default: the
        gateway's page size. `timeout` applies to each page; default: 10 minutes.
        """

        async def fetch(token: str) -> tuple[Sequence[v1.Model], str]:
            page = await self._unary(
                lambda connection: connection.models.ListModels,
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=timeout,
                metadata=metadata,
            )
            return page.models, page.next_page_token

        return self._pages(fetch)

    async def get_model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Model:
        """Return what the gateway knows of a model. The default deadline is 10 minutes."""
        response = await self._unary(
            lambda connection: connection.models.GetModel,
            v1.GetModelRequest(name=name),
            timeout=timeout,
            metadata=metadata,
        )
        return response.model
