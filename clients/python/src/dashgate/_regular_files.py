"""Files that are given by path: opened without waiting, and only if they are regular files."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, cast

# The numbers of the errors that a pipe, a socket, a device and a directory are.
ODD = (errno.EINVAL, errno.EISDIR, errno.ENXIO)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading. Anything but a regular file is an `OSError` with its path."""
    return cast("BinaryIO", open(path, "rb", opener=_open))


@asynccontextmanager
async def opened_in_thread(open_file: Callable[[], BinaryIO]) -> AsyncIterator[BinaryIO]:
    """Open a file, and close it at the end, in threads: a slow disk must not stop the loop."""
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, open_file)
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    try:
        yield file
    finally:
        # Not awaited: a read that was left goes on until its end, and closing waits for it.
        loop.run_in_executor(None, file.close)


def _open(path: str, flags: int) -> int:
    # Opening a pipe would wait for its writer. What is opened is looked at, and not the path, which
    # may be that of another file a moment later.
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, "not a regular file", path)


def _close(opening: asyncio.Future[BinaryIO]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
