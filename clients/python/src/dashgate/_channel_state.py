"""The states of channels."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio


def channel_state(channel: Any) -> grpc.ChannelConnectivity | None:
    """Return the state of a channel, which may be that of interceptors; None if it is unknown.

    The public way takes threads that outlive the question.
    """
    inner = channel
    while inner is not None and not hasattr(inner, "check_connectivity_state"):
        inner = getattr(inner, "_channel", None)
    if inner is None:
        return None
    try:
        state = inner.check_connectivity_state(False)
    except ValueError:
        # The channel is closed.
        return None
    return next((each for each in grpc.ChannelConnectivity if each.value[0] == state), None)


def aio_channel_state(channel: grpc.aio.Channel) -> grpc.ChannelConnectivity | None:
    """Return the state of a channel of asyncio."""
    return channel.get_state()
