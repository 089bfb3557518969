"""What each kind of job does with the synchronous client."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import threading
from collections.abc import Callable

from job import City, Job, mime_type, parts
from live_steps import live, speak
from messages import Json, plain
from report import CANCELLED, answer_json, answered, partial
from stored_steps import stored_steps

import dashgate


def converse(client: dashgate.Client, job: Job, result: Json) -> None:
    pending = client.converse_future(job.conversation(), **job.arguments())
    if "after_ms" in job.cancel:
        threading.Timer(job.cancel["after_ms"] / 1000, pending.cancel).start()
    answered(result, pending.result())


def stream(client: dashgate.Client, job: Job, result: Json) -> None:
    with client.stream(job.conversation(), **job.stream_arguments()) as events:
        if "after_ms" in job.cancel:
            threading.Timer(job.cancel["after_ms"] / 1000, events.cancel).start()
        try:
            read(events, job, result)
        finally:
            if "answers" not in result:
                partial(result, events.partial)


def read(events: dashgate.Stream, job: Job, result: Json) -> None:
    if job.do == "deltas":
        for text in events.text_deltas():
            result["deltas"].append(text)
            if len(result["deltas"]) == job.cancel.get("after_events"):
                result["error"] = CANCELLED
                return
    else:
        for event in events:
            result["events"].append(plain(event))
            if len(result["events"]) == job.cancel.get("after_events"):
                # The end of the `with` cancels the call.
                result["error"] = CANCELLED
                return
    answered(result, events.final())


def many(client: dashgate.Client, job: Job, result: Json) -> None:
    def one(_: int) -> Json:
        return answer_json(client.stream(job.conversation(), **job.stream_arguments()).final())

    count = job.call["count"]
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        result["answers"] = list(threads.map(one, range(count)))


def dialogue(client: dashgate.Client, job: Job, result: Json) -> None:
    conversation = job.dialogue()
    if "name" in job.call:
        client.create_conversation(job.call["name"].partition("/")[2], model=job.call["model"])
    try:
        for turn in job.call["turns"]:
            conversation.user(*parts(turn))
            if job.call.get("stream"):
                answer = client.stream(conversation, options=job.options()).final()
            else:
                answer = client.converse(conversation, options=job.options())
            conversation.append(answer)
            answered(result, answer)
    finally:
        result["conversation"] = plain(conversation.raw)
        if conversation.last_turn is not None:
            result["last_turn"] = conversation.last_turn


def tools(client: dashgate.Client, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    try:
        if job.call.get("stream"):
            loop = client.stream_tools(conversation, job.tools(result), **job.loop())
            result["events"] = []
            for event in loop:
                result["events"].append(plain(event))
            answer = loop.final()
        else:
            answer = client.run_tools(conversation, job.tools(result), **job.loop())
        answered(result, answer)
    finally:
        result["conversation"] = plain(conversation.raw)


def upload(client: dashgate.Client, job: Job, result: Json) -> None:
    model = job.call["model"]
    more = {key: job.call[key] for key in ("mime_type", "name") if key in job.call}
    uploaded = client.upload(model, pathlib.Path(job.call["file"]), **more)
    result["uploads"] = [plain(uploaded)]
    if "then" in job.call:
        conversation = dashgate.Conversation(model)
        conversation.user(*parts(job.call["then"], uploaded.uri))
        answered(result, client.converse(conversation))


def models(client: dashgate.Client, job: Job, result: Json) -> None:
    for found in client.list_models(page_size=job.call.get("page_size", 0)):
        result.setdefault("models", []).append(plain(found))


def model(client: dashgate.Client, job: Job, result: Json) -> None:
    result["models"] = [plain(client.get_model(job.call["name"]))]


def messages(_: dashgate.Client, job: Job, result: Json) -> None:
    result["conversation"] = plain(job.messages().raw)


def structured(client: dashgate.Client, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    repair = job.call.get("repair", False)
    value, answer = client.converse_as(City, conversation, repair=repair)
    result["value"] = dataclasses.asdict(value)
    answered(result, answer)


def cancel_call(client: dashgate.Client, job: Job, _: Json) -> None:
    client.cancel_call(job.call["request_id"])


def sniff(_: dashgate.Client, job: Job, result: Json) -> None:
    result["mime_types"] = [mime_type(vector) for vector in job.call["vectors"]]


PLAYERS: dict[str, Callable[[dashgate.Client, Job, Json], None]] = {
    "converse": converse,
    "stream": stream,
    "deltas": stream,
    "many": many,
    "dialogue": dialogue,
    "tools": tools,
    "upload": upload,
    "models": models,
    "model": model,
    "cancel_call": cancel_call,
    "sniff": sniff,
    "stored": stored_steps,
    "messages": messages,
    "structured": structured,
    "live": live,
    "speak": speak,
}
