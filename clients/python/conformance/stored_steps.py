"""Plays the steps that manage stored conversations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from job import Job, history
from messages import BadJobError, Json, plain
from report import answer_json, stored

import dashgate
from dashgate import v1

# The method of each step, with its arguments by the keys of the step.
STEPS: dict[str, tuple[str, dict[str, str]]] = {
    "create": (
        "create_conversation",
        {"id": "conversation_id", "model": "model", "labels": "labels", "ttl_seconds": "ttl"},
    ),
    "get": ("get_conversation", {"name": "name"}),
    "list": ("list_conversations", {"page_size": "page_size"}),
    "update": (
        "update_conversation",
        {"name": "name", "model": "model", "labels": "labels", "ttl_seconds": "ttl"},
    ),
    "delete": ("delete_conversation", {"name": "name"}),
    "turns": (
        "list_turns",
        {key: key for key in ("name", "newest_first", "include_media", "page_size")},
    ),
    "delete_turn": ("delete_turn", {"name": "name"}),
    "fork": (
        "fork_conversation",
        {"name": "name", "last_turn": "last_turn", "id": "conversation_id"},
    ),
    "cancel_turn": ("cancel_turn", {"name": "name", "request_id": "request_id"}),
}

# How the result of a step is reported. Those of iterators are lists.
REPORTS: dict[str, Callable[[Any], Json]] = {
    "create": lambda found: {"conversation": plain(found)},
    "get": lambda found: {"conversation": plain(found)},
    "update": lambda found: {"conversation": plain(found)},
    "fork": lambda found: {"conversation": plain(found)},
    "list": lambda found: {"conversations": [plain(each) for each in found]},
    "turns": lambda found: {"turns": [plain(each) for each in found]},
    "delete": lambda _: {"deleted": True},
    "delete_turn": lambda _: {"deleted": True},
    "cancel_turn": lambda found: {"cancelled": found},
    "converse": lambda found: {"answer": answer_json(found)},
}


def call_of(kind: str, value: Json) -> tuple[str, list[Any], Json]:
    """Return a method and its arguments."""
    if kind == "converse":
        conversation = json_format.ParseDict(value["conversation"], v1.Conversation())
        more = {"expected_turn": value.get("expected_turn"), "history": history(value)}
        return "converse", [conversation], more
    if kind not in STEPS:
        raise BadJobError(f"unknown step: {kind}")
    method, names = STEPS[kind]
    return method, [], {names[key]: each for key, each in value.items()}


def stored_steps(client: dashgate.Client, job: Job, result: Json) -> None:
    for kind, value in job.steps():
        method, arguments, named = call_of(kind, value)
        found = getattr(client, method)(*arguments, **named)
        stored(result, REPORTS[kind](found))


async def async_stored_steps(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    for kind, value in job.steps():
        method, arguments, named = call_of(kind, value)
        found = getattr(client, method)(*arguments, **named)
        if kind in {"list", "turns"}:
            stored(result, REPORTS[kind]([each async for each in found]))
        else:
            stored(result, REPORTS[kind](await found))
