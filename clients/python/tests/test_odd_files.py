"""Tests of paths that are no regular files, and of slow files with asyncio."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
import threading

import pytest
from gateway import LIMIT, Gateway

import dashgate
from dashgate import AsyncClient, _regular_files, _upload

# In a process of its own: what waits for a pipe cannot be ended otherwise.
ODD = """
import asyncio, sys
import dashgate

address, path = sys.argv[1:]
parts = [dashgate.audio, dashgate.image, dashgate.video]
attempts = [lambda part=part: part(path) for part in parts]
attempts.append(lambda: dashgate.Client(address).upload("m", path))

async def upload():
    async with dashgate.AsyncClient(address) as client:
        await client.upload("m", path)

attempts.append(lambda: asyncio.run(upload()))
for attempt in attempts:
    try:
        attempt()
    except OSError as error:
        assert path in str(error), error
    else:
        raise AssertionError("it was read")
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_only_regular_files_are_read(gateway: Gateway, tmp_path: pathlib.Path, kind: str) -> None:
    path = tmp_path / "odd.wav"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    elif kind == "device":
        path = pathlib.Path("/dev/zero")
    else:
        path.mkdir()
    command = [sys.executable, "-c", ODD, gateway.address, str(path)]
    subprocess.run(command, check=True, timeout=LIMIT)
    assert not gateway.requests


def test_a_slow_disk_does_not_stop_the_loop(
    gateway: Gateway, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    opens, goes_on = threading.Event(), threading.Event()

    def slowly(given: pathlib.Path) -> object:
        opens.set()
        assert goes_on.wait(LIMIT)
        return _regular_files.open_regular(given)

    monkeypatch.setattr(_upload, "open_regular", slowly)

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            uploading = asyncio.create_task(client.upload("m", path))
            assert await asyncio.to_thread(opens.wait, LIMIT)
            assert (await client.converse(dashgate.Conversation("m").user("a"))).text == "hello"
            goes_on.set()
            assert (await uploading).size_bytes == 5
            # One that is left while the file is opened closes it.
            opens.clear()
            goes_on.clear()
            left = asyncio.create_task(client.upload("m", path))
            assert await asyncio.to_thread(opens.wait, LIMIT)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            goes_on.set()

    asyncio.run(main())


def test_a_reader_may_return_an_awaitable(gateway: Gateway) -> None:
    class Source:
        def __init__(self) -> None:
            self.left = [b"a", b"b", b""]

        def read(self, _: int, /) -> object:
            async def later() -> bytes:
                return self.left.pop(0)

            return later()

    async def main() -> int:
        async with AsyncClient(gateway.address) as client:
            return (await client.upload("m", Source())).size_bytes  # type: ignore[arg-type]

    assert asyncio.run(main()) == 2
