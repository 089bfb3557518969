"""Tests of answers of a type of the caller, in both clients."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest
from callers import Caller
from gateway import Gateway, answer

from dashgate import Conversation, Error, Schema, v1


@dataclass
class City:
    """A city and its rivers."""

    name: str
    people: int
    rivers: list[str] = field(default_factory=list)


@dataclass
class Tree:
    branches: list[Tree]


class Town(pydantic.BaseModel):
    name: str
    people: int


OSLO = '{"name": "Oslo", "people": 717710, "rivers": ["Akerselva"]}'


def replies(gateway: Gateway, *texts: str) -> None:
    left = iter(texts)

    def play(_: Any) -> v1.ConverseResponse:
        response = answer(next(left))
        response.usage.output_tokens = 7
        return response

    gateway.converse = play


def test_an_answer_becomes_a_dataclass(gateway: Gateway, call: Caller) -> None:
    replies(gateway, OSLO)
    options = v1.GenerationOptions(seed=7)
    conversation = Conversation("m").user("Oslo?")
    value, got = call("converse_as", City, conversation, options=options)
    assert value == City("Oslo", 717710, ["Akerselva"])
    assert got.text == OSLO
    sent = gateway.requests[0].options
    form = sent.response_format.json_schema
    assert (form.name, form.description, form.strict) == ("City", "A city and its rivers.", True)
    assert json.loads(form.schema)["required"] == ["name", "people"]
    assert sent.seed == 7
    assert not options.HasField("response_format")
    assert len(conversation.raw.messages) == 1


def test_an_answer_becomes_a_model_of_pydantic(gateway: Gateway, call: Caller) -> None:
    replies(gateway, '{"name": "Oslo", "people": 717710}')
    value, _ = call("converse_as", Town, Conversation("m").user("Oslo?"))
    assert value == Town(name="Oslo", people=717710)
    schema = json.loads(gateway.requests[0].options.response_format.json_schema.schema)
    assert schema["properties"]["people"]["type"] == "integer"


def test_an_answer_becomes_what_a_function_makes(gateway: Gateway, call: Caller) -> None:
    replies(gateway, "17")
    number = Schema("number", '{"type":"integer"}', int, description="A number.")
    value, _ = call("converse_as", number, Conversation("m").user("How many?"))
    assert value == 17
    form = gateway.requests[0].options.response_format.json_schema
    assert (form.schema, form.description) == ('{"type":"integer"}', "A number.")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Oslo is large.", "City: not JSON at line 1, column 1"),
        ('{"name": "Oslo"}', "City.people: missing"),
        ('{"name": "Oslo", "people": "many"}', "City.people: str, not integer"),
    ],
)
def test_an_answer_that_is_not_valid_has_its_usage(
    gateway: Gateway, call: Caller, text: str, why: str
) -> None:
    replies(gateway, text)
    with pytest.raises(Error, match="the answer is not a valid City") as caught:
        call("converse_as", City, Conversation("m").user("Oslo?"))
    error = caught.value
    assert why in error.message
    assert (error.code.name, error.raw_reason) == ("INTERNAL", "OUTPUT_INVALID")
    assert error.usage is not None
    assert (error.usage.output_tokens, error.output_started) == (7, True)
    assert not error.retryable


def test_the_model_is_shown_its_error_once(gateway: Gateway, call: Caller) -> None:
    replies(gateway, "large", OSLO, "large", "large")
    conversation = Conversation("m").user("Oslo?")
    named = {"x-request-id": "mine"}
    value, _ = call("converse_as", City, conversation, repair=True, metadata=named)
    assert value.name == "Oslo"
    first, second = gateway.requests
    assert [message.role for message in second.conversation.messages] == [
        v1.ROLE_USER,
        v1.ROLE_ASSISTANT,
        v1.ROLE_USER,
    ]
    assert "not a valid City" in second.conversation.messages[2].content[0].text
    assert first.request_id == "mine" != second.request_id
    assert len(conversation.raw.messages) == 1
    with pytest.raises(Error):
        call("converse_as", City, conversation.raw, repair=True)
    assert len(gateway.requests) == 4


@pytest.mark.parametrize("kind", [City, Town])
@pytest.mark.parametrize(
    "text",
    ["secret", '{"name": "secret}', '{"name": "a", "people": "secret"}', '{"people": ["secret"]}'],
)
def test_an_error_quotes_nothing_of_the_answer(
    gateway: Gateway, call: Caller, kind: Any, text: str
) -> None:
    replies(gateway, text)
    with pytest.raises(Error) as caught:
        call("converse_as", kind, Conversation("m").user("Oslo?"))
    assert kind.__name__ in caught.value.message
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error} {error!r} {vars(error)} {getattr(error, 'doc', '')}"
        error = error.__cause__ or error.__context__


def test_types_that_cannot_be_parsed_are_refused() -> None:
    with pytest.raises(TypeError, match="give a Schema"):
        Schema.of(int)

    with pytest.raises(TypeError, match="contains itself"):
        Schema.of(Tree)
