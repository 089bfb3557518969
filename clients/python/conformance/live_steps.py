"""Plays the steps of a live session."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from google.protobuf import json_format
from messages import BadJobError, Json, plain

import dashgate
from dashgate import v1

# The pieces in which a file of audio is sent: 100 ms at 16 kHz.
PIECE = 3200


class SessionJob(Protocol):
    """What a session needs of its job."""

    def live_setup(self) -> v1.LiveSetup: ...

    def speech_setup(self) -> v1.SynthesisSetup: ...

    def session(self) -> dict[str, Any]: ...

    def steps(self) -> Iterable[tuple[str, Any]]: ...


def tool_result(value: Json, result: Json) -> list[str]:
    """Return the arguments of a tool's result: without an id, it is for the last call."""
    calls = [event.get("responseDelta", {}).get("toolCall", {}) for event in result["live"]]
    ids = [call["id"] for call in calls if call.get("id")]
    return [value.get("tool_call_id") or ids[-1], value["output"]]


# The method of each step that sends, and its arguments.
SENDS: dict[str, tuple[str, Callable[[Any, Json], list[Any]]]] = {
    "text": ("send_text", lambda value, _: [value]),
    "image_file": ("send_image", lambda value, _: [pathlib.Path(value).read_bytes()]),
    "commit": ("commit", lambda _value, _: []),
    "clear": ("clear", lambda _value, _: []),
    "create_response": (
        "create_response",
        lambda value, _: [value.get("instructions", ""), value.get("modalities", ())],
    ),
    "cancel_response": ("cancel_response", lambda _value, _: []),
    "tool_result": ("send_tool_result", tool_result),
    "update": (
        "update",
        lambda value, _: [json_format.ParseDict(value, v1.UpdateSession())],
    ),
    "delete_item": ("delete_item", lambda value, _: [value["item_id"]]),
    "finish": ("finish", lambda _value, _: []),
}


def sent(kind: str, value: Any, result: Json) -> tuple[str, list[Any]]:
    if kind not in SENDS:
        raise BadJobError(f"unknown step: {kind}")
    method, arguments = SENDS[kind]
    return method, arguments(value, result)


def audio_pieces(file: str) -> list[bytes]:
    audio = pathlib.Path(file).read_bytes()
    return [audio[at : at + PIECE] for at in range(0, len(audio), PIECE)]


def live(client: dashgate.Client, job: SessionJob, result: Json) -> None:
    others: list[dashgate.LiveSession] = []
    with client.live(job.live_setup(), **job.session()) as session:
        for kind, value in job.steps():
            if kind == "audio_file":
                for piece in audio_pieces(value):
                    session.send_audio(piece)
            elif kind == "take_over":
                other = client.live(v1.LiveSetup(resume=session.resumption))
                next(other)
                others.append(other)
            else:
                take_step(session, (kind, value), result, result["live"])
        read(session, result["live"])
    for other in others:
        other.close()


def speak(client: dashgate.Client, job: SessionJob, result: Json) -> None:
    with client.speak(job.speech_setup(), **job.session()) as session:
        for step in job.steps():
            take_step(session, step, result, result["speech"])
        read(session, result["speech"])


def take_step(
    session: dashgate.LiveSession | dashgate.SpeechSession,
    step: tuple[str, Any],
    result: Json,
    events: list[Json],
) -> None:
    kind, value = step
    if kind == "await":
        read(session, events, value)
    elif kind == "close":
        session.close()
    else:
        method, arguments = sent(kind, value, result)
        getattr(session, method)(*arguments)


def read(
    session: dashgate.LiveSession | dashgate.SpeechSession,
    events: list[Json],
    last: str = "",
) -> None:
    for event in session:
        events.append(plain(event))
        if last and event.WhichOneof("event") == last:
            return


async def async_live(client: dashgate.AsyncClient, job: SessionJob, result: Json) -> None:
    others: list[dashgate.AsyncLiveSession] = []
    async with client.live(job.live_setup(), **job.session()) as session:
        for kind, value in job.steps():
            if kind == "audio_file":
                for piece in audio_pieces(value):
                    await session.send_audio(piece)
            elif kind == "take_over":
                other = client.live(v1.LiveSetup(resume=session.resumption))
                await anext(other)
                others.append(other)
            else:
                await async_step(session, (kind, value), result, result["live"])
        await async_read(session, result["live"])
    for other in others:
        await other.close()


async def async_speak(client: dashgate.AsyncClient, job: SessionJob, result: Json) -> None:
    async with client.speak(job.speech_setup(), **job.session()) as session:
        for step in job.steps():
            await async_step(session, step, result, result["speech"])
        await async_read(session, result["speech"])


async def async_step(
    session: dashgate.AsyncLiveSession | dashgate.AsyncSpeechSession,
    step: tuple[str, Any],
    result: Json,
    events: list[Json],
) -> None:
    kind, value = step
    if kind == "await":
        await async_read(session, events, value)
    elif kind == "close":
        await session.close()
    else:
        method, arguments = sent(kind, value, result)
        await getattr(session, method)(*arguments)


async def async_read(
    session: dashgate.AsyncLiveSession | dashgate.AsyncSpeechSession,
    events: list[Json],
    last: str = "",
) -> None:
    async for event in session:
        events.append(plain(event))
        if last and event.WhichOneof("event") == last:
            return
