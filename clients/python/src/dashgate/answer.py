"""An answer of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from dashgate import v1


class Answer:
    """The complete answer of a model.

    Properties return values of the first choice, which is the only one unless `options.n` is above
    1.
    """

    def __init__(self, raw: v1.ConverseResponse, headers: Mapping[str, str] | None = None) -> None:
        self.raw = raw
        """The response of the schema."""
        self.headers: Mapping[str, str] = dict(headers or {})
        """The metadata of the response: initial metadata and trailers, with names in lower case and
        without binary ones."""

    @property
    def text(self) -> str:
        """The text of the answer, without reasoning."""
        return "".join(part.text for part in self.message.content)

    @property
    def reasoning_text(self) -> str:
        """The reasoning of the answer."""
        return self.message.reasoning_text

    @property
    def message(self) -> v1.Message:
        """The answer as a message, for `Conversation.append`."""
        return self.raw.choices[0].message if self.raw.choices else v1.Message()

    @property
    def tool_calls(self) -> Sequence[v1.ToolCall]:
        """The tool calls of the answer."""
        return self.message.tool_calls

    @property
    def audio(self) -> bytes:
        """The audio of the answer: 16-bit little-endian mono PCM at 24 kHz by default.

        The MIME type of its part names another format.
        """
        return b"".join(part.audio.data for part in self.message.content)

    @property
    def finish_reason(self) -> v1.FinishReason.ValueType:
        """Why the answer ended. A number without a name is a reason of a newer gateway."""
        if not self.raw.choices:
            return v1.FINISH_REASON_UNSPECIFIED
        return self.raw.choices[0].finish_reason

    @property
    def raw_finish_reason(self) -> str:
        """The finish reason as received from DashScope."""
        return self.raw.choices[0].raw_finish_reason if self.raw.choices else ""

    @property
    def choices(self) -> Sequence[v1.Choice]:
        """All choices."""
        return self.raw.choices

    @property
    def usage(self) -> v1.Usage:
        """The usage of the call, as counted by DashScope."""
        return self.raw.usage

    @property
    def timing(self) -> v1.Timing:
        """How long the call took, as measured by the gateway."""
        return self.raw.timing

    @property
    def warnings(self) -> Sequence[v1.Warning]:
        """The warnings, for example that audio was truncated. Usually empty."""
        return self.raw.warnings

    @property
    def model(self) -> str:
        """The model that answered, after the gateway's mapping."""
        return self.raw.model

    @property
    def request_id(self) -> str:
        """The request id, as in the gateway's log."""
        return self.raw.request_id

    @property
    def upstream_request_id(self) -> str:
        """DashScope's request id, for its support."""
        return self.raw.upstream_request_id

    def to_dict(self) -> dict[str, Any]:
        """Return the response in the JSON form of the schema, as a dictionary."""
        return json_format.MessageToDict(self.raw)

    def to_json(self) -> str:
        """Return the response in the JSON form of the schema."""
        return json_format.MessageToJson(self.raw, indent=None, ensure_ascii=False)

    def __repr__(self) -> str:
        return f"Answer(text={self.text!r}, request_id={self.request_id!r})"
