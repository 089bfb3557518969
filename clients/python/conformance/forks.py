"""Runs many cases, each in its own process, which is forked after all imports.

Reads one job per line. Writes one line for each: `{"code": .., "out": "..", "err": ".."}`, the exit
code and the output of that process. The imports take longer than most cases.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import tempfile

import runner


def play(job: str) -> dict[str, int | str]:
    """Run a job in a child process."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
    ):
        given.write(job)
        given.flush()
        given.seek(0)
        child = os.fork()
        if child == 0:
            for number, file in enumerate((given, out, err)):
                os.dup2(file.fileno(), number)
            # The buffer of the old one has the line of the job, and perhaps more.
            sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
            # The end of the interpreter is part of the case: unclosed resources are reported there.
            sys.exit(runner.main())
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": out.read(),
            "err": err.read(),
        }


def main() -> None:
    # Imported objects are never collected, so that a fork does not copy them.
    gc.freeze()
    for job in iter(sys.stdin.readline, ""):
        print(json.dumps(play(job)), flush=True)


if __name__ == "__main__":
    main()
