"""The models of a gateway, of the synchronous client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dashgate import v1
from dashgate._caller import Caller
from dashgate._settings import Metadata


class ModelCalls(Caller):
    """The calls that return models."""

    def list_models(
        self,
        *,
        page_size: int = 0,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Iterator[v1.Model]:
        """Return an iterator of the models that can be used, in the order of their names.

        A page of at most `page_size` models is fetched when its first model is needed; default: the
        gateway's page size. `timeout` applies to each page; default: 10 minutes.
        """

        def fetch(token: str) -> tuple[Sequence[v1.Model], str]:
            page = self._unary(
                lambda connection: connection.models.ListModels,
                v1.ListModelsRequest(page_size=page_size, page_token=token),
                timeout=timeout,
                metadata=metadata,
            )
            return page.models, page.next_page_token

        return self._pages(fetch)

    def get_model(
        self, name: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> v1.Model:
        """Return what the gateway knows of a model. The default deadline is 10 minutes."""
        response = self._unary(
            lambda connection: connection.models.GetModel,
            v1.GetModelRequest(name=name),
            timeout=timeout,
            metadata=metadata,
        )
        return response.model
