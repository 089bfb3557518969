"""One way to call both clients, so that their tests are the same."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from dashgate import AsyncClient, Client, Conversation
from dashgate.aio_stream import AsyncStream
from dashgate.aio_tool_stream import AsyncToolStream
from dashgate.stream import Stream
from dashgate.tool_stream import ToolStream

ASK = Conversation("m").user("hello?")


class Caller:
    """Calls a method of a client, and waits for its end."""

    def __init__(self, address: str, *, is_async: bool) -> None:
        self.address = address
        self.is_async = is_async

    def __call__(self, method: str, /, *arguments: Any, **named: Any) -> Any:
        """Return the response, the items of an iterator, or the answer of a stream."""
        return self.on({}, method, *arguments, **named)

    def on(self, options: dict[str, Any], method: str, /, *arguments: Any, **named: Any) -> Any:
        """Do the same with a client that has options."""
        if self.is_async:
            return asyncio.run(self._async(options, method, arguments, named))
        with Client(self.address, **options) as client:
            found = getattr(client, method)(*arguments, **named)
            if isinstance(found, (Stream, ToolStream)):
                return found.final()
            return list(found) if inspect.isgenerator(found) else found

    async def _async(
        self, options: dict[str, Any], method: str, arguments: Any, named: dict[str, Any]
    ) -> Any:
        async with AsyncClient(self.address, **options) as client:
            found = getattr(client, method)(*arguments, **named)
            if isinstance(found, (AsyncStream, AsyncToolStream)):
                return await found.final()
            if inspect.isasyncgen(found):
                return [each async for each in found]
            return await found
