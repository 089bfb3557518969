"""Runs one case of tests/conformance: a job on standard input, a result on standard output."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import pathlib
import sys
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from google.protobuf import json_format
from live_steps import async_live, async_speak, live, speak
from messages import BadJobError, Json, plain

import dashgate
from dashgate import v1

CANCELLED: Json = {"code": "CANCELLED"}
CALL = {"do", "conversation", "options", "request_id", "timeout_ms", "metadata", "cancel"}
KEYS: dict[str, set[str]] = {
    "converse": CALL,
    "stream": CALL | {"resume"},
    "deltas": CALL | {"resume"},
    "many": CALL | {"count"},
    "dialogue": {"do", "model", "system", "turns", "options", "stream"},
    "tools": {"do", "model", "question", "tools", "results", "max_rounds"},
    "upload": {"do", "model", "file", "mime_type", "name", "then"},
    "models": {"do", "page_size"},
    "model": {"do", "name"},
    "cancel_call": {"do", "request_id"},
    "sniff": {"do", "vectors"},
    "live": {"do", "setup", "steps", "timeout_ms", "metadata"},
    "speak": {"do", "setup", "steps", "timeout_ms", "metadata"},
}


def only(given: Iterable[str], known: Iterable[str], where: str) -> None:
    if unknown := set(given) - set(known):
        raise BadJobError(f"{where} has unknown keys: {', '.join(sorted(unknown))}")


def seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


class Job:
    """The job of a client."""

    def __init__(self, job: Json) -> None:
        only(job, {"target", "options", "call"}, "the job")
        options = job.get("options", {})
        only(options, {"api_key", "tls", "timeout_ms", "idle_timeout_ms", "metadata"}, "options")
        self.client: Json = {
            "target": job["target"],
            "api_key": options.get("api_key"),
            "timeout": seconds(options.get("timeout_ms")),
            "idle_timeout": seconds(options.get("idle_timeout_ms")),
            "metadata": options.get("metadata"),
        }
        if "tls" in options:
            tls = options["tls"]
            only(tls, {"ca_file", "cert_file", "key_file", "server_name"}, "tls")
            self.client["tls"] = dashgate.TLS(
                ca=tls.get("ca_file"),
                certificate=tls.get("cert_file"),
                key=tls.get("key_file"),
                server_name=tls.get("server_name", ""),
            )
        self.call: Json = job["call"]
        self.do: str = self.call["do"]
        if self.do not in KEYS:
            raise BadJobError(f"unknown call: {self.do}")
        only(self.call, KEYS[self.do], self.do)
        self.cancel: Json = self.call.get("cancel", {})
        only(self.cancel, {"after_ms", "after_events"}, "cancel")

    def conversation(self) -> v1.Conversation:
        return json_format.ParseDict(self.call.get("conversation", {}), v1.Conversation())

    def options(self) -> v1.GenerationOptions | None:
        if "options" not in self.call:
            return None
        return json_format.ParseDict(self.call["options"], v1.GenerationOptions())

    def arguments(self) -> Json:
        return {
            "options": self.options(),
            "request_id": self.call.get("request_id", ""),
            "timeout": seconds(self.call.get("timeout_ms")),
            "metadata": self.call.get("metadata"),
        }

    def stream_arguments(self) -> Json:
        return self.arguments() | {"resume": self.call.get("resume", True)}

    def session(self) -> Json:
        return {
            "timeout": seconds(self.call.get("timeout_ms")),
            "metadata": self.call.get("metadata"),
        }

    def live_setup(self) -> v1.LiveSetup:
        return json_format.ParseDict(self.call["setup"], v1.LiveSetup())

    def speech_setup(self) -> v1.SynthesisSetup:
        return json_format.ParseDict(self.call["setup"], v1.SynthesisSetup())

    def steps(self) -> list[tuple[str, Any]]:
        steps = [list(step.items()) for step in self.call["steps"]]
        if any(len(step) != 1 for step in steps):
            raise BadJobError("a step has more or less than one key")
        return [step[0] for step in steps]

    def tools(self, result: Json) -> list[dashgate.Tool]:
        def function(name: str) -> Callable[[str], str]:
            def run(arguments: str) -> str:
                result["tool_calls"].append({"name": name, "arguments": arguments})
                return str(self.call["results"][name])

            return run

        return [
            dashgate.Tool(
                name=tool["name"],
                description=tool.get("description", ""),
                parameters=tool.get("parameters", ""),
                function=function(tool["name"]),
            )
            for tool in self.call["tools"]
        ]


MEDIA: dict[str, Callable[..., v1.Content]] = {
    "audio": dashgate.audio,
    "image": dashgate.image,
    "video": dashgate.video,
}


def part(spec: Json, uploaded: str = "") -> v1.Content | str:
    """Return a part, created with the public helpers."""
    keys = [key for key in spec if key != "mime_type"]
    if len(keys) != 1:
        raise BadJobError(f"a content spec has {len(keys)} kinds")
    key, value = keys[0], spec[keys[0]]
    if key == "text":
        return str(value)
    mime_type = spec.get("mime_type", "")
    if key == "uploaded":
        return MEDIA[value](uploaded, mime_type=mime_type)
    if key == "video_frames":
        return dashgate.video([pathlib.Path(frame) for frame in value], mime_type=mime_type)
    kind, _, form = key.partition("_")
    sources: dict[str, Callable[[str], Any]] = {
        "file": pathlib.Path,
        "bytes_of": lambda file: pathlib.Path(file).read_bytes(),
        "uri": str,
    }
    if kind not in MEDIA or form not in sources:
        raise BadJobError(f"unknown content spec: {key}")
    return MEDIA[kind](sources[form](value), mime_type=mime_type)


def parts(specs: list[Json], uploaded: str = "") -> list[v1.Content | str]:
    return [part(spec, uploaded) for spec in specs]


def mime_type(vector: Json) -> str:
    only(vector, {"file"}, "a vector")
    return dashgate.audio(vector["file"]).audio.mime_type


def answer_json(answer: dashgate.Answer) -> Json:
    number = answer.finish_reason
    names = v1.FinishReason.DESCRIPTOR.values_by_number
    return {
        "text": answer.text,
        "reasoning_text": answer.reasoning_text,
        "finish_reason": names[number].name if number in names else number,
        "raw_finish_reason": answer.raw_finish_reason,
        "audio_bytes": len(answer.audio),
        "audio_crc32": zlib.crc32(answer.audio),
        "tool_calls": [plain(call) for call in answer.tool_calls],
        "request_id": answer.request_id,
        "upstream_request_id": answer.upstream_request_id,
        "model": answer.model,
        "usage": plain(answer.usage),
        "message": plain(answer.message),
        "raw": plain(answer.raw),
    }


def answered(result: Json, answer: dashgate.Answer) -> None:
    result.setdefault("answers", []).append(answer_json(answer))


def failed(error: dashgate.Error) -> Json:
    retry_after = error.retry_after
    reasons = v1.ErrorReason.DESCRIPTOR.values_by_number
    every: Json = {
        "code": error.code.name,
        "reason": reasons[error.reason].name if error.reason in reasons and error.reason else "",
        "raw_reason": error.raw_reason,
        "model": error.model,
        "message": error.message,
        "upstream_code": error.upstream_code,
        "upstream_http_status": error.upstream_http_status,
        "upstream_request_id": error.upstream_request_id,
        "request_id": error.request_id,
        "attempts": error.attempts,
        "field_violations": [
            {"field": violation.field, "description": violation.description}
            for violation in error.field_violations
        ],
    }
    there = {key: value for key, value in every.items() if value}
    there |= {"output_started": error.output_started, "retryable": error.retryable}
    if error.usage is not None:
        there["usage"] = plain(error.usage)
    if retry_after is not None:
        there["retry_after_ms"] = round(retry_after * 1000)
    return there


def play(job: Job, result: Json) -> None:
    """Run the job with the synchronous client."""
    with dashgate.Client(**job.client) as client:
        try:
            PLAYERS[job.do](client, job, result)
        except dashgate.Error as error:
            result["error"] = failed(error)
        except concurrent.futures.CancelledError:
            result["error"] = CANCELLED


def converse(client: dashgate.Client, job: Job, result: Json) -> None:
    pending = client.converse_future(job.conversation(), **job.arguments())
    if "after_ms" in job.cancel:
        threading.Timer(job.cancel["after_ms"] / 1000, pending.cancel).start()
    answered(result, pending.result())


def stream(client: dashgate.Client, job: Job, result: Json) -> None:
    with client.stream(job.conversation(), **job.stream_arguments()) as events:
        if "after_ms" in job.cancel:
            threading.Timer(job.cancel["after_ms"] / 1000, events.cancel).start()
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
    conversation = dashgate.Conversation(job.call["model"], job.call.get("system", ""))
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


def tools(client: dashgate.Client, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    rounds = {"max_rounds": job.call["max_rounds"]} if "max_rounds" in job.call else {}
    try:
        answer = client.run_tools(conversation, job.tools(result), **rounds)
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
    "live": live,
    "speak": speak,
}


async def play_async(job: Job, client: dashgate.AsyncClient, result: Json) -> None:
    """Run the job with the client for asyncio, which was created outside this loop."""
    async with client:
        task = asyncio.ensure_future(ASYNC_PLAYERS[job.do](client, job, result))
        if "after_ms" in job.cancel:
            asyncio.get_running_loop().call_later(job.cancel["after_ms"] / 1000, task.cancel)
        try:
            await task
        except dashgate.Error as error:
            result["error"] = failed(error)
        except asyncio.CancelledError:
            result["error"] = CANCELLED


async def async_converse(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    answer = await client.converse(job.conversation(), **job.arguments())
    answered(result, answer)


async def async_stream(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    events = client.stream(job.conversation(), **job.stream_arguments())
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
    conversation = dashgate.Conversation(job.call["model"], job.call.get("system", ""))
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


async def async_tools(client: dashgate.AsyncClient, job: Job, result: Json) -> None:
    conversation = dashgate.Conversation(job.call["model"]).user(job.call["question"])
    rounds = {"max_rounds": job.call["max_rounds"]} if "max_rounds" in job.call else {}
    try:
        answer = await client.run_tools(conversation, job.tools(result), **rounds)
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
    "live": async_live,
    "speak": async_speak,
}

# Reported even if empty.
TOLD = {
    "stream": "events",
    "deltas": "deltas",
    "tools": "tool_calls",
    "live": "live",
    "speak": "speech",
}


def main() -> int:
    try:
        only(sys.argv[1:], {"sync", "asyncio"}, "the command line")
        job = Job(json.load(sys.stdin))
        result: Json = {TOLD[job.do]: []} if job.do in TOLD else {}
        begun = time.monotonic()
        if "asyncio" in sys.argv:
            asyncio.run(play_async(job, dashgate.AsyncClient(**job.client), result))
        else:
            play(job, result)
        result["elapsed_ms"] = round((time.monotonic() - begun) * 1000)
    except Exception as error:
        print(f"runner: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    json.dump(result, sys.stdout, ensure_ascii=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
