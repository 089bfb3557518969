"""An answer that is accumulated from the events of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct

from dashgate import v1

# The MIME type of the audio in a stream's events, unless its file names another one: 16-bit
# little-endian mono at 24 kHz.
STREAMED_AUDIO = "audio/pcm"


class Fold:
    """Accumulates the events of a stream."""

    def __init__(self) -> None:
        self.complete = False
        self.has_output = False
        self.begun = False
        self._response = v1.ConverseResponse()
        self._drafts: dict[int, _Draft] = {}

    def add(self, event: v1.ConverseStreamResponse) -> None:
        """Add the next event. Unset events are of a newer schema and are skipped."""
        kind = event.WhichOneof("event")
        self.begun = self.begun or kind != "heartbeat"
        if kind == "started":
            self._response.model = event.started.model
            self._response.upstream_request_id = event.started.upstream_request_id
            self._response.request_id = event.started.request_id
        elif kind == "delta":
            self.has_output = True
            self._add_delta(event.delta)
        elif kind == "completed":
            self._end(event.completed)

    def response(self) -> v1.ConverseResponse:
        """Return the accumulated response."""
        response = v1.ConverseResponse()
        response.CopyFrom(self._response)
        response.choices.extend(self._drafts[index].choice(index) for index in sorted(self._drafts))
        return response

    def _add_delta(self, delta: v1.Delta) -> None:
        kind = delta.WhichOneof("part")
        if kind is None:
            return
        if kind == "search_info":
            self._response.search_info.CopyFrom(delta.search_info)
            return
        draft = self._drafts.setdefault(delta.choice_index, _Draft())
        if kind == "text":
            draft.add_text(delta.text, delta.starts_part)
        elif kind == "reasoning_text":
            draft.reasoning.append(delta.reasoning_text)
        elif kind == "audio":
            draft.sound(delta.starts_part).pieces.append(delta.audio)
        elif kind == "tool_call":
            draft.add_tool_call(delta.tool_call)
        elif kind == "annotation":
            draft.rest.message.annotations.append(delta.annotation)
        elif kind == "image_uri":
            draft.parts.append(_Part(v1.Content(image=v1.Image(uri=delta.image_uri))))
        elif kind == "audio_file":
            draft.sound(delta.starts_part).file = delta.audio_file
        elif kind in ("extra", "message_extra"):
            draft.add_extra(delta)
        elif kind == "logprobs":
            draft.add_logprobs(delta.logprobs)

    def _end(self, completed: v1.Completed) -> None:
        self.complete = True
        for end in completed.choices:
            rest = self._drafts.setdefault(end.index, _Draft()).rest
            rest.finish_reason = end.finish_reason
            rest.raw_finish_reason = end.raw_finish_reason
            if end.HasField("extra"):
                rest.extra.CopyFrom(end.extra)
        if completed.HasField("usage"):
            self._response.usage.CopyFrom(completed.usage)
        if completed.HasField("timing"):
            self._response.timing.CopyFrom(completed.timing)
        if completed.HasField("extra_output"):
            self._response.extra_output.CopyFrom(completed.extra_output)
        if completed.HasField("extra"):
            self._response.extra.CopyFrom(completed.extra)
        if completed.HasField("history_used"):
            self._response.history_used.CopyFrom(completed.history_used)
        self._response.warnings.extend(completed.warnings)


def _merge(there: Struct, extra: Struct) -> None:
    """Merge fields into a struct; a new value replaces an old one."""
    there.SetInParent()
    for key, value in extra.fields.items():
        there.fields[key].CopyFrom(value)


def _named_type(file: v1.AudioFile | None) -> str:
    """Return the MIME type that the gateway names because it is not that of streamed audio."""
    if file is None or "mime_type" not in file.extra.fields:
        return ""
    named = file.extra.fields["mime_type"].string_value
    return named if named.startswith("audio/") else ""


@dataclass
class _Part:
    """An incomplete part. Texts are joined at the end: each append to a string copies it."""

    content: v1.Content
    pieces: list[str] | None = None


@dataclass
class _Call:
    call: v1.ToolCall
    arguments: list[str]


@dataclass
class _Sound:
    """An incomplete audio part."""

    pieces: list[bytes] = field(default_factory=list)
    file: v1.AudioFile | None = None

    def audio(self) -> v1.Audio:
        data = b"".join(self.pieces)
        if data:
            mime_type = _named_type(self.file) or STREAMED_AUDIO
            return v1.Audio(mime_type=mime_type, data=data, file=self.file)
        audio = v1.Audio(file=self.file)
        if self.file is not None and self.file.uri:
            audio.uri = self.file.uri
        return audio


@dataclass
class _Draft:
    """An incomplete choice."""

    parts: list[_Part] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    sounds: list[_Sound] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    rest: v1.Choice = field(default_factory=v1.Choice)

    def add_text(self, text: str, starts_part: bool) -> None:
        last = self.parts[-1].pieces if self.parts and not starts_part else None
        if last is not None:
            last.append(text)
        else:
            self.parts.append(_Part(v1.Content(), [text]))

    def add_extra(self, delta: v1.Delta) -> None:
        if delta.WhichOneof("part") == "message_extra":
            _merge(self.rest.message.extra, delta.message_extra)
            return
        if delta.starts_part or not self.parts:
            self.parts.append(_Part(v1.Content()))
        _merge(self.parts[-1].content.extra, delta.extra)

    def add_logprobs(self, logprobs: v1.Logprobs) -> None:
        self.rest.logprobs.content.extend(logprobs.content)
        self.rest.logprobs.SetInParent()
        if logprobs.HasField("extra"):
            _merge(self.rest.logprobs.extra, logprobs.extra)

    def sound(self, starts_part: bool) -> _Sound:
        if starts_part or not self.sounds:
            self.sounds.append(_Sound())
        return self.sounds[-1]

    def add_tool_call(self, piece: v1.ToolCall) -> None:
        known = self.calls.setdefault(piece.index, _Call(v1.ToolCall(index=piece.index), []))
        known.call.id = known.call.id or piece.id
        known.call.type = known.call.type or piece.type
        known.call.name += piece.name
        known.arguments.append(piece.arguments)
        if piece.HasField("extra"):
            _merge(known.call.extra, piece.extra)

    def choice(self, index: int) -> v1.Choice:
        choice = v1.Choice()
        choice.CopyFrom(self.rest)
        choice.index = index
        message = choice.message
        message.role = v1.ROLE_ASSISTANT
        message.reasoning_text = "".join(self.reasoning)
        for part in self.parts:
            content = message.content.add()
            content.CopyFrom(part.content)
            if part.pieces is not None:
                content.text = "".join(part.pieces)
        for sound in self.sounds:
            message.content.add(audio=sound.audio())
        for _, known in sorted(self.calls.items()):
            call = message.tool_calls.add()
            call.CopyFrom(known.call)
            call.arguments = "".join(known.arguments)
        return choice
