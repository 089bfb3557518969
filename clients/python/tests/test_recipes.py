"""Tests of the recipes and of examples that need no gateway of their own."""

from __future__ import annotations

import http.client
import pathlib
import re
import runpy
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import batch
import chat
import grpc
import pytest
import throttled
import tracing
import uvicorn
import web
from gateway import COMPLETED, INFO, LIMIT, STARTED, Event, Gateway, answer, fail, text
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_resume import numbered

import dashgate
from dashgate import v1

HERE = pathlib.Path(__file__).parents[1]
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True)
def _address(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHGATE_ADDR", gateway.address)


def region(file: str, name: str) -> str:
    code = (HERE / "examples" / file).read_text(encoding="utf-8")
    (found,) = re.findall(
        rf"^ *# region {name}\n(.*?)^ *# endregion$", code, re.DOTALL | re.MULTILINE
    )
    return textwrap.dedent(found).strip()


def test_the_recipes_are_the_examples() -> None:
    page = (HERE / "RECIPES.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- from examples/(\S+)#(\S+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == page.count("```python") == 5
    for file, name, block in blocks:
        assert block.strip() == region(file, name)


class Server(uvicorn.Server):
    """The recipe's server, which another thread runs."""

    def __init__(self) -> None:
        super().__init__(uvicorn.Config(web.app, port=0, log_level="error", lifespan="on"))
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    def connect(self) -> http.client.HTTPConnection:
        port = self.servers[0].sockets[0].getsockname()[1]
        return http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server()
    thread = threading.Thread(target=served.run)
    thread.start()
    assert served.ready.wait(LIMIT)
    yield served
    served.should_exit = True
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_an_answer_is_streamed_to_a_browser(gateway: Gateway, server: Server) -> None:
    browser = server.connect()
    browser.request("GET", "/ask?question=hello%3F")
    response = browser.getresponse()
    assert response.getheader("content-type") == "text/event-stream; charset=utf-8"
    assert response.read().decode() == 'data: "hel"\n\ndata: "lo"\n\nevent: end\ndata: {}\n\n'
    gateway.parts = [lambda context: fail(context, EXHAUSTED, "7000", INFO)]
    browser.request("GET", "/ask?question=hello%3F")
    failed = '{"reason": "UPSTREAM_RATE", "retryable": true}'
    assert browser.getresponse().read().decode() == f"event: failed\ndata: {failed}\n\n"
    browser.close()


def test_a_browser_that_leaves_ends_the_call(gateway: Gateway, server: Server) -> None:
    gateway.events, gateway.silent = numbered(1, STARTED, text("hel")), True
    browser = server.connect()
    browser.request("GET", "/ask?question=hello%3F")
    response = browser.getresponse()
    assert response.readline() == b'data: "hel"\n'
    # The connection is the response's, too.
    response.close()
    browser.close()
    assert gateway.ended.wait(LIMIT)
    assert gateway.cancel_came.wait(LIMIT)


def test_a_batch_has_an_answer_for_each_file(
    gateway: Gateway, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{number}.wav" for number in range(20)]
    for file in files[1:]:
        file.write_bytes(b"RIFF....WAVE")
    refused = iter([True])

    def play(context: grpc.ServicerContext) -> v1.ConverseResponse:
        if next(refused, False):
            fail(context, EXHAUSTED, "1", INFO)
        return answer("said")

    gateway.converse = play
    texts = batch.batch(files)
    assert texts == dict.fromkeys(files[1:], "said")
    printed = capsys.readouterr().err
    assert "20 of 20" in printed
    assert "No such file" in printed


def test_a_chat_runs_its_tools(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    call = v1.ToolCall(id="c", name="clock", arguments='{"hours_from_utc": 8}')
    gateway.parts = [
        lambda _: iter([STARTED, Event(delta=v1.Delta(tool_call=call)), COMPLETED]),
        lambda _: iter([STARTED, text("It is "), text("nine."), COMPLETED]),
        lambda context: fail(context, grpc.StatusCode.ABORTED, "-1", INFO),
        lambda _: iter([STARTED, text("Bye."), COMPLETED]),
    ]
    chat.chat(["What time is it in Beijing?", "And here?", "Bye"])
    printed = capsys.readouterr()
    assert printed.out == "It is nine.\nBye.\n"
    assert "ABORTED UPSTREAM_RATE" in printed.err
    messages = gateway.requests[-1].conversation.messages
    assert [message.role for message in messages] == [
        v1.ROLE_SYSTEM,
        v1.ROLE_USER,
        v1.ROLE_ASSISTANT,
        v1.ROLE_TOOL,
        v1.ROLE_ASSISTANT,
        v1.ROLE_USER,
    ]
    assert messages[3].content[0].text.endswith("+08:00")


def test_throttling_is_waited_for(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    pushbacks = iter(["1", "1"])

    def play(context: grpc.ServicerContext) -> v1.ConverseResponse:
        if (pushback := next(pushbacks, None)) is not None:
            fail(context, EXHAUSTED, pushback, INFO)
        return answer("nine")

    gateway.converse = play
    with dashgate.Client() as client:
        assert throttled.ask(client, "What time is it?") == "nine"
        gateway.converse = lambda context: fail(context, EXHAUSTED, "600000", INFO)
        assert throttled.ask(client, "What time is it?") is None
        gateway.converse = lambda context: fail(context, grpc.StatusCode.ABORTED, "-1", INFO)
        with pytest.raises(dashgate.Error):
            throttled.ask(client, "What time is it?")
    assert capsys.readouterr().out == "UPSTREAM_RATE: ask again in 600 s\n"


def test_a_trace_goes_on_in_the_gateway(gateway: Gateway) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with dashgate.Client() as client:
        assert tracing.ask(client, "What time is it?") == "hello"
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    expected = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert gateway.metadata[0]["traceparent"].startswith(expected)
    assert span.attributes is not None
    assert span.attributes["dashgate.request_id"] == "r"


def test_the_example_of_stored_conversations(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = iter([1, 2])

    def play(_: Any) -> v1.ConverseResponse:
        response = answer("Ada")
        response.history_used.turn = next(turns)
        return response

    gateway.converse = play
    new = v1.Conversation(name="conversations/a")
    turn = v1.Turn(number=2, answer=v1.Message(content=[v1.Content(text="Ada")]))
    replies: dict[type, Any] = {
        v1.CreateConversationRequest: v1.CreateConversationResponse(conversation=new),
        v1.ForkConversationRequest: v1.ForkConversationResponse(conversation=new),
        v1.UpdateConversationRequest: v1.UpdateConversationResponse(conversation=new),
        v1.ListTurnsRequest: v1.ListTurnsResponse(turns=[turn]),
        v1.DeleteConversationRequest: v1.DeleteConversationResponse(),
    }
    gateway.managed = lambda request: replies[type(request)]
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.setattr("sys.argv", ["stored.py"])
        runpy.run_path(str(HERE / "examples" / "stored.py"), run_name="__main__")
    assert capsys.readouterr().out == "Ada in turn 2\n2 Ada\n"


def test_the_example_of_types(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.converse = lambda _: answer('{"name": "Oslo", "people": 717710, "rivers": []}')
    runpy.run_path(str(HERE / "examples" / "structured.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed == "2 messages\nOslo: 717710 people, 0 tokens out\n"


def test_the_example_of_options(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(HERE / "examples" / "options.py"), run_name="__main__")
    assert capsys.readouterr().out.startswith("hel of request")
