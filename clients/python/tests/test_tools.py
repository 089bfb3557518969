"""Tests of tool loops in both clients, and of tools from functions."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import json
import threading
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest
from callers import Caller
from gateway import COMPLETED, LIMIT, STARTED, Event, Gateway, answer, text

import dashgate
from dashgate import AsyncClient, Client, Conversation, Error, Tool, v1


def asks(*names: str) -> v1.ConverseResponse:
    calls = [v1.ToolCall(id=f"c{at}", name=name, index=at) for at, name in enumerate(names)]
    return v1.ConverseResponse(choices=[v1.Choice(message=v1.Message(tool_calls=calls))])


def streamed(*names: str) -> list[Event]:
    calls = [v1.ToolCall(id=f"c{at}", name=name, index=at) for at, name in enumerate(names)]
    return [STARTED, *(Event(delta=v1.Delta(tool_call=call)) for call in calls), COMPLETED]


def results(conversation: Conversation) -> list[str]:
    return [turn.content[0].text for turn in conversation.raw.messages if turn.tool_call_id]


def test_functions_of_a_round_run_at_the_same_time(gateway: Gateway, call: Caller) -> None:
    replies = iter([asks("a", "b", "c"), answer("done")])
    gateway.converse = lambda _: next(replies)
    together = threading.Barrier(2, timeout=LIMIT)
    both = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None
    level = contextvars.ContextVar("level", default=0)
    level.set(1)

    def function(name: str) -> Any:
        if not call.is_async:
            return lambda _: f"{name}{level.get()}{together.wait() * 0}"

        async def later(_: str) -> str:
            if both is not None:
                await both.wait()
            return f"{name}{level.get()}0"

        return later

    tools = [Tool(name, "", "{}", function(name)) for name in "ab"]
    conversation = Conversation("m").user("go")
    assert call("run_tools", conversation, tools, parallel=True).text == "done"
    unknown = '{"error":"there is no tool c"}'
    assert results(conversation) == ["a10", "b10", unknown]


@pytest.mark.parametrize("method", ["run_tools", "stream_tools"])
def test_a_function_that_fails_beside_others(gateway: Gateway, call: Caller, method: str) -> None:
    gateway.converse = lambda _: asks("a", "b", "c")
    gateway.events = streamed("a", "b", "c")
    tools = [Tool("a", "", "", lambda _: "1"), Tool("b", "", "", lambda _: str(1 / 0))]
    tools.append(Tool("c", "", "", lambda _: "3"))
    conversation = Conversation("m").user("go")
    with pytest.raises(ZeroDivisionError):
        call(method, conversation, tools, parallel=True)
    assert results(conversation) == ["1", '{"error":"the function failed"}', "3"]
    conversation = Conversation("m").user("go")
    with pytest.raises(ZeroDivisionError):
        call(method, conversation, tools)
    failed, not_run = '{"error":"the function failed"}', '{"error":"the function was not run"}'
    assert results(conversation) == ["1", failed, not_run]


def test_a_streamed_loop_has_the_events_of_all_rounds(gateway: Gateway) -> None:
    gateway.parts = [lambda _: iter(streamed("a")), lambda _: iter([STARTED, text("1"), COMPLETED])]
    conversation = Conversation("m").user("go")
    tool = Tool("a", "", "", lambda _: "x")
    with Client(gateway.address) as client:
        loop = client.stream_tools(conversation, [tool], metadata={"x-request-id": "mine"})
        kinds = [event.WhichOneof("event") for event in loop]
        assert kinds == ["started", "delta", "completed"] * 2
        assert loop.final().text == "1"
        assert loop.current.partial is not None
    assert results(conversation) == ["x"]
    assert [message.role for message in conversation.raw.messages][-1] == v1.ROLE_ASSISTANT
    first, second = gateway.requests
    assert first.request_id == "mine" != second.request_id


def test_a_streamed_loop_of_asyncio(gateway: Gateway) -> None:
    def play() -> None:
        gateway.parts = [
            lambda _: iter(streamed("a")),
            lambda _: iter([STARTED, text("1"), COMPLETED]),
        ]

    tool = Tool("a", "", "", lambda _: "x")

    async def main() -> None:
        async with AsyncClient(gateway.address) as client:
            play()
            loop = client.stream_tools(Conversation("m").user("go"), [tool])
            assert len([event async for event in loop]) == 6
            assert (await loop.final()).text == "1"
            play()
            async with client.stream_tools(Conversation("m").user("go"), [tool]) as loop:
                assert [piece async for piece in loop.text_deltas()] == ["1"]

    asyncio.run(main())


@pytest.mark.parametrize("way", ["break", "close", "cancel"])
def test_leaving_a_streamed_loop_ends_its_call(gateway: Gateway, way: str) -> None:
    gateway.events, gateway.silent = [STARTED], True
    with Client(gateway.address) as client:
        loop = client.stream_tools(Conversation("m").user("go"), [])
        assert gateway.came.wait(LIMIT)
        if way == "break":
            for _ in loop:
                break
        else:
            getattr(loop, way)()
        assert gateway.ended.wait(LIMIT)


def test_a_streamed_loop_fails_each_time(gateway: Gateway, call: Caller) -> None:
    gateway.events = streamed("a")
    tool = Tool("a", "", "", lambda _: "x")
    with pytest.raises(Error) as caught:
        call("stream_tools", Conversation("m").user("go"), [tool], max_rounds=1)
    assert caught.value.raw_reason == "TOOL_ROUNDS"
    with Client(gateway.address) as client:
        conversation = Conversation("m").user("go")
        loop = client.stream_tools(conversation, [tool], max_rounds=0)
        for _ in range(2):
            with pytest.raises(Error):
                loop.final()
    assert len(results(conversation)) == 1


class Unit(enum.Enum):
    CELSIUS = "C"
    KELVIN = "K"


@dataclass
class Place:
    city: str
    country: str = "NO"


class Window(pydantic.BaseModel):
    hours: int = pydantic.Field(gt=0)


@dashgate.tool
def weather(
    place: Place,
    days: Annotated[list[int], "Days from now."],
    window: Window,
    unit: Unit = Unit.CELSIUS,
    style: Literal["short", "long"] | None = None,
) -> dict[str, Any]:
    """The weather at a place."""
    return {"place": place, "days": days, "window": window, "unit": unit, "style": style}


def test_a_tool_is_made_from_a_function() -> None:
    assert (weather.name, weather.description) == ("weather", "The weather at a place.")
    schema: Any = weather.parameters
    assert schema["required"] == ["place", "days", "window"]
    assert schema["properties"]["place"] == {
        "type": "object",
        "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    assert schema["properties"]["days"] == {
        "type": "array",
        "items": {"type": "integer"},
        "description": "Days from now.",
    }
    assert schema["properties"]["unit"] == {"enum": ["C", "K"]}
    assert schema["properties"]["style"]["anyOf"][0] == {"enum": ["short", "long"]}
    given = {"place": {"city": "Oslo"}, "days": [1, 2.0], "window": {"hours": 3}, "unit": "K"}
    assert json.loads(str(weather.function(json.dumps(given)))) == {
        "place": {"city": "Oslo", "country": "NO"},
        "days": [1, 2],
        "window": {"hours": 3},
        "unit": "K",
        "style": None,
    }


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"days": [], "window": {"hours": 1}}, "arguments.place: missing"),
        ({"place": {"city": 1}}, "place.city: int, not string"),
        ({"days": ["a"]}, "days[0]: str, not integer"),
        ({"days": True}, "days: bool, not a list"),
        ({"window": {"hours": 0}}, "greater than 0"),
        ({"unit": "F"}, "arguments.unit: not one of 'C', 'K'"),
        ({"style": 1}, "style: not one of 'short', 'long' or arguments.style: int, not null"),
        ({"x": 1}, "arguments.x: not known"),
    ],
)
def test_arguments_that_do_not_fit_are_answered(given: dict[str, Any], error: str) -> None:
    whole = {"place": {"city": ""}, "days": [], "window": {"hours": 1}}
    arguments = given if "missing" in error else {**whole, **given}
    assert error in json.loads(str(weather.function(json.dumps(arguments))))["error"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [("no", "arguments: not JSON at line 1"), ("[]", "arguments: list, not an object")],
)
def test_arguments_that_are_no_object_are_answered(arguments: str, error: str) -> None:
    assert error in json.loads(str(weather.function(arguments)))["error"]


def test_a_typed_tool_may_be_a_coroutine_function(gateway: Gateway) -> None:
    @dashgate.tool(name="add", description="Adds.")
    async def add_numbers(a: int, b: float = 1) -> float:
        return a + b

    call = v1.ToolCall(id="c", name="add", arguments='{"a": 2}')
    asked = v1.ConverseResponse(choices=[v1.Choice(message=v1.Message(tool_calls=[call]))])
    replies = iter([asked, answer("done")])
    gateway.converse = lambda _: next(replies)
    conversation = Conversation("m").user("go")
    Caller(gateway.address, is_async=True)("run_tools", conversation, [add_numbers])
    assert results(conversation) == ["3"]
    assert conversation.raw.tools[0].function.description == "Adds."


class Road:
    class End(pydantic.BaseModel):
        km: int

    class Way(pydantic.BaseModel):
        end: Road.End


class River:
    class End(pydantic.BaseModel):
        sea: str

    class Way(pydantic.BaseModel):
        end: River.End


def test_classes_of_one_name_have_schemas_of_their_own() -> None:
    for model in (Road.Way, River.Way):
        model.model_rebuild(_types_namespace={"Road": Road, "River": River})

    @dashgate.tool
    def go(road: Road.Way, river: River.Way, back: Road.Way) -> str:
        return f"{road.end.km} {river.end.sea}"

    schema: Any = go.parameters
    ends = {}
    for name, way in schema["properties"].items():
        end = schema["$defs"][way["properties"]["end"]["$ref"].removeprefix("#/$defs/")]
        ends[name] = list(end["properties"])
    assert ends == {"road": ["km"], "river": ["sea"], "back": ["km"]}
    assert len(schema["$defs"]) == 2
    given = {"road": {"end": {"km": 1}}, "river": {"end": {"sea": "a"}}, "back": {"end": {"km": 2}}}
    assert go.function(json.dumps(given)) == "1 a"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ('{"a": ' + "[" * 100_000, "too deep"),
        ('{"a": ' + "9" * 5000 + "}", "too long"),
        ('{"a": ' + "9" * 400 + "}", "too large"),
        ('{"a": 1, "' + "x" * 5000 + '": 1}', "x: not known"),
    ],
)
def test_arguments_that_are_too_deep_or_too_large_are_answered(arguments: str, error: str) -> None:
    @dashgate.tool
    def half(a: float) -> float:
        return a / 2

    @dashgate.tool
    async def half_async(a: float) -> float:
        return a / 2

    async def run_async() -> str:
        return str(await half_async.function(arguments))  # type: ignore[misc]

    for result in (half.function(arguments), asyncio.run(run_async())):
        answered = json.loads(str(result))["error"]
        assert error in answered
        assert len(answered) < 300


def test_types_without_a_schema_are_refused() -> None:
    def no_type(a) -> None:  # type: ignore[no-untyped-def]
        pass

    def unknown(a: threading.Event) -> None:
        pass

    for function in (no_type, unknown):
        with pytest.raises(TypeError):
            dashgate.tool(function)
