"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from callers import Caller
from gateway import Gateway, playing


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with playing() as played:
        yield played


@pytest.fixture(params=["threads", "asyncio"])
def call(gateway: Gateway, request: pytest.FixtureRequest) -> Caller:
    return Caller(gateway.address, is_async=request.param == "asyncio")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHGATE_ADDR", raising=False)
    monkeypatch.delenv("DASHGATE_API_KEY", raising=False)
    monkeypatch.delenv("DASHGATE_LOG", raising=False)
