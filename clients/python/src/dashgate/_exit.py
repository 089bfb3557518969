"""The calls of gRPC that have not ended when the program ends.

At the end of the interpreter, the threads of gRPC end wherever they are, also while they hold the
lock of a call. A call that is collected afterwards would wait for its lock for ever.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()
# Those of this process, and those that its parent process had when it forked.
_calls: dict[int, weakref.ref[Any]] = {}


def ended(call: Any, callback: Callable[[], object]) -> None:
    """Let a callback be called when gRPC has ended a call, and note the call until then."""
    number = next(_numbers)
    _calls[number] = weakref.ref(call)

    def end() -> None:
        _calls.pop(number, None)
        callback()

    if not call.add_callback(end):
        end()


def is_finalizing() -> bool:
    """Return whether the interpreter ends: nothing may wait for a lock or a thread."""
    return sys.is_finalizing()


def release_calls() -> None:
    """Let the calls that have not ended be collected without their locks."""
    for call in [each() for each in tuple(_calls.values())]:
        if call is not None:
            call.__class__ = _collected_silently(type(call))


def _collected_silently(kind: type[Any]) -> type[Any]:
    """Return a class that differs only in what is done when its objects are collected."""

    class Silent(kind):  # type: ignore[misc]
        __slots__ = ()

        def __del__(self) -> None:
            pass

    return Silent
