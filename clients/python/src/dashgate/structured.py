"""Answers of a type of the caller."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc

from dashgate import v1
from dashgate._schema import (
    SchemaWriter,
    fields_of_dataclass,
    is_model,
    parse_json,
    parse_object,
    without_values,
)
from dashgate.answer import Answer
from dashgate.conversation import Conversation
from dashgate.errors import Error

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Schema(Generic[_Value]):
    """A type that an answer has: a JSON Schema, and a function that parses the text.

    Use it for types that are neither dataclasses nor models of pydantic. An exception of `parse` is
    an answer that is not valid, and its text is a part of the error.
    """

    name: str
    """The name of the schema: letters, digits, `_` and `-`."""
    schema: str | Mapping[str, Any]
    """The JSON Schema, as JSON text or as a mapping."""
    parse: Callable[[str], _Value]
    """Returns the value of an answer's text."""
    description: str = ""
    """The purpose of the answer, for the model."""

    @classmethod
    def of(cls, kind: type[_Value] | Schema[_Value]) -> Schema[_Value]:
        """Return the schema of a dataclass or of a model of pydantic."""
        if isinstance(kind, Schema):
            return kind
        if not isinstance(kind, type):
            raise TypeError(f"{kind!r} is no dataclass and no pydantic model: give a Schema")
        name = re.sub(r"[^A-Za-z0-9_-]", "_", kind.__name__)
        if is_model(kind):
            model: Any = kind

            def validate(text: str) -> _Value:
                value: _Value = without_values(model.model_validate_json, text, name)
                return value

            return cls(name, model.model_json_schema(), validate)
        if not dataclasses.is_dataclass(kind):
            raise TypeError(f"{kind!r} is no dataclass and no pydantic model: give a Schema")
        fields = fields_of_dataclass(kind)

        def parse(text: str) -> _Value:
            return kind(**parse_object(fields, parse_json(text, name), name))

        return cls(name, SchemaWriter().document(fields), parse, _description(kind))

    def options(self, options: v1.GenerationOptions | None) -> v1.GenerationOptions:
        """Return options that request an answer of this schema."""
        schema = self.schema
        if not isinstance(schema, str):
            schema = json.dumps(schema, ensure_ascii=False)
        both = v1.GenerationOptions()
        if options is not None:
            both.CopyFrom(options)
        form = v1.JsonSchema(
            name=self.name, description=self.description, schema=schema, strict=True
        )
        both.response_format.CopyFrom(v1.ResponseFormat(json_schema=form))
        return both

    def value(self, answer: Answer) -> _Value:
        """Return the value of an answer, or raise an error with the reason `OUTPUT_INVALID`."""
        try:
            return self.parse(answer.text)
        except Exception as why:
            error = Error(
                grpc.StatusCode.INTERNAL,
                f"the answer is not a valid {self.name}: {why}",
                raw_reason="OUTPUT_INVALID",
                request_id=answer.request_id,
                headers=answer.headers,
            )
            error.usage = answer.usage if answer.raw.HasField("usage") else None
            error.output_started = True
            error.model = answer.model
            error.upstream_request_id = answer.upstream_request_id
            raise error from why


def repairing(
    conversation: Conversation | v1.Conversation, answer: Answer, error: Error
) -> Conversation:
    """Return a copy of a conversation in which the model is shown an answer's error."""
    copy = v1.Conversation()
    copy.CopyFrom(conversation.raw if isinstance(conversation, Conversation) else conversation)
    shown = (
        f"{error.message}\nAnswer again, with JSON that conforms to the schema and nothing else."
    )
    return Conversation(raw=copy).append(answer).user(shown)


def _description(kind: type) -> str:
    text = inspect.getdoc(kind) or ""
    # A dataclass without a docstring has its signature.
    return "" if text.startswith(f"{kind.__name__}(") else text
