"""The connections of a pool, and the calls that wait for one."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import grpc

# How many calls a gateway takes at once on a connection.
CALLS_PER_CONNECTION = 100
MAX_CONNECTIONS = 20

# It ends another call, and must not wait for calls that run until they are ended.
_ENDS_A_CALL = "/dashgate.v1.CallService/CancelCall"

# So long a channel may be idle although a call has just made it connect.
_TIME_TO_CONNECT = 0.1

State = grpc.ChannelConnectivity

_Channel = TypeVar("_Channel")


class Which(NamedTuple):
    """A method: its kind, its name, and how its messages are encoded."""

    kind: str
    name: str
    settings: tuple[Any, ...]
    named: dict[str, Any]


def which(kind: str, name: str, settings: tuple[Any, ...], named: dict[str, Any]) -> Which:
    """Return a method as a stub looks it up."""
    # gRPC looks a registered method up in the channel itself. If that is closed, the process ends
    # with a segmentation violation.
    named = {key: value for key, value in named.items() if key != "_registered_method"}
    return Which(kind, name, settings, named)


class Arguments(NamedTuple):
    """What a method is called with: a request or requests, a timeout, and more."""

    unnamed: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def timeout(self) -> float | None:
        """The timeout; None if there is none."""
        given = self.unnamed[1] if len(self.unnamed) > 1 else self.named.get("timeout")
        return cast("float | None", given)

    def within(self, timeout: float | None) -> Arguments:
        """Return the arguments with another timeout."""
        if len(self.unnamed) > 1:
            return Arguments((self.unnamed[0], timeout, *self.unnamed[2:]), self.named)
        return Arguments(self.unnamed, {**self.named, "timeout": timeout})


class Mark(NamedTuple):
    """When a call was made, and whether there was a connection for it."""

    at: float
    was_connected: bool


class Lane(Generic[_Channel]):
    """A channel with its own connection."""

    def __init__(self, channel: _Channel) -> None:
        self.channel = channel
        # When the latest call was made that made it connect.
        self.connects_at: float | None = None
        self.was_connected = False
        # How many are in progress.
        self.calls = 0
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, which: Which) -> Any:
        """Return what calls a method on this channel."""
        known = self._methods.get((which.kind, which.name))
        if known is None:
            known = getattr(self.channel, which.kind)(which.name, *which.settings, **which.named)
            self._methods[which.kind, which.name] = known
        return known


class Waiter(Protocol):
    """A call that waits for a connection."""

    number: int
    which: Which
    deadline: float | None

    def begin(self, lane: Lane[Any], method: Any) -> None:
        """Make the call. Its place on the lane must be released."""

    def expire(self) -> None:
        """End the call at its deadline."""

    def close(self) -> None:
        """End the call because the pool is closed."""


class Lanes(Generic[_Channel]):
    """The channels of a pool. A call that finds no place waits for one, in the order of the calls.

    Calls on a channel of the caller, which has one connection, wait in gRPC.
    """

    def __init__(
        self,
        dial: Callable[[], _Channel],
        state: Callable[[_Channel], State | None],
        *,
        is_limited: bool = True,
    ) -> None:
        self._dial = dial
        self._state = state
        self._is_connected = False
        self._reconnects_at = float("-inf")
        self._is_limited = is_limited
        # Reentrant, because a call that waits may be collected at any time.
        self.changed = threading.Condition(threading.RLock())
        self.closed = False
        self.all = [Lane(dial())]
        # For calls that end others while all are full; opened when it is needed.
        self._spare: Lane[_Channel] | None = None
        self._numbers = itertools.count()
        # A call that nothing else refers to is left.
        self.waiting: OrderedDict[int, weakref.ref[Waiter]] = OrderedDict()

    def take(self, which: Which) -> tuple[Lane[_Channel], Any] | None:
        """Return a lane, which must be released, and what makes the call. None: it must wait.

        A method of a closed channel is never looked up.
        """
        with self.changed:
            self._check_open()
            if which.name == _ENDS_A_CALL:
                lane: Lane[_Channel] | None = self._free() or self._spared()
            else:
                lane = None if self.waiting else self._free()
            return None if lane is None else self._taken(lane, which)

    def note(self, lane: Lane[_Channel]) -> None:
        """Note the state of a lane before a call is made on it.

        Without the lock: that of gRPC may be held by a thread which collects a call that waits.
        """
        now, state = time.monotonic(), self._state(lane.channel)
        with self.changed:
            lane.was_connected |= state is State.READY
            self._is_connected = state is State.READY
            if lane.connects_at is None:
                lane.connects_at = now
            elif state is State.IDLE and (
                lane.was_connected or now - lane.connects_at > _TIME_TO_CONNECT
            ):
                # It was connected. Failing to connect does not make a channel idle.
                lane.connects_at = self._reconnects_at = now
                lane.was_connected = False

    def mark(self) -> Mark:
        """Return the mark of a call that was just made."""
        return Mark(time.monotonic(), self._is_connected)

    def reconnects_since(self, mark: Mark) -> bool:
        """Return whether a call has made a lane connect again since another one was made."""
        return self._reconnects_at > mark.at

    def states(self) -> list[tuple[_Channel, State | None]]:
        """Return the channels and their states."""
        return [(lane.channel, self._state(lane.channel)) for lane in tuple(self.all)]

    def release(self, lane: Lane[_Channel]) -> bool:
        """Give a place back. Return whether a call waits for it."""
        with self.changed:
            lane.calls -= 1
            return bool(self.waiting)

    def wait(self, waiter: Waiter) -> None:
        """Let a call wait."""
        with self.changed:
            self._check_open()
            waiter.number = next(self._numbers)
            self.waiting[waiter.number] = weakref.ref(waiter)

    def leave(self, waiter: Waiter) -> bool:
        """Let a call wait no more. Return False if it did not."""
        with self.changed:
            return self.waiting.pop(waiter.number, None) is not None

    def next(self) -> tuple[Waiter, Lane[_Channel], Any] | None:
        """Return the call that has waited longest, with a lane, if there is a place."""
        with self.changed:
            while self.waiting and (lane := self._free()) is not None:
                waiter = self.waiting.popitem(last=False)[1]()
                if waiter is not None:
                    return waiter, *self._taken(lane, waiter.which)
        return None

    def late(self) -> tuple[list[Waiter], float]:
        """Return the waiting calls at their deadline, which wait no more, and the next deadline."""
        with self.changed:
            now, first = time.monotonic(), float("inf")
            late: list[Waiter] = []
            for waiter in self._all_waiting():
                if waiter.deadline is None:
                    continue
                if waiter.deadline > now:
                    first = min(first, waiter.deadline)
                elif self.leave(waiter):
                    late.append(waiter)
            return late, first

    def close(self) -> tuple[list[_Channel], list[Waiter]]:
        """Return all channels, which no other one joins, and the calls that waited."""
        with self.changed:
            self.closed = True
            waiting = self._all_waiting()
            self.waiting.clear()
            self.changed.notify_all()
            lanes = self.all if self._spare is None else [*self.all, self._spare]
            return [lane.channel for lane in lanes], waiting

    def closed_error(self) -> ValueError:
        """Return the error of a call on a channel that is closed."""
        return ValueError("the client is closed" if self.closed else "the channel is closed")

    def _all_waiting(self) -> list[Waiter]:
        found = (waiter() for waiter in tuple(self.waiting.values()))
        return [waiter for waiter in found if waiter is not None]

    def _check_open(self) -> None:
        if self.closed:
            raise self.closed_error()

    def _free(self) -> Lane[_Channel] | None:
        best = min(self.all, key=lambda lane: lane.calls)
        if not self._is_limited or best.calls < CALLS_PER_CONNECTION:
            return best
        if len(self.all) >= MAX_CONNECTIONS:
            return None
        self.all.append(Lane(self._dial()))
        return self.all[-1]

    def _spared(self) -> Lane[_Channel]:
        if self._spare is None:
            self._spare = Lane(self._dial())
        return self._spare

    def _taken(self, lane: Lane[_Channel], which: Which) -> tuple[Lane[_Channel], Any]:
        method = lane.method(which)
        lane.calls += 1
        return lane, method
