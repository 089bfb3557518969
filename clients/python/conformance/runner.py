"""Runs one case of tests/conformance: a job on standard input, a result on standard output."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import sys
import time

from async_players import ASYNC_PLAYERS
from job import Job, only
from messages import Json
from players import PLAYERS
from report import CANCELLED, failed

import dashgate


def refused(job: Job, result: Json, error: ValueError) -> None:
    """Report a list of messages that is refused. Another error of this type is the runner's."""
    if job.do != "messages":
        raise error
    result["error"] = {"code": "INVALID_ARGUMENT", "message": str(error)}


def play(job: Job, result: Json) -> None:
    """Run the job with the synchronous client."""
    with dashgate.Client(**job.client) as client:
        try:
            PLAYERS[job.do](client, job, result)
        except dashgate.Error as error:
            result["error"] = failed(error)
        except ValueError as error:
            refused(job, result, error)
        except concurrent.futures.CancelledError:
            result["error"] = CANCELLED


async def play_async(job: Job, client: dashgate.AsyncClient, result: Json) -> None:
    """Run the job with the client for asyncio, which was created outside this loop."""
    async with client:
        task = asyncio.ensure_future(ASYNC_PLAYERS[job.do](client, job, result))
        if "after_ms" in job.cancel:
            asyncio.get_running_loop().call_later(job.cancel["after_ms"] / 1000, task.cancel)
        try:
            await task
        except dashgate.Error as error:
            result["error"] = failed(error)
        except ValueError as error:
            refused(job, result, error)
        except asyncio.CancelledError:
            result["error"] = CANCELLED


# Reported even if empty.
TOLD = {
    "stream": "events",
    "deltas": "deltas",
    "tools": "tool_calls",
    "live": "live",
    "speak": "speech",
}


def main() -> int:
    try:
        only(sys.argv[1:], {"sync", "asyncio"}, "the command line")
        job = Job(json.load(sys.stdin))
        result: Json = {TOLD[job.do]: []} if job.do in TOLD else {}
        begun = time.monotonic()
        if "asyncio" in sys.argv:
            asyncio.run(play_async(job, dashgate.AsyncClient(**job.client), result))
        else:
            play(job, result)
        result["elapsed_ms"] = round((time.monotonic() - begun) * 1000)
    except Exception as error:
        print(f"runner: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    json.dump(result, sys.stdout, ensure_ascii=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
