"""Tests of the synchronous client, against a scripted server."""

from __future__ import annotations

import concurrent.futures
import gc
import io
import pathlib
import subprocess
import sys
import threading
from typing import Any

import grpc
import pytest
from gateway import COMPLETED, FAILURE, INFO, LIMIT, STARTED, Gateway, answer, fail, text
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import dashgate
from dashgate import Client, Conversation, Error, Tool, v1

ASK = Conversation("m").user("hello?")


def test_an_answer(gateway: Gateway) -> None:
    with Client(f"http://{gateway.address}", api_key="k", metadata={"X-One": "1"}) as client:
        got = client.converse(
            ASK, options=v1.GenerationOptions(seed=7), metadata={"x-two": "2"}, request_id="mine"
        )
    assert got.text == "hello"
    assert gateway.requests[0].request_id == "mine"
    assert gateway.requests[0].options.seed == 7
    seen = gateway.metadata[0]
    assert seen["user-agent"].startswith(f"dashgate-python/{dashgate.__version__} ")
    assert (seen["authorization"], seen["x-one"], seen["x-two"]) == ("Bearer k", "1", "2")


def test_a_stream(gateway: Gateway) -> None:
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        assert list(stream.text_deltas()) == ["hel", "lo"]
        assert stream.final().text == "hello"
        assert [event.WhichOneof("event") for event in client.stream(ASK)] == [
            "started",
            "delta",
            "delta",
            "completed",
        ]
    assert len({request.request_id for request in gateway.requests}) == 2


def test_nothing_is_connected_before_the_first_call() -> None:
    client = Client("127.0.0.1:1")
    assert client._connections._current is None
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.converse(ASK)


def test_a_given_channel_stays_its_owners(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.address) as channel:
        with Client.from_channel(channel) as client:
            assert client.converse(ASK).text == "hello"
        with Client.from_channel(channel, api_key="k") as client:
            raw = client.conversations.Converse(v1.ConverseRequest(), metadata=client.metadata)
    assert raw.request_id == "r"
    assert gateway.metadata[1]["authorization"] == "Bearer k"


def test_an_error_tells_all(gateway: Gateway) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="a.b", description="is wrong")

    def refuse(context: grpc.ServicerContext) -> Any:
        return fail(
            context,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "7",
            INFO,
            FAILURE,
            error_details_pb2.RequestInfo(request_id="named"),
            error_details_pb2.RetryInfo(
                retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)
            ),
            error_details_pb2.BadRequest(field_violations=[violation]),
        )

    gateway.converse = refuse
    with Client(gateway.address, api_key="hush") as client, pytest.raises(Error) as caught:
        client.converse(ASK)
    error = caught.value
    assert (error.code, error.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "it failed")
    assert (error.reason, error.raw_reason) == (v1.UPSTREAM_RATE, "UPSTREAM_RATE")
    assert (error.attempts, error.request_id, error.model) == (3, "named", "m")
    assert error.usage is not None
    assert (error.usage.output_tokens, error.output_started) == (7, False)
    assert (error.upstream_code, error.upstream_http_status) == ("Throttling", 429)
    assert (error.upstream_request_id, error.retry_after) == ("up", 1.5)
    assert error.field_violations == (dashgate.FieldViolation("a.b", "is wrong"),)
    assert len(error.status.details) == 5
    assert "hush" not in repr(error) + str(error)


def test_an_error_of_grpc_itself_has_no_reason() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(Error) as caught:
        client.upload("m", b"", metadata={"x-request-id": "sent"})
    error = caught.value
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert (error.reason, error.raw_reason) == (v1.ERROR_REASON_UNSPECIFIED, "")
    assert (error.usage, error.request_id) == (None, "sent")
    assert (error.retry_after, error.retryable) == (None, True)


def test_a_deadline_that_ends_here_has_a_reason(gateway: Gateway) -> None:
    def wait(_: grpc.ServicerContext) -> v1.ConverseResponse:
        gateway.ended.wait(LIMIT)
        return answer("too late")

    gateway.converse = wait
    with Client(gateway.address) as client, pytest.raises(Error) as caught:
        client.converse(ASK, timeout=0.1)
    assert (caught.value.reason, caught.value.retryable) == (v1.DEADLINE_EXCEEDED, False)


def test_unavailable_is_repeated_under_the_same_name(gateway: Gateway) -> None:
    outcomes = iter([True, True, False])

    def recover(context: grpc.ServicerContext) -> Any:
        if next(outcomes):
            return fail(context, grpc.StatusCode.UNAVAILABLE, "1")
        return answer("at last")

    gateway.converse = recover
    # Larger than gRPC's default limit for retries.
    loud = Conversation("m").user(dashgate.audio(bytes(1 << 20)))
    with Client(gateway.address) as client:
        assert client.converse(loud).text == "at last"
    assert len(gateway.requests) == 3
    assert len({request.request_id for request in gateway.requests}) == 1


@pytest.mark.parametrize(
    ("code", "pushback"),
    [
        (grpc.StatusCode.UNAVAILABLE, "-1"),
        (grpc.StatusCode.UNAVAILABLE, "soon"),
        (grpc.StatusCode.INTERNAL, "1"),
    ],
)
def test_all_else_is_not_repeated(gateway: Gateway, code: grpc.StatusCode, pushback: str) -> None:
    gateway.converse = lambda context: fail(context, code, pushback)
    with Client(gateway.address) as client, pytest.raises(Error) as caught:
        client.converse(ASK)
    assert len(gateway.requests) == 1
    assert caught.value.code == code


def test_a_stream_that_ends_early_fails_each_time(gateway: Gateway) -> None:
    gateway.events = [STARTED, text("hel")]
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        for _ in range(2):
            with pytest.raises(Error) as caught:
                stream.final()
            assert caught.value.reason == v1.STREAM_TRUNCATED
            assert caught.value.output_started
            assert caught.value.code == grpc.StatusCode.INTERNAL


def test_a_silent_stream_fails(gateway: Gateway) -> None:
    gateway.events, gateway.silent = [STARTED], True
    with Client(gateway.address, idle_timeout=0.2) as client, pytest.raises(Error) as caught:
        client.stream(ASK).final()
    assert caught.value.raw_reason == "STREAM_IDLE"
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert gateway.ended.wait(LIMIT)


def test_who_reads_slowly_is_not_idle(gateway: Gateway) -> None:
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        for _ in stream:
            # The time between two reads does not count as idle.
            assert stream._wait.deadline == float("inf")
        stream._wait.arm()
        assert stream._wait.deadline < float("inf")


@pytest.mark.parametrize("way", ["break", "close", "with", "drop", "cancel"])
def test_leaving_a_stream_ends_the_call(gateway: Gateway, way: str) -> None:
    gateway.events, gateway.silent = [STARTED], True
    with Client(gateway.address) as client:
        stream = client.stream(ASK)
        assert gateway.came.wait(LIMIT)
        if way == "break":
            for _ in stream:
                break
        elif way == "close":
            stream.close()
        elif way == "with":
            with stream:
                pass
        elif way == "drop":
            del stream
            gc.collect()
        else:
            threading.Thread(target=stream.cancel).start()
            with pytest.raises(concurrent.futures.CancelledError):
                stream.final()
        assert gateway.ended.wait(LIMIT)


def test_an_answer_can_be_cancelled(gateway: Gateway) -> None:
    def wait(_: grpc.ServicerContext) -> v1.ConverseResponse:
        gateway.ended.wait(LIMIT)
        return answer("too late")

    gateway.converse = wait
    with Client(gateway.address) as client:
        pending = client.converse_future(ASK)
        assert gateway.came.wait(LIMIT)
        assert not pending.done()
        pending.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            pending.result()


@pytest.mark.parametrize("kind", ["path", "bytes", "reader", "pipe"])
def test_an_upload_is_sent_in_chunks(gateway: Gateway, tmp_path: pathlib.Path, kind: str) -> None:
    data = b"RIFF....WAVE" + bytes(600_000)
    file = tmp_path / "sound.wav"
    file.write_bytes(data)

    class Pipe:
        def __init__(self) -> None:
            self.inner = io.BytesIO(data)

        def read(self, size: int, /) -> bytes:
            return self.inner.read(size)

    sources: dict[str, Any] = {
        "path": file,
        "bytes": data,
        "reader": io.BytesIO(data),
        "pipe": Pipe(),
    }
    with Client(gateway.address) as client:
        uploaded = client.upload("m", sources[kind])
    assert uploaded.size_bytes == len(data)
    first, *chunks = gateway.requests[0]
    assert first.description.mime_type == "audio/wav"
    assert first.description.name == ("sound.wav" if kind == "path" else "")
    assert first.description.HasField("size_bytes") == (kind != "pipe")
    assert [len(chunk.chunk) for chunk in chunks] == [262_144, 262_144, 75_724]
    assert len(gateway.metadata[0]["x-request-id"]) == 36


def test_a_reader_that_fails_is_told_as_it_is(gateway: Gateway) -> None:
    class Broken:
        reads = 0

        def read(self, size: int, /) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise OSError("the disk is gone")
            return bytes(size)

    with Client(gateway.address) as client, pytest.raises(OSError, match="disk is gone"):
        client.upload("m", Broken())


def asks_for(name: str) -> v1.ConverseResponse:
    call = v1.ToolCall(id="c", name=name, arguments='{"x":1}')
    return v1.ConverseResponse(choices=[v1.Choice(message=v1.Message(tool_calls=[call]))])


def test_the_tool_loop(gateway: Gateway) -> None:
    turns = iter([asks_for("double"), asks_for('no"pe'), answer("2")])
    gateway.converse = lambda _context: next(turns)
    got: list[str] = []

    def double(arguments: str) -> str:
        got.append(arguments)
        return "2"

    conversation = Conversation("m").user("double 1")
    with Client(gateway.address) as client:
        assert client.run_tools(conversation, [Tool("double", "doubles", "{}", double)]).text == "2"
    assert got == ['{"x":1}']
    results = [turn.content[0].text for turn in conversation.raw.messages if turn.tool_call_id]
    assert results == ["2", '{"error":"there is no tool no\\"pe"}']
    assert len({request.request_id for request in gateway.requests}) == 3


def test_the_tool_loop_has_an_end(gateway: Gateway) -> None:
    gateway.converse = lambda _context: asks_for("f")
    with Client(gateway.address) as client:
        with pytest.raises(Error) as caught:
            client.run_tools(Conversation("m").user("f"), [Tool("f", "", "", str)], max_rounds=2)
        assert caught.value.raw_reason == "TOOL_ROUNDS"
        # The last round is answered too, and may have no tool calls.
        assert len(gateway.requests) == 3
        broken = Tool("f", "", "", lambda _: str(1 / 0))
        conversation = Conversation("m").user("f")
        with pytest.raises(ZeroDivisionError):
            client.run_tools(conversation, [broken])
        # No call stays unanswered.
        last = conversation.raw.messages[-1]
        assert last.tool_call_id
        assert last.content[0].text == '{"error":"the function failed"}'


FORK = """
import os, sys, threading
import dashgate
client = dashgate.Client(sys.argv[1])
ask = dashgate.Conversation("m").user("hello?")
if sys.argv[2] == "used":
    assert client.stream(ask).final().text == "hello"
child = os.fork()
if child == 0:
    os._exit(0 if client.stream(ask).final().text == client.converse(ask).text == "hello" else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert client.converse(ask).text == "hello"
client.close()
"""


@pytest.mark.parametrize("state", ["new", "used"])
def test_a_client_may_be_used_after_a_fork(gateway: Gateway, state: str) -> None:
    subprocess.run([sys.executable, "-c", FORK, gateway.address, state], check=True, timeout=LIMIT)


def test_the_answer_of_a_stream_is_the_events(gateway: Gateway) -> None:
    gateway.events = [STARTED, text("a"), text("z", 1), text("b"), COMPLETED]
    with Client(gateway.address) as client:
        got = client.stream(ASK).final()
    assert (got.text, len(got.choices)) == ("ab", 2)
