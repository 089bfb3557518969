"""Interceptors of several kinds, of which gRPC for asyncio would use the first kind only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc.aio


def of_one_kind(
    interceptors: Iterable[grpc.aio.ClientInterceptor],
) -> Iterator[grpc.aio.ClientInterceptor]:
    """Give an interceptor for each kind that one of the caller has, in the same order."""
    for interceptor in interceptors:
        kinds = [only for kind, only in _KINDS if isinstance(interceptor, kind)]
        if len(kinds) > 1:
            yield from (only(interceptor) for only in kinds)
        else:
            yield interceptor


class _Part:
    """An interceptor as one of its kinds."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole


class _UnaryUnary(_Part, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, *given: Any) -> Any:
        return await self._whole.intercept_unary_unary(*given)


class _UnaryStream(_Part, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, *given: Any) -> Any:
        return await self._whole.intercept_unary_stream(*given)


class _StreamUnary(_Part, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, *given: Any) -> Any:
        return await self._whole.intercept_stream_unary(*given)


class _StreamStream(_Part, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, *given: Any) -> Any:
        return await self._whole.intercept_stream_stream(*given)


_KINDS: tuple[tuple[type, Any], ...] = (
    (grpc.aio.UnaryUnaryClientInterceptor, _UnaryUnary),
    (grpc.aio.UnaryStreamClientInterceptor, _UnaryStream),
    (grpc.aio.StreamUnaryClientInterceptor, _StreamUnary),
    (grpc.aio.StreamStreamClientInterceptor, _StreamStream),
)
