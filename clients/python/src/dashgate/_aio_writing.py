"""Messages that are sent on streams of `grpc.aio`, without its errors."""

from __future__ import annotations

import asyncio
from typing import Any


async def has_connected(call: Any) -> bool:
    """Wait until a stream of requests has begun. Return False if it has ended before.

    gRPC waits for ever if such a call is cancelled at its beginning.
    """
    connecting = asyncio.ensure_future(call.wait_for_connection())
    call.add_done_callback(lambda _: connecting.cancel())
    try:
        await asyncio.wait([connecting])
    finally:
        connecting.cancel()
    return not connecting.cancelled() and connecting.exception() is None


async def has_written(call: Any, request: Any) -> bool:
    """Send a message. Return False if the stream has ended: its status says why."""
    if call.done():
        return False
    # The public method replaces the status of the call, and discards the messages that were not
    # read, if the gateway ends the stream while a message is written.
    inner: Any = getattr(call, "_cython_call", None)
    try:
        if hasattr(inner, "send_serialized_message"):
            await inner.send_serialized_message(request.SerializeToString())
        else:
            await call.write(request)
    except Exception:
        # Of whatever kind.
        return False
    return True
