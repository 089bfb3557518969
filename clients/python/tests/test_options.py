"""Tests of interceptors, channel options, times and the log, in both clients."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import grpc
import grpc.aio
import pytest
from callers import ASK, Caller
from gateway import COMPLETED, FAILURE, INFO, LIMIT, STARTED, Gateway, fail, text
from google.rpc import error_details_pb2

from dashgate import AsyncClient, Client, Error
from dashgate._endpoint import Endpoint
from dashgate._log import CallLog


class Details(grpc.ClientCallDetails):
    """The details of a call with more metadata."""

    def __init__(self, details: Any, name: str) -> None:
        self.__dict__.update(details._asdict())
        self.metadata = (*(details.metadata or ()), ("x-seen", name))


class Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Notes the metadata of each call, and adds to it."""

    def __init__(self, name: str, seen: list[Any]) -> None:
        self.name = name
        self.seen = seen

    def _intercept(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        self.seen.append((self.name, details.method.rpartition("/")[2], dict(details.metadata)))
        return proceed(Details(details, self.name), request)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


class AsyncInterceptor(
    grpc.aio.UnaryUnaryClientInterceptor,
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    """The same for asyncio."""

    def __init__(self, name: str, seen: list[Any]) -> None:
        self.name = name
        self.seen = seen

    async def _intercept(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        method = details.method.decode().rpartition("/")[2]
        self.seen.append((self.name, method, dict(details.metadata)))
        more = grpc.aio.Metadata(*details.metadata, ("x-seen", self.name))
        return await proceed(details._replace(metadata=more), request)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


def test_interceptors_run_around_each_call_outermost_first(gateway: Gateway, call: Caller) -> None:
    seen: list[Any] = []
    kind: Any = AsyncInterceptor if call.is_async else Interceptor
    options = {"interceptors": [kind("outer", seen), kind("inner", seen)], "api_key": "k"}
    assert call.on(options, "converse", ASK).text == "hello"
    assert call.on(options, "stream", ASK).text == "hello"
    assert [each[:2] for each in seen] == [
        ("outer", "Converse"),
        ("inner", "Converse"),
        ("outer", "ConverseStream"),
        ("inner", "ConverseStream"),
    ]
    assert all(metadata["authorization"] == "Bearer k" for _, _, metadata in seen)
    assert seen[1][2]["x-seen"] == "outer"
    gateway.converse = lambda context: fail(context, grpc.StatusCode.ABORTED, "-1", INFO, FAILURE)
    with pytest.raises(Error) as caught:
        call.on(options, "converse", ASK)
    assert (caught.value.raw_reason, caught.value.attempts) == ("UPSTREAM_RATE", 3)


def test_interceptors_see_streams_of_requests_too(gateway: Gateway, call: Caller) -> None:
    seen: list[Any] = []
    kind: Any = AsyncInterceptor if call.is_async else Interceptor
    interceptors = [kind("one", seen)]
    assert call.on({"interceptors": interceptors}, "upload", "m", b"x").size_bytes == 1

    async def talk() -> int:
        async with (
            AsyncClient(gateway.address, interceptors=interceptors) as client,
            client.live("m") as session,
        ):
            await session.finish()
            return len([event async for event in session])

    if call.is_async:
        assert asyncio.run(talk()) == 2
    else:
        with (
            Client(gateway.address, interceptors=interceptors) as client,
            client.live("m") as session,
        ):
            session.finish()
            assert len(list(session)) == 2
    assert [each[1] for each in seen] == ["UploadMedia", "ConverseLive"]


def test_an_interceptor_of_one_kind_is_used_unchanged(gateway: Gateway) -> None:
    class Unary(grpc.aio.UnaryUnaryClientInterceptor):
        methods: ClassVar[list[bytes]] = []

        async def intercept_unary_unary(self, proceed: Any, details: Any, request: Any) -> Any:
            self.methods.append(details.method)
            return await proceed(details, request)

    call = Caller(gateway.address, is_async=True)
    call.on({"interceptors": [Unary()]}, "converse", ASK)
    assert len(Unary.methods) == 1


def test_channel_options_replace_single_ones(gateway: Gateway, call: Caller) -> None:
    more = [("grpc.primary_user_agent", "mine"), ("grpc.max_reconnect_backoff_ms", 7)]
    options = Endpoint.of("h", None, more).options()
    assert dict(options) == {**dict(Endpoint.of("h", None).options()), **dict(more)}
    assert len(dict(options)) == len(options)
    call.on({"channel_options": more}, "converse", ASK)
    assert gateway.metadata[0]["user-agent"].startswith("mine ")


def test_a_response_that_is_too_large_has_a_reason(gateway: Gateway, call: Caller) -> None:
    options = {"channel_options": [("grpc.max_receive_message_length", 3)]}
    for method in ("converse", "stream"):
        with pytest.raises(Error) as caught:
            call.on(options, method, ASK)
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.raw_reason == "MESSAGE_TOO_LARGE"


def test_the_log_has_a_line_for_each_call(
    gateway: Gateway,
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "debug")
    gateway.refusals = [(grpc.StatusCode.UNAVAILABLE, "-1", INFO)]
    with caplog.at_level(logging.DEBUG, "dashgate"):
        options = {"api_key": "secret", "metadata": {"x-private": "secret"}}
        call.on(options, "converse", ASK, request_id="r1")
        call.on(options, "stream", ASK, request_id="r2")
        call.on(options, "upload", "m", b"x", metadata={"x-request-id": "r3"})
        with pytest.raises(Error):
            call.on(options, "get_conversation", "c", metadata={"x-request-id": "r4"})
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    wanted = ["Converse OK", "ConverseStream OK", "UploadMedia OK"]
    wanted.append("GetConversation UNAVAILABLE UPSTREAM_RATE")
    assert len(lines) == 4
    for number, (line, start) in enumerate(zip(lines, wanted, strict=True), 1):
        assert line.startswith(f"dashgate: {start} ")
        assert line.endswith(f" ms, request id r{number}, {gateway.address}")
    assert "secret" not in caplog.text
    assert "hello" not in caplog.text
    assert f"opening a connection to {gateway.address}" in caplog.text


def test_the_log_has_retries_resumes_and_cancellations(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "debug")
    gateway.refusals = [(grpc.StatusCode.UNAVAILABLE, "1", INFO)]
    gateway.managed = lambda _: None
    gateway.silent = True
    with caplog.at_level(logging.DEBUG, "dashgate"), Client(gateway.address) as client:
        with pytest.raises(Error):
            client.create_conversation("a", metadata={"x-request-id": "r"})
        for _ in client.stream(ASK, request_id="left"):
            break
    assert f"CreateConversation retry in 1 ms, request id r, {gateway.address}" in caplog.text
    assert "ConverseStream CANCELLED" in caplog.text


def test_the_log_has_sessions(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "info")
    with caplog.at_level(logging.INFO, "dashgate"), Client(gateway.address) as client:
        with client.live("m") as session:
            session.finish()
            assert len(list(session)) == 2
        with client.live("m"):
            pass
        with client.speak("m") as speech, pytest.raises(Error):
            next(speech)
    lines = [record.getMessage().partition(" ms")[0] for record in caplog.records]
    ends = ["ConverseLive OK", "ConverseLive CANCELLED", "SynthesizeLive UNIMPLEMENTED"]
    assert [line.rpartition(" ")[0] for line in lines] == [f"dashgate: {end}" for end in ends]


def test_the_log_has_what_comes_from_elsewhere_in_one_line(
    gateway: Gateway,
    call: Caller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "debug")
    odd = "a\nb\x1b[31m\u2028\x7f\u00e9 " + 300 * "x"
    shown = ("a?b?[31m??? " + 300 * "x")[:200]
    info = error_details_pb2.ErrorInfo(reason=odd)
    gateway.converse = lambda context: fail(context, grpc.StatusCode.ABORTED, "-1", info)
    with caplog.at_level(logging.DEBUG, "dashgate"), pytest.raises(Error):
        call("converse", ASK, request_id=odd)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert line.startswith(f"dashgate: Converse ABORTED {shown} ")
    assert f", request id {shown}, " in line
    with caplog.at_level(logging.DEBUG, "dashgate"):
        log = CallLog("Converse", odd, "a")
        log.retried(0)
        log.resumed(0)
    lines = [record.getMessage() for record in caplog.records][-2:]
    assert all(line.endswith(f", request id {shown}, a") for line in lines)


class Lines(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.came.set()


def test_the_log_has_calls_that_no_thread_waits_for(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHGATE_LOG", "info")
    handler = Lines()
    logging.getLogger("dashgate").addHandler(handler)
    try:
        with Client(gateway.address) as client:
            pending = client.converse_future(ASK)
            assert handler.came.wait(LIMIT)
            assert pending.result().text == "hello"
    finally:
        logging.getLogger("dashgate").removeHandler(handler)
    assert len(handler.lines) == 1


LOG = """
import logging, sys
import dashgate
if sys.argv[2] == "configured":
    logging.basicConfig(format="mine %(message)s", level=logging.DEBUG)
with dashgate.Client(sys.argv[1]) as client:
    client.converse(dashgate.Conversation("m").user("hello?"), request_id="r")
"""


@pytest.mark.parametrize(
    ("level", "configured", "lines"),
    [
        ("", "no", 0),
        ("loud", "configured", 0),
        ("info", "no", 1),
        ("info", "configured", 1),
        ("debug", "no", 2),
    ],
)
def test_the_log_is_off_or_on_standard_error(
    gateway: Gateway, level: str, configured: str, lines: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOG, gateway.address, configured],
        check=True,
        timeout=LIMIT,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "DASHGATE_LOG": level},
    )
    printed = [line for line in done.stderr.splitlines() if "dashgate: " in line]
    assert len(printed) == lines
    assert all(line.startswith("mine ") == (configured == "configured") for line in printed)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_repr_has_the_address(kind: Any) -> None:
    assert repr(kind("h")) == f"{kind.__name__}(h:50051)"


@pytest.mark.parametrize("forever", [3.1e9, 1e12, 1e300, float("inf")])
def test_times_may_be_as_long_as_they_like(gateway: Gateway, call: Caller, forever: float) -> None:
    gateway.events = [STARTED, text("1"), COMPLETED]
    options = {"timeout": forever, "idle_timeout": forever}
    assert call.on(options, "stream", ASK).text == "1"
    call("converse", ASK, timeout=forever)
