"""The connections of a client: another one is opened when all have as many calls as they take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio

# How many calls a gateway takes at once on a connection.
CALLS_PER_CONNECTION = 100
MAX_CONNECTIONS = 20

_Channel = TypeVar("_Channel")

# The kind of a method, its name, and how its messages are encoded.
_Which: TypeAlias = tuple[str, str, tuple[Any, ...], dict[str, Any]]


class _Lane(Generic[_Channel]):
    """A channel with its own connection."""

    def __init__(self, channel: _Channel) -> None:
        self.channel = channel
        # How many are in progress.
        self.calls = 0
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, name: str, settings: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return what calls a method on this channel."""
        known = self._methods.get((kind, name))
        if known is None:
            known = getattr(self.channel, kind)(name, *settings, **named)
            self._methods[kind, name] = known
        return known


class _Lanes(Generic[_Channel]):
    """The channels of a pool."""

    def __init__(self, dial: Callable[[], _Channel]) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self._closed = False
        self.all = [_Lane(dial())]

    def take(self, which: _Which) -> tuple[_Lane[_Channel], Any]:
        """Return the channel for a call, and what makes it. The channel must be released.

        A method of a closed channel is never looked up: in gRPC that is a segmentation violation,
        which ends the process.
        """
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            best = min(self.all, key=lambda lane: lane.calls)
            full = best.calls >= CALLS_PER_CONNECTION and len(self.all) < MAX_CONNECTIONS
            if full:
                best = _Lane(self._dial())
                self.all.append(best)
            made = best.method(*which)
            best.calls += 1
            return best, made

    def release(self, lane: _Lane[_Channel]) -> None:
        with self._lock:
            lane.calls -= 1

    def close(self) -> list[_Channel]:
        """Return all channels, which no other one joins."""
        with self._lock:
            self._closed = True
            return [lane.channel for lane in self.all]


class _Method:
    """A method, called on the channel with the fewest calls."""

    def __init__(
        self,
        lanes: _Lanes[Any],
        kind: str,
        name: str,
        settings: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        self._lanes = lanes
        self._which: _Which = (kind, name, settings, named)
        self._blocks = kind.endswith("unary")

    def __call__(self, *args: Any, **named: Any) -> Any:
        if self._blocks:
            return self._blocking("__call__", args, named)
        return self._begun("__call__", args, named)

    def with_call(self, *args: Any, **named: Any) -> Any:
        return self._blocking("with_call", args, named)

    def future(self, *args: Any, **named: Any) -> Any:
        return self._begun("future", args, named)

    def _blocking(self, form: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        lane, method = self._lanes.take(self._which)
        try:
            return getattr(method, form)(*args, **named)
        finally:
            self._lanes.release(lane)

    def _begun(self, form: str, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        lane, method = self._lanes.take(self._which)
        try:
            call = getattr(method, form)(*args, **named)
        except BaseException:
            self._lanes.release(lane)
            raise
        if not call.add_callback(lambda: self._lanes.release(lane)):
            self._lanes.release(lane)
        return call


class _AsyncMethod:
    """The same for asyncio."""

    def __init__(
        self,
        lanes: _Lanes[Any],
        kind: str,
        name: str,
        settings: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        self._lanes = lanes
        self._which: _Which = (kind, name, settings, named)

    def __call__(self, *args: Any, **named: Any) -> Any:
        lane, method = self._lanes.take(self._which)
        try:
            call = method(*args, **named)
        except BaseException:
            self._lanes.release(lane)
            raise
        call.add_done_callback(lambda _: self._lanes.release(lane))
        return call


class _Forms:
    """The forms of methods of a pool."""

    _lanes: _Lanes[Any]
    _method: type[_Method | _AsyncMethod]

    def unary_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return self._method(self._lanes, "unary_unary", method, settings, named)

    def unary_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return self._method(self._lanes, "unary_stream", method, settings, named)

    def stream_unary(self, method: str, *settings: Any, **named: Any) -> Any:
        return self._method(self._lanes, "stream_unary", method, settings, named)

    def stream_stream(self, method: str, *settings: Any, **named: Any) -> Any:
        return self._method(self._lanes, "stream_stream", method, settings, named)


class PooledChannel(_Forms, grpc.Channel):
    """A channel with several connections."""

    _lanes: _Lanes[grpc.Channel]
    _method = _Method

    def __init__(self, dial: Callable[[], grpc.Channel]) -> None:
        self._lanes = _Lanes(dial)

    def subscribe(self, callback: Any, try_to_connect: Any = False) -> None:
        self._lanes.all[0].channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._lanes.all[0].channel.unsubscribe(callback)

    def close(self) -> None:
        for channel in self._lanes.close():
            channel.close()

    def __enter__(self) -> PooledChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncPooledChannel(_Forms, grpc.aio.Channel):
    """A channel for asyncio with several connections."""

    _lanes: _Lanes[grpc.aio.Channel]
    _method = _AsyncMethod

    def __init__(self, dial: Callable[[], grpc.aio.Channel]) -> None:
        self._lanes = _Lanes(dial)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._lanes.all[0].channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._lanes.all[0].channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._lanes.all[0].channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        for channel in self._lanes.close():
            await channel.close(grace)

    async def __aenter__(self) -> AsyncPooledChannel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
