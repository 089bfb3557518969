"""A job, and what it hands to the library."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from messages import BadJobError, Json

import dashgate
from dashgate import v1

OPTIONS = {"api_key", "tls", "timeout_ms", "idle_timeout_ms", "metadata", "max_retries"}
CALL = {
    *("do", "conversation", "options", "request_id", "timeout_ms", "metadata", "cancel"),
    *("max_retries", "expected_turn", "history"),
}
KEYS: dict[str, set[str]] = {
    "converse": CALL,
    "stream": CALL | {"resume"},
    "deltas": CALL | {"resume"},
    "many": CALL | {"count"},
    "dialogue": {"do", "model", "system", "name", "turns", "options", "stream"},
    "tools": {
        *("do", "model", "question", "tools", "results", "max_rounds", "stream", "parallel"),
    },
    "stored": {"do", "steps"},
    "messages": {"do", "model", "messages"},
    "structured": {"do", "model", "question", "repair"},
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


def history(call: Json) -> v1.HistoryPolicy | None:
    if "history" not in call:
        return None
    return json_format.ParseDict(call["history"], v1.HistoryPolicy())


@dataclass(frozen=True)
class City:
    """The type of structured answers."""

    name: str
    people: int
    rivers: list[str]


class Job:
    """The job of a client."""

    def __init__(self, job: Json) -> None:
        only(job, {"target", "options", "call"}, "the job")
        options = job.get("options", {})
        only(options, OPTIONS, "options")
        self.client: Json = {
            "target": job["target"],
            "api_key": options.get("api_key"),
            "timeout": seconds(options.get("timeout_ms")),
            "idle_timeout": seconds(options.get("idle_timeout_ms")),
            "metadata": options.get("metadata"),
            "max_retries": options.get("max_retries", 0),
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
            "max_retries": self.call.get("max_retries"),
            "expected_turn": self.call.get("expected_turn"),
            "history": history(self.call),
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

    def dialogue(self) -> dashgate.Conversation:
        return dashgate.Conversation(
            self.call["model"], self.call.get("system", ""), name=self.call.get("name", "")
        )

    def loop(self) -> Json:
        return {key: self.call[key] for key in ("max_rounds", "parallel") if key in self.call}

    def messages(self) -> dashgate.Conversation:
        conversation = dashgate.Conversation.from_messages(
            self.call["model"], self.call["messages"]
        )
        return dashgate.Conversation.from_json(conversation.to_json())

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
