"""What each kind of job does with the client for asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
from collections.abc import Awaitable, Callable

from job import City, Job, mime_type, parts
from live_steps import async_live, async_speak
from messages import Json, plain
from report import answer_json, answered, partial
from stored_steps import async_stored_steps

import dashgate


async def async_converse(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    answer = await client.converse(job.conversation(), **job.arguments())
    answered(result, answer)


async def async_stream(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    events = client.stream(job.conversation(), **job.stream_arguments())
    try:
        await async_read(events, job, result)
    finally:
        if "answers" not in result:
            partial(result, events.partial)


async def async_read(events: dashgate.AsyncStream, job: Job, result: Json) -> None:
    task = asyncio.current_task()
    assert task is not None
    if job.do == "deltas":
        async for text in events.text_deltas():
            result["deltas"].append(text)
            if len(result["deltas"]) == job.cancel.get("after_events"):
                task.cancel()
    else:
        async for event in events:
            result["events"].append(plain(event))
            if len(result["events"]) == job.cancel.get("after_events"):
                task.cancel()
    answered(result, await events.final())


async def async_many(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    async def one() -> Json:
        return answer_json(
            await client.stream(job.conversation(), **job.stream_arguments()).final()
        )

    result["answers"] = list(await asyncio.gather(*(one() for _ in range(job.call["count"]))))


async def async_dialogue(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    conversation = job.dialogue()
    if "name" in job.call:
        await client.create_conversation(
            job.call["name"].partition("/")[2], model=job.call["model"]
        )
    try:
        for turn in job.call["turns"]:
            conversation.user(*parts(turn))
            if job.call.get("stream"):
                answer = await client.stream(conversation, options=job.options()).final()
            else:
                answer = await client.converse(conversation, options=job.options())
            conversation.append(answer)
            answered(result, answer)
    finally:
        result["conversation"] = plain(conversation.raw)
        if conversation.last_turn is not None:
            result["last_turn"] = conversation.last_turn


async def async_tools(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    try:
        if job.call.get("stream"):
            loop = client.stream_tools(conversation, job.tools(result), **job.loop())
            result["events"] = []
            async for event in loop:
                result["events"].append(plain(event))
            answer = await loop.final()
        else:
            answer = await client.run_tools(conversation, job.tools(result), **job.loop())
        answered(result, answer)
    finally:
        result["conversation"] = plain(conversation.raw)


async def async_upload(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    model = job.call["model"]
    more = {key: job.call[key] for key in ("mime_type", "name") if key in job.call}
    uploaded = await client.upload(model, pathlib.Path(job.call["file"]), **more)
    result["uploads"] = [plain(uploaded)]
    if "then" in job.call:
        conversation = dashgate.Conversation(model)
        conversation.user(*parts(job.call["then"], uploaded.uri))
        answered(result, await client.converse(conversation))


async def async_models(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    async for found in client.list_models(page_size=job.call.get("page_size", 0)):
        result.setdefault("models", []).append(plain(found))


async def async_model(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    result["models"] = [plain(await client.get_model(job.call["name"]))]


async def async_messages(_: dashgate.AsyncClient, job: Job, result: Json) -> None:
    result["conversation"] = plain(job.messages().raw)


async def async_structured(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    repair = job.call.get("repair", False)
    value, answer = await client.converse_as(City, conversation, repair=repair)
    result["value"] = dataclasses.asdict(value)
    answered(result, answer)


async def async_cancel_call(client: dashgate.AsyncClient, job: Job, _: Json) -> None:
    await client.cancel_call(job.call["request_id"])


async def async_sniff(_: dashgate.AsyncClient, job: Job, result: Json) -> None:
    result["mime_types"] = [mime_type(vector) for vector in job.call["vectors"]]


ASYNC_PLAYERS: dict[str, Callable[[dashgate.AsyncClient, Job, Json], Awaitable[None]]] = {
    "converse": async_converse,
    "stream": async_stream,
    "deltas": async_stream,
    "many": async_many,
    "dialogue": async_dialogue,
    "tools": async_tools,
    "upload": async_upload,
    "models": async_models,
    "model": async_model,
    "cancel_call": async_cancel_call,
    "sniff": async_sniff,
    "stored": async_stored_steps,
    "messages": async_messages,
    "structured": async_structured,
    "live": async_live,
    "speak": async_speak,
}
