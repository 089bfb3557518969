"""Whether the gateway was reached, which gRPC does not report at the end of a deadline."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import grpc
import grpc.aio

from dashgate._lanes import Lanes, Mark
from dashgate.errors import Error

_Channel = TypeVar("_Channel")

_NOT_CONNECTED = (grpc.ChannelConnectivity.CONNECTING, grpc.ChannelConnectivity.TRANSIENT_FAILURE)

# A call on a channel that has no connection fails at once, with the cause. gRPC does not retry this
# method. The gateway refuses it without an id, if there is a connection at that moment.
_PROBE = "/dashgate.v1.CallService/CancelCall"
_PROBE_LIMIT = 0.05

_NO_CONNECTION = "no connection could be made in time"


class Attempt(NamedTuple):
    """A call that was made, and when."""

    call: Any
    mark: Mark


class _Lanes(Generic[_Channel]):
    """The channels of a client, and the address that it was given."""

    def __init__(self, lanes: Lanes[_Channel], address: str) -> None:
        self._lanes = lanes
        self._address = address

    def attempt(self, call: object) -> Attempt:
        """Note a call that was just made."""
        return Attempt(call, self._lanes.mark())

    def may_have(self, attempt: Attempt) -> bool:
        """Return whether the gateway may have a call."""
        return self._had(attempt) or self._found() is None

    def _found(self) -> tuple[_Channel, bool] | None:
        return _unreached(self._lanes.states())

    def _unreached(self, error: Error, attempt: Attempt | None) -> tuple[_Channel, bool] | None:
        return self._found() if _is_late(error) and not self._had(attempt) else None

    def _had(self, attempt: Attempt | None) -> bool:
        """Return whether a call may be that of a connection which takes no more.

        The gateway shuts down, and other calls have made the channel connect again.
        """
        if attempt is None:
            return False
        # A call that waited was made later, if at all.
        mark = getattr(attempt.call, "sent_mark", attempt.mark)
        if mark is None:
            return False
        # The policy that balances connects by itself.
        balances = self._address.startswith("dns:///")
        return self._lanes.reconnects_since(mark) or (balances and mark.was_connected)


class Reach(_Lanes[grpc.Channel]):
    """Those of the synchronous client."""

    def explained(self, error: Error, attempt: Attempt | None) -> Error:
        """Return the error of a call, which is UNAVAILABLE if the gateway was not reached.

        None is a call that was not made: it waited for another one.
        """
        found = self._unreached(error, attempt)
        if found is None:
            return _with_address(error, self._address)
        channel, has_failed = found
        cause = _cause(channel) if has_failed else _NO_CONNECTION
        return _unavailable(error, self._address, cause)


class AsyncReach(_Lanes[grpc.aio.Channel]):
    """The same for asyncio."""

    async def explained(self, error: Error, attempt: Attempt | None) -> Error:
        """Return the error of a call, which is UNAVAILABLE if the gateway was not reached."""
        found = self._unreached(error, attempt)
        if found is None:
            return _with_address(error, self._address)
        channel, has_failed = found
        cause = await _cause_async(channel) if has_failed else _NO_CONNECTION
        return _unavailable(error, self._address, cause)


def is_from_library(error: Error) -> bool:
    """Return whether gRPC, or this library, created an error without any response."""
    return not error.headers and not error.status.details


def _is_late(error: Error) -> bool:
    return error.code is grpc.StatusCode.DEADLINE_EXCEEDED and is_from_library(error)


def _unreached(states: list[tuple[Any, Any]]) -> tuple[Any, bool] | None:
    """Return a channel without a connection, and whether it has failed, if no one has any."""
    # One that its calls have left is idle: it says nothing of the gateway.
    states = [each for each in states if each[1] is not grpc.ChannelConnectivity.IDLE]
    if not states or any(state not in _NOT_CONNECTED for _, state in states):
        return None
    failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    return next(
        ((channel, True) for channel, state in states if state is failed), (states[0][0], False)
    )


def _cause(channel: Any) -> str:
    try:
        channel.unary_unary(_PROBE)(b"", timeout=_PROBE_LIMIT)
    except grpc.RpcError as failed:
        return _cause_of(failed)
    except ValueError:
        pass
    return _NO_CONNECTION


async def _cause_async(channel: Any) -> str:
    try:
        await channel.unary_unary(_PROBE)(b"", timeout=_PROBE_LIMIT)
    except grpc.RpcError as failed:
        return _cause_of(failed)
    except grpc.aio.UsageError:
        pass
    return _NO_CONNECTION


def _cause_of(failed: Any) -> str:
    is_unavailable = failed.code() is grpc.StatusCode.UNAVAILABLE
    return (failed.details() if is_unavailable else "") or _NO_CONNECTION


def _unavailable(late: Error, address: str, cause: str) -> Error:
    unreached = Error(grpc.StatusCode.UNAVAILABLE, cause, request_id=late.request_id)
    return _with_address(unreached, address)


def _with_address(error: Error, address: str) -> Error:
    """Add the address that was given: the message of gRPC may have another one, or none."""
    is_lost = error.code is grpc.StatusCode.UNAVAILABLE and is_from_library(error)
    if is_lost and address.removeprefix("dns:///") not in error.message:
        error.message = f"{address}: {error.message}"
        error.args = (error.message,)
    return error
