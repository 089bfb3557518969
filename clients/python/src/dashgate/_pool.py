"""The connections of a client: another one is opened when all have as many calls as they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from dashgate._aio_waiting import AsyncStarter, AsyncWaitingCall
from dashgate._channel_state import aio_channel_state, channel_state
from dashgate._exit import ended, is_finalizing
from dashgate._lanes import Arguments, Lanes, Which, which
from dashgate._waiting import Starter, WaitingCall


class _Method:
    """A method, called on the channel with the fewest calls."""

    def __init__(self, starter: Starter, which: Which) -> None:
        self._starter = starter
        self._which = which
        self._blocks = which.kind.endswith("unary")

    def __call__(self, *unnamed: Any, **named: Any) -> Any:
        make = self._blocking if self._blocks else self._begun
        return make("__call__", Arguments(unnamed, named))

    def with_call(self, *unnamed: Any, **named: Any) -> Any:
        return self._blocking("with_call", Arguments(unnamed, named))

    def future(self, *unnamed: Any, **named: Any) -> Any:
        return self._begun("future", Arguments(unnamed, named))

    def _blocking(self, form: str, arguments: Arguments) -> Any:
        taken = self._starter.lanes.take(self._which)
        if taken is None:
            return self._waited(form, arguments)
        lane, method = taken
        try:
            self._starter.lanes.note(lane)
            return self._made(method, form, arguments)
        finally:
            self._starter.release(lane)

    def _waited(self, form: str, arguments: Arguments) -> Any:
        call = WaitingCall(self._starter, self._which, "future", arguments)
        try:
            response = call.result()
        except BaseException:
            # Ctrl-C was pressed, or the call has ended.
            call.cancel()
            raise
        return (response, call) if form == "with_call" else response

    def _begun(self, form: str, arguments: Arguments) -> Any:
        taken = self._starter.lanes.take(self._which)
        if taken is None:
            return WaitingCall(self._starter, self._which, form, arguments)
        lane, method = taken
        try:
            self._starter.lanes.note(lane)
            call = self._made(method, form, arguments)
        except BaseException:
            self._starter.release(lane)
            raise
        ended(call, lambda: self._starter.release(lane))
        return call

    def _made(self, method: Any, form: str, arguments: Arguments) -> Any:
        try:
            return getattr(method, form)(*arguments.unnamed, **arguments.named)
        except ValueError:
            if not self._starter.lanes.closed:
                raise
            # Another thread has just closed it.
            raise self._starter.lanes.closed_error() from None


class _AsyncMethod:
    """The same for asyncio."""

    def __init__(self, starter: AsyncStarter, which: Which) -> None:
        self._starter = starter
        self._which = which

    def __call__(self, *unnamed: Any, **named: Any) -> Any:
        taken = self._starter.lanes.take(self._which)
        if taken is None:
            return AsyncWaitingCall(self._starter, self._which, Arguments(unnamed, named))
        lane, method = taken
        try:
            self._starter.lanes.note(lane)
            call = method(*unnamed, **named)
        except BaseException as error:
            self._starter.release(lane)
            if isinstance(error, grpc.aio.UsageError):
                raise self._starter.lanes.closed_error() from None
            raise
        call.add_done_callback(lambda _: self._starter.release(lane))
        return call


class PooledChannel(grpc.Channel):
    """A channel with several connections, or a channel of the caller, which has one."""

    def __init__(self, dial: Callable[[], grpc.Channel], *, is_limited: bool = True) -> None:
        self.lanes = Lanes(dial, channel_state, is_limited=is_limited)
        self._starter = Starter(self.lanes)

    def unary_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return _Method(self._starter, which("unary_unary", method, settings, named))

    def unary_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return _Method(self._starter, which("unary_stream", method, settings, named))

    def stream_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return _Method(self._starter, which("stream_unary", method, settings, named))

    def stream_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return _Method(self._starter, which("stream_stream", method, settings, named))

    def subscribe(self, callback: Any, try_to_connect: Any = False) -> None:
        self._starter.lanes.all[0].channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._starter.lanes.all[0].channel.unsubscribe(callback)

    def close(self) -> None:
        if is_finalizing():
            return
        channels, waiting = self._starter.lanes.close()
        for call in waiting:
            call.close()
        for channel in channels:
            channel.close()

    def __enter__(self) -> PooledChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncPooledChannel(grpc.aio.Channel):
    """The same for asyncio."""

    def __init__(self, dial: Callable[[], grpc.aio.Channel], *, is_limited: bool = True) -> None:
        self.lanes = Lanes(dial, aio_channel_state, is_limited=is_limited)
        self._starter = AsyncStarter(self.lanes)

    def unary_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return _AsyncMethod(self._starter, which("unary_unary", method, settings, named))

    def unary_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return _AsyncMethod(self._starter, which("unary_stream", method, settings, named))

    def stream_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return _AsyncMethod(self._starter, which("stream_unary", method, settings, named))

    def stream_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return _AsyncMethod(self._starter, which("stream_stream", method, settings, named))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._starter.lanes.all[0].channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._starter.lanes.all[0].channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._starter.lanes.all[0].channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        channels, waiting = self._starter.lanes.close()
        for call in waiting:
            call.close()
        for channel in channels:
            await channel.close(grace)

    async def __aenter__(self) -> AsyncPooledChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
