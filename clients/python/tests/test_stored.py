"""Tests of stored conversations and of the JSON forms, against a scripted server."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from callers import Caller
from gateway import Gateway, answer

from dashgate import Answer, Conversation, v1

NAME = "conversations/a"


def stored(turn: int) -> Any:
    def play(_: Any) -> v1.ConverseResponse:
        response = answer("hello")
        response.history_used.turn = turn
        return response

    return play


def test_a_stored_conversation_sends_what_is_new(gateway: Gateway, call: Caller) -> None:
    conversation = Conversation(name=NAME, system="Be brief.").user("one")
    gateway.converse = stored(4)
    conversation.append(call("converse", conversation)).user("two")
    assert conversation.last_turn == 4
    call("converse", conversation, history=v1.HistoryPolicy(max_turns=2))
    call("converse", conversation, expected_turn=0)
    sent = gateway.requests
    assert [len(request.conversation.messages) for request in sent] == [2, 1, 1]
    assert [request.HasField("expected_turn") for request in sent] == [False, True, True]
    assert [request.expected_turn for request in sent] == [0, 4, 0]
    assert sent[1].history.max_turns == 2
    # It goes on in another process.
    again = Conversation.from_json(conversation.to_json())
    assert (again.last_turn, again.raw) == (4, conversation.raw)


def test_an_update_has_what_is_given(gateway: Gateway, call: Caller) -> None:
    gateway.managed = lambda _: v1.UpdateConversationResponse()
    call("update_conversation", NAME, labels={}, ttl=1.5)
    call("update_conversation", NAME, model="m", ttl=datetime.timedelta(days=1))
    first, second = gateway.requests
    assert list(first.update_mask.paths) == ["labels", "ttl"]
    assert first.conversation.ttl.ToMilliseconds() == 1500
    assert list(second.update_mask.paths) == ["model", "ttl"]
    assert (second.conversation.name, second.conversation.model) == (NAME, "m")
    assert second.conversation.ttl.ToSeconds() == 24 * 3600


def test_turns_come_in_pages(gateway: Gateway, call: Caller) -> None:
    pages = {"": ([1, 2], "next"), "next": ([3], "")}

    def page(request: v1.ListTurnsRequest) -> v1.ListTurnsResponse:
        numbers, token = pages[request.page_token]
        turns = [v1.Turn(number=number) for number in numbers]
        return v1.ListTurnsResponse(turns=turns, next_page_token=token)

    gateway.managed = page
    found = call("list_turns", NAME, newest_first=True, include_media=True, page_size=2)
    assert [turn.number for turn in found] == [1, 2, 3]
    assert all(request.newest_first and request.include_media for request in gateway.requests)


def test_the_rest_of_the_management(gateway: Gateway, call: Caller) -> None:
    one = v1.Conversation(name=NAME)
    replies: dict[type, Any] = {
        v1.CreateConversationRequest: v1.CreateConversationResponse(conversation=one),
        v1.GetConversationRequest: v1.GetConversationResponse(conversation=one),
        v1.ListConversationsRequest: v1.ListConversationsResponse(conversations=[one]),
        v1.ForkConversationRequest: v1.ForkConversationResponse(conversation=one),
        v1.DeleteConversationRequest: v1.DeleteConversationResponse(),
        v1.DeleteTurnRequest: v1.DeleteTurnResponse(),
        v1.CancelTurnRequest: v1.CancelTurnResponse(request_id="r"),
    }
    gateway.managed = lambda request: replies[type(request)]
    assert call("create_conversation", "a", model="m", labels={"k": "v"}) == one
    assert call("get_conversation", NAME) == one
    assert call("list_conversations", page_size=3) == [one]
    assert call("fork_conversation", NAME, last_turn=0) == one
    assert call("delete_conversation", NAME) is None
    assert call("delete_turn", f"{NAME}/turns/1") is None
    assert call("cancel_turn", NAME, request_id="r") == "r"
    created, _, listed, forked, *_ = gateway.requests
    assert dict(created.conversation.labels) == {"k": "v"}
    assert listed.page_size == 3
    assert forked.HasField("last_turn")
    assert all(metadata["x-request-id"] for metadata in gateway.metadata)


def test_json_is_that_of_the_schema() -> None:
    conversation = Conversation("m").user("é")
    assert conversation.to_dict()["messages"][0]["role"] == "ROLE_USER"
    assert "é" in conversation.to_json()
    with pytest.raises(ValueError, match="not a conversation"):
        Conversation.from_json('{"no": 1}')
    response = Answer(answer("é"))
    assert response.to_dict()["choices"][0]["finishReason"] == "FINISH_REASON_STOP"
    assert "é" in response.to_json()
