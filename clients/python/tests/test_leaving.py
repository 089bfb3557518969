"""Tests of the calls that end other calls."""

from __future__ import annotations

import threading
import time
from typing import Any

from gateway import LIMIT

from dashgate._leaving import Leaving


def test_leaving_a_stream_does_not_wait_for_grpc() -> None:
    locked = threading.Event()

    class Stub:
        class CancelCall:
            @staticmethod
            def future(*_arguments: Any, **_options: Any) -> Any:
                locked.wait(LIMIT)
                raise ValueError("the channel is closed")

    leaving = Leaving(Stub)  # type: ignore[arg-type]
    begun = time.monotonic()
    leaving.leave("a", ())
    leaving.leave("b", ())
    assert time.monotonic() - begun < LIMIT / 2
    locked.set()
    leaving.finish()
    assert not leaving._waiting
