"""Tests of functions of a round that run at the same time, and of the ways in which they end."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError as FutureCancelledError
from typing import Any

import grpc
import pytest
from callers import Caller
from gateway import LIMIT, Gateway, answer
from test_tools import asks, results, streamed

from dashgate import AsyncClient, Client, Conversation, Error, Tool
from dashgate._tools import MOST_AT_ONCE, ToolRounds

FAILED = '{"error":"the function failed"}'
NOT_RUN = '{"error":"the function was not run"}'


class Running:
    """Counts the functions that run."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.full = threading.Event()
        self.full_async = asyncio.Event()

    def begin(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == MOST_AT_ONCE:
                self.full.set()
                if self.is_async:
                    self.full_async.set()

    def function(self, _: str) -> Any:
        if self.is_async:
            return self.later()
        self.begin()
        assert self.full.wait(LIMIT)
        with self.lock:
            self.now -= 1
        return "x"

    async def later(self) -> str:
        self.begin()
        await self.full_async.wait()
        self.now -= 1
        return "x"


def test_at_most_16_functions_run_at_the_same_time(gateway: Gateway, call: Caller) -> None:
    replies = iter([asks(*["a"] * 40), answer("done")])
    gateway.converse = lambda _: next(replies)
    running = Running(is_async=call.is_async)
    conversation = Conversation("m").user("go")
    call("run_tools", conversation, [Tool("a", "", "", running.function)], parallel=True)
    assert results(conversation) == ["x"] * 40
    assert running.most == MOST_AT_ONCE == 16


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("method", ["run_tools", "stream_tools"])
@pytest.mark.parametrize(
    "ending",
    [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, FutureCancelledError],
)
def test_what_ends_a_program_is_passed_on(
    gateway: Gateway, call: Caller, parallel: bool, method: str, ending: type[BaseException]
) -> None:
    gateway.converse = lambda _: asks("a", "b", "c")
    gateway.events = streamed("a", "b", "c")

    def end(_: str) -> Any:
        async def later() -> str:
            raise ending

        if call.is_async:
            return later()
        raise ending

    tools = [Tool("a", "", "", lambda _: "1"), Tool("b", "", "", end)]
    tools.append(Tool("c", "", "", lambda _: "3"))
    conversation = Conversation("m").user("go")
    with pytest.raises(ending):
        call(method, conversation, tools, parallel=parallel)
    assert results(conversation) == ["1", FAILED, "3" if parallel else NOT_RUN]


def test_what_ends_a_program_goes_before_an_error(gateway: Gateway, call: Caller) -> None:
    def end(_: str) -> str:
        raise SystemExit

    gateway.converse = lambda _: asks("a", "b")
    tools = [Tool("a", "", "", lambda _: str(1 / 0)), Tool("b", "", "", end)]
    conversation = Conversation("m").user("go")
    with pytest.raises(SystemExit):
        call("run_tools", conversation, tools, parallel=True)
    assert results(conversation) == [FAILED, FAILED]


@pytest.mark.parametrize("parallel", [False, True])
def test_a_cancelled_round_leaves_no_call_unanswered(gateway: Gateway, parallel: bool) -> None:
    names = [f"f{at}" for at in range(MOST_AT_ONCE + 2)]
    gateway.converse = lambda _: asks("quick", *names)
    begun = 0
    ended: list[str] = []

    async def main() -> list[str]:
        waits = asyncio.Event()

        async def wait(_: str) -> str:
            nonlocal begun
            begun += 1
            if begun == (MOST_AT_ONCE if parallel else 1):
                waits.set()
            try:
                await asyncio.sleep(LIMIT)
            finally:
                ended.append("x")
            return "x"

        tools = [Tool("quick", "", "", lambda _: "1")]
        tools += [Tool(name, "", "", wait) for name in names]
        conversation = Conversation("m").user("go")
        async with AsyncClient(gateway.address) as client:
            loop = asyncio.create_task(client.run_tools(conversation, tools, parallel=parallel))
            await waits.wait()
            loop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loop
        return results(conversation)

    count = MOST_AT_ONCE if parallel else 1
    left = len(names) - count
    assert asyncio.run(main()) == ["1", *[FAILED] * count, *[NOT_RUN] * left]
    assert len(ended) == count


def test_a_text_that_cannot_be_sent_is_an_error_of_its_function(
    gateway: Gateway, call: Caller
) -> None:
    gateway.converse = lambda _: asks("a", "b")
    tools = [Tool("a", "", "", lambda _: "\ud800"), Tool("b", "", "", lambda _: "2")]
    for parallel, after in ((True, "2"), (False, NOT_RUN)):
        conversation = Conversation("m").user("go")
        with pytest.raises(UnicodeEncodeError):
            call("run_tools", conversation, tools, parallel=parallel)
        assert results(conversation) == [FAILED, after]


def test_a_thread_that_cannot_be_started_leaves_no_call_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asks("a", "a", "a").choices[0].message.tool_calls
    start, started = threading.Thread.start, 0

    def refuse(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    def wait(_: str) -> str:
        time.sleep(0.05)
        return "1"

    conversation = Conversation("m").user("go")
    rounds = ToolRounds(conversation, [Tool("a", "", "", wait)], 1, parallel=True)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        rounds.run(asked)
    assert results(conversation)[0] == "1"
    assert len(results(conversation)) == 3


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt; it is ignored in what a shell runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_does_not_wait_for_functions_and_begins_no_more() -> None:
    over, begun = threading.Event(), threading.Barrier(MOST_AT_ONCE, timeout=LIMIT)
    count, main = 0, threading.main_thread().ident
    assert main is not None

    def wait(_: str) -> str:
        nonlocal count
        count += 1
        if begun.wait() == 0:
            # A signal just before the main thread begins to wait does not end its wait.
            time.sleep(0.1)
            signal.pthread_kill(main, signal.SIGINT)
        over.wait(LIMIT)
        return "1"

    asked = asks(*["a"] * (MOST_AT_ONCE + 4)).choices[0].message.tool_calls
    conversation = Conversation("m").user("go")
    rounds = ToolRounds(conversation, [Tool("a", "", "", wait)], 1, parallel=True)
    with pytest.raises(KeyboardInterrupt):
        rounds.run(asked)
    assert results(conversation) == [FAILED] * MOST_AT_ONCE + [NOT_RUN] * 4
    over.set()
    for thread in threading.enumerate():
        if thread.name.startswith("dashgate-tool"):
            thread.join(LIMIT)
    assert count == MOST_AT_ONCE
    assert len(results(conversation)) == len(asked)


def test_leaving_a_loop_while_its_functions_run(gateway: Gateway) -> None:
    gateway.events = streamed("a", "b")
    with Client(gateway.address) as client:
        conversation = Conversation("m").user("go")

        def leave(_: str) -> str:
            loop.close()
            return "1"

        loop = client.stream_tools(conversation, [Tool("a", "", "", leave)])
        with pytest.raises(FutureCancelledError):
            loop.final()
    assert results(conversation) == ["1", NOT_RUN]


@pytest.mark.parametrize("parallel", [False, True])
def test_leaving_a_loop_of_asyncio_while_its_functions_run(
    gateway: Gateway, parallel: bool
) -> None:
    gateway.events = streamed(*["a"] * (MOST_AT_ONCE + 1))
    conversation = Conversation("m").user("go")

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:

            async def leave(_: str) -> str:
                loop.cancel()
                return "1"

            tools = [Tool("a", "", "", leave)]
            loop = client.stream_tools(conversation, tools, parallel=parallel)
            with pytest.raises(Error) as caught:
                await loop.final()
            assert caught.value.code is grpc.StatusCode.CANCELLED

    asyncio.run(main())
    assert results(conversation) == ["1"] + [NOT_RUN] * MOST_AT_ONCE


def test_a_loop_that_was_left_runs_no_function(gateway: Gateway) -> None:
    gateway.events = streamed("a")
    ran: list[str] = []

    def function(arguments: str) -> str:
        ran.append(arguments)
        return "1"

    tool = Tool("a", "", "", function)
    conversation = Conversation("m").user("go")
    with Client(gateway.address) as client:
        loop = client.stream_tools(conversation, [tool])
        for event in loop:
            if event.HasField("completed"):
                break
        with pytest.raises(FutureCancelledError):
            loop.final()

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            loop = client.stream_tools(conversation, [tool])
            async for event in loop:
                if event.HasField("completed"):
                    break
            # The end of the iterator comes with the next turn of the event loop.
            loop.cancel()
            with pytest.raises(Error):
                await loop.final()

    asyncio.run(main())
    assert not ran
    assert len(conversation.raw.messages) == 1
