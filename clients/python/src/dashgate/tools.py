"""Functions that the model may call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

from dashgate import v1
from dashgate._schema import (
    Field,
    SchemaWriter,
    fields_of_function,
    parse_json,
    parse_object,
    to_text,
)
from dashgate._types import wrong_type


@dataclass(frozen=True)
class Tool:
    """A function that the model may call.

    `tool` makes one from a function with types. `parameters` is the JSON Schema of the arguments,
    as JSON text or as a mapping. `function` receives the arguments as JSON text, as written by the
    model, which may be invalid, and returns the result as text. With an `AsyncClient` it may be a
    coroutine function.
    """

    name: str
    """The name: letters, digits, `_` and `-`."""
    description: str
    """What the function does, and when to call it."""
    parameters: str | Mapping[str, Any]
    """The JSON Schema of the arguments."""
    function: Callable[[str], str | Awaitable[str]]
    """The function."""

    def declaration(self) -> v1.Tool:
        """Return the declaration of the tool for the model."""
        schema = self.parameters
        if not isinstance(schema, str):
            schema = json.dumps(schema, ensure_ascii=False)
        return v1.Tool(
            function=v1.FunctionTool(
                name=self.name, description=self.description, parameters=schema
            )
        )


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...


@overload
def tool(*, name: str = "", description: str = "") -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None, /, *, name: str = "", description: str = ""
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Return a tool from a function with types, also as a decorator.

    The name is that of the function, the description its docstring, and the schema that of its
    parameters: texts, numbers, booleans, lists, dictionaries, `Literal`, enums, unions, dataclasses
    and models of pydantic. `Annotated[str, "text"]` has a description. The function takes the typed
    values; a result that is no text is written as JSON. Arguments that do not fit are answered with
    an error, so that the model can correct them.
    """
    if function is None:
        return lambda given: _typed(given, name, description)
    return _typed(function, name, description)


def checked_tool(given: object) -> Tool:
    """Return a tool, or raise the error of something else, such as a function."""
    if isinstance(given, Tool):
        return given
    if callable(given):
        name = getattr(given, "__name__", repr(given))
        raise TypeError(f"{name} is a function and not a tool: write @dashgate.tool before it")
    raise wrong_type("a tool", given, "a dashgate.Tool: @dashgate.tool makes one of a function")


def _typed(function: Callable[..., Any], name: str, description: str) -> Tool:
    fields = fields_of_function(function)
    return Tool(
        name=name or function.__name__,
        description=description or inspect.getdoc(function) or "",
        parameters=SchemaWriter().document(fields),
        function=_taking_text(function, fields),
    )


def _taking_text(
    function: Callable[..., Any], fields: list[Field]
) -> Callable[[str], str | Awaitable[str]]:
    def arguments_of(text: str) -> dict[str, Any]:
        return parse_object(fields, parse_json(text or "{}", "arguments"), "arguments")

    def run(text: str) -> str:
        try:
            arguments = arguments_of(text)
        except (ValueError, OverflowError, RecursionError) as error:
            return _invalid(error)
        return to_text(function(**arguments))

    async def run_async(text: str) -> str:
        try:
            arguments = arguments_of(text)
        except (ValueError, OverflowError, RecursionError) as error:
            return _invalid(error)
        return to_text(await function(**arguments))

    return run_async if inspect.iscoroutinefunction(function) else run


def _invalid(error: Exception) -> str:
    return json.dumps({"error": f"invalid arguments: {error}"}, ensure_ascii=False)
