"""An answer, and how the events of a stream add up to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dashgate import v1

# What the bytes in a stream's events are.
STREAMED_AUDIO = "audio/pcm"


class Answer:
    """What the model answered.

    The short names are of the first choice, which is the only one unless `options.n` asked for
    more.
    """

    def __init__(self, raw: v1.ConverseResponse) -> None:
        self.raw = raw
        """The whole message, with all that has no short name."""

    @property
    def text(self) -> str:
        """All that was said, without the thoughts."""
        return "".join(part.text for part in self.message.content)

    @property
    def reasoning_text(self) -> str:
        """What the model thought before it spoke."""
        return self.message.reasoning_text

    @property
    def message(self) -> v1.Message:
        """The answer as a turn, to be appended to the conversation."""
        return self.raw.choices[0].message if self.raw.choices else v1.Message()

    @property
    def tool_calls(self) -> Sequence[v1.ToolCall]:
        """The tools that the model asks for."""
        return self.message.tool_calls

    @property
    def audio(self) -> bytes:
        """The sound of the answer: 16-bit little-endian mono PCM at 24 kHz by default."""
        return b"".join(part.audio.data for part in self.message.content)

    @property
    def finish_reason(self) -> v1.FinishReason.ValueType:
        """Why the answer ended. A number that is none of the enum's is of a newer gateway."""
        if not self.raw.choices:
            return v1.FINISH_REASON_UNSPECIFIED
        return self.raw.choices[0].finish_reason

    @property
    def raw_finish_reason(self) -> str:
        """The same in DashScope's own word."""
        return self.raw.choices[0].raw_finish_reason if self.raw.choices else ""

    @property
    def choices(self) -> Sequence[v1.Choice]:
        """All the answers."""
        return self.raw.choices

    @property
    def usage(self) -> v1.Usage:
        """What the call used, as DashScope counted."""
        return self.raw.usage

    @property
    def timing(self) -> v1.Timing:
        """How long the call took, as the gateway saw it."""
        return self.raw.timing

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.raw.model

    @property
    def request_id(self) -> str:
        """The name of the call, as in the gateway's log."""
        return self.raw.request_id

    @property
    def upstream_request_id(self) -> str:
        """DashScope's name of the call, for its support."""
        return self.raw.upstream_request_id

    def __repr__(self) -> str:
        return f"Answer(text={self.text!r}, request_id={self.request_id!r})"


class Fold:
    """Adds the events of a stream up."""

    def __init__(self) -> None:
        self.complete = False
        self._response = v1.ConverseResponse()
        self._drafts: dict[int, _Draft] = {}

    def add(self, event: v1.ConverseStreamResponse) -> None:
        """Take the next event. What is unset is of a newer schema, and is skipped."""
        kind = event.WhichOneof("event")
        if kind == "started":
            self._response.model = event.started.model
            self._response.upstream_request_id = event.started.upstream_request_id
            self._response.request_id = event.started.request_id
        elif kind == "delta":
            self._add_delta(event.delta)
        elif kind == "completed":
            self._end(event.completed)

    def response(self) -> v1.ConverseResponse:
        """Put what has come into one message."""
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
            draft.add_text(delta.text)
        elif kind == "reasoning_text":
            draft.reasoning.append(delta.reasoning_text)
        elif kind == "audio":
            draft.audio.append(delta.audio)
        elif kind == "tool_call":
            draft.add_tool_call(delta.tool_call)
        elif kind == "annotation":
            draft.rest.message.annotations.append(delta.annotation)
        elif kind == "image_uri":
            draft.parts.append(_Part(v1.Content(image=v1.Image(uri=delta.image_uri))))
        elif kind == "audio_file":
            draft.audio_file = delta.audio_file
        elif kind == "extra":
            draft.add_extra(delta)
        elif kind == "logprobs":
            draft.rest.logprobs.MergeFrom(delta.logprobs)
            draft.rest.logprobs.SetInParent()

    def _end(self, completed: v1.Completed) -> None:
        self.complete = True
        for end in completed.choices:
            rest = self._drafts.setdefault(end.index, _Draft()).rest
            rest.finish_reason = end.finish_reason
            rest.raw_finish_reason = end.raw_finish_reason
        if completed.HasField("usage"):
            self._response.usage.CopyFrom(completed.usage)
        if completed.HasField("timing"):
            self._response.timing.CopyFrom(completed.timing)
        if completed.HasField("extra_output"):
            self._response.extra_output.CopyFrom(completed.extra_output)


@dataclass
class _Part:
    """A part in the making. Texts are joined at the end: adding to a string copies it each time."""

    content: v1.Content
    pieces: list[str] | None = None


@dataclass
class _Call:
    call: v1.ToolCall
    arguments: list[str]


@dataclass
class _Draft:
    """An answer in the making."""

    parts: list[_Part] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    audio_file: v1.AudioFile | None = None
    calls: dict[int, _Call] = field(default_factory=dict)
    rest: v1.Choice = field(default_factory=v1.Choice)

    def add_text(self, text: str) -> None:
        if self.parts and (pieces := self.parts[-1].pieces) is not None:
            pieces.append(text)
        else:
            self.parts.append(_Part(v1.Content(), [text]))

    def add_extra(self, delta: v1.Delta) -> None:
        if not self.parts:
            self.parts.append(_Part(v1.Content()))
        extra = self.parts[-1].content.extra
        extra.SetInParent()
        for key, value in delta.extra.fields.items():
            extra.fields[key].CopyFrom(value)

    def add_tool_call(self, piece: v1.ToolCall) -> None:
        known = self.calls.setdefault(piece.index, _Call(v1.ToolCall(index=piece.index), []))
        known.call.id = known.call.id or piece.id
        known.call.type = known.call.type or piece.type
        known.call.name = known.call.name or piece.name
        known.arguments.append(piece.arguments)

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
        if (sound := self._sound()) is not None:
            message.content.add(audio=sound)
        for _, known in sorted(self.calls.items()):
            call = message.tool_calls.add()
            call.CopyFrom(known.call)
            call.arguments = "".join(known.arguments)
        return choice

    def _sound(self) -> v1.Audio | None:
        data = b"".join(self.audio)
        if data:
            return v1.Audio(mime_type=STREAMED_AUDIO, data=data, file=self.audio_file)
        if self.audio_file is not None:
            return v1.Audio(uri=self.audio_file.uri, file=self.audio_file)
        return None
