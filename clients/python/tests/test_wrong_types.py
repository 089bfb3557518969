"""Tests of arguments of another type, which are clear errors of the program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from callers import Caller

import dashgate
from dashgate import AsyncClient, Client, Conversation

ASK = Conversation("m").user("hello?")


def look_up(city: str) -> str:
    return city


# What a program without type checks gives.
ANY: Any = dashgate
ANY_ASK: Any = ASK

METHODS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("run_tools", (ASK, [look_up]), {}, "look_up is a function .* write @dashgate.tool before it"),
    ("stream_tools", (ASK, [look_up]), {}, "look_up is a function .* @dashgate.tool"),
    ("run_tools", (ASK, look_up), {}, "tools is of type function; it must be a list of tools"),
    ("run_tools", (ASK, [5]), {}, "a tool is of type int; .* @dashgate.tool"),
    ("run_tools", ("hello?", []), {}, "conversation is of type str"),
    ("converse", ("hello?",), {}, "conversation is of type str; .* dashgate.Conversation"),
    ("stream", ([],), {}, "conversation is of type list"),
    ("converse", (ASK,), {"timeout": "3"}, "timeout is of type str; it must be a number"),
    ("stream", (ASK,), {"timeout": "3"}, "timeout is of type str"),
    ("converse", (ASK,), {"max_retries": "3"}, "max_retries is of type str"),
    ("converse", (ASK,), {"metadata": [("a", "b")]}, "metadata is of type list; .* mapping"),
    ("get_model", ("m",), {"metadata": [("a", "b")]}, "metadata is of type list"),
    ("converse", (ASK,), {"metadata": {"a": 5}}, "metadata 'a' is of type int"),
    ("upload", ("m", 5), {}, "the source is of type int"),
    ("converse_as", ("int", ASK), {}, "'int' is no dataclass"),
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("method", "given", "named", "message"), METHODS)
def test_of_a_call(
    method: str, given: tuple[Any, ...], named: dict[str, Any], message: str, is_async: bool
) -> None:
    with pytest.raises(TypeError, match=message):
        Caller("127.0.0.1:1", is_async=is_async)(method, *given, **named)


@pytest.mark.parametrize("method", ["live", "speak"])
def test_of_a_session(method: str) -> None:
    async def call() -> None:
        async with AsyncClient("127.0.0.1:1") as client, getattr(client, method)(5):
            pass

    with Client("127.0.0.1:1") as client, pytest.raises(TypeError, match="setup is of type int"):
        getattr(client, method)(5)
    with pytest.raises(TypeError, match="setup is of type int"):
        asyncio.run(call())


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"target": 5}, "target is of type int"),
        ({"api_key": b"secret"}, "api_key is of type bytes; it must be a str$"),
        ({"timeout": "5"}, "timeout is of type str"),
        ({"idle_timeout": "5"}, "idle_timeout is of type str"),
        ({"max_retries": 1.5}, "max_retries is of type float"),
        ({"metadata": [("a", "secret")]}, "metadata is of type list; .* values$"),
        ({"tls": True}, "tls is of type bool; it must be a dashgate.TLS"),
    ],
)
def test_of_a_client(kind: Any, named: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kind(**named)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        # `bytes` makes zeros of a number.
        (lambda: ANY.audio(5), "the source is of type int"),
        (lambda: ANY.image(None), "the source is of type NoneType"),
        (lambda: ANY.video(5), "the source is of type int"),
        (lambda: ANY.video([5]), "the source is of type int"),
        (lambda: ANY.text(5), "a text is of type int"),
        (lambda: ANY_ASK.user(5), "a part of a message is of type int"),
        (lambda: ANY_ASK.append("hello"), "answer is of type str"),
        (lambda: ANY_ASK.tool_result(5, "x"), "call is of type int"),
        (lambda: ANY_ASK.tool_result("c", 5), "a text is of type int"),
        (lambda: ANY_ASK.declare(look_up), "look_up is a function"),
        (lambda: ANY.Conversation("m", tools=[look_up]), "look_up is a function"),
        (lambda: ANY_ASK.choose_tool(look_up), "choice is of type function"),
    ],
)
def test_of_a_value(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()
