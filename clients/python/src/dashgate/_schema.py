"""JSON Schemas of Python types, and values of these types from JSON.

The types are those of annotations: texts, numbers, booleans, lists, dictionaries, literals, enums,
unions, dataclasses, and models of pydantic, which is optional. `Annotated[T, "text"]` has a
description.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from dashgate._printable import printable

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}

_Value = TypeVar("_Value")

_LISTS = (list, collections.abc.Sequence)
_UNIONS = (typing.Union, types.UnionType)
_REQUIRED = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True)
class Field:
    """A property of an object: a field of a dataclass, or a parameter of a function."""

    name: str
    kind: Any
    default: Any = _REQUIRED
    """Only whether there is one matters."""

    @property
    def is_required(self) -> bool:
        """Whether a value must be given."""
        return self.default is _REQUIRED


def fields_of_function(function: Callable[..., Any]) -> list[Field]:
    """Return the parameters of a function."""
    hints = typing.get_type_hints(function, include_extras=True)
    fields = []
    for parameter in inspect.signature(function).parameters.values():
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if parameter.kind not in named or parameter.name not in hints:
            raise TypeError(f"parameter {parameter} needs a name and a type")
        fields.append(Field(parameter.name, hints[parameter.name], parameter.default))
    return fields


def fields_of_dataclass(kind: Any) -> list[Field]:
    """Return the fields of a dataclass that its constructor takes."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        Field(field.name, hints[field.name], _default(field))
        for field in dataclasses.fields(kind)
        if field.init
    ]


def is_model(kind: Any) -> bool:
    """Return whether a type is a model of pydantic."""
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


class SchemaWriter:
    """Writes a schema, with the definitions that parts of it refer to."""

    def __init__(self) -> None:
        self._definitions: dict[str, Any] = {}
        self._open: list[Any] = []

    def document(self, fields: list[Field], description: str = "") -> dict[str, Any]:
        """Return the schema of an object."""
        schema = self._object(fields)
        if description:
            schema = {"description": description, **schema}
        if self._definitions:
            schema["$defs"] = self._definitions
        return schema

    def _object(self, fields: list[Field]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {field.name: self._type(field.kind) for field in fields},
            "required": [field.name for field in fields if field.is_required],
            "additionalProperties": False,
        }

    def _type(self, kind: Any) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind of type
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if origin is typing.Annotated:
            texts = [text for text in arguments[1:] if isinstance(text, str)]
            return {**self._type(arguments[0]), **({"description": texts[0]} if texts else {})}
        if origin in _UNIONS:
            return {"anyOf": [self._type(argument) for argument in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin in _LISTS:
            return {"type": "array", "items": self._type(arguments[0])}
        if origin in (dict, collections.abc.Mapping) and arguments[0] is str:
            return {"type": "object", "additionalProperties": self._type(arguments[1])}
        if isinstance(kind, type):
            return self._class(kind)
        raise TypeError(f"{kind} has no JSON Schema: give one")

    def _class(self, kind: type) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        if is_model(kind):
            return self._model(kind)
        if not dataclasses.is_dataclass(kind):
            raise TypeError(f"{kind.__qualname__} has no JSON Schema: give one")
        if kind in self._open:
            raise TypeError(f"{kind.__qualname__} contains itself: give its JSON Schema")
        self._open.append(kind)
        schema = self._object(fields_of_dataclass(kind))
        self._open.pop()
        return schema

    def _model(self, kind: Any) -> dict[str, Any]:
        """Return the schema of a model. Classes of one name have definitions of their own."""
        suffix, number = "", 1
        while True:
            template = f"#/$defs/{{model}}{suffix}"
            schema: dict[str, Any] = kind.model_json_schema(ref_template=template)
            found = {f"{name}{suffix}": each for name, each in schema.pop("$defs", {}).items()}
            if all(self._definitions.get(name, each) == each for name, each in found.items()):
                self._definitions.update(found)
                return schema
            number += 1
            suffix = f"_{number}"


def parse_json(text: str, at: str) -> Any:
    """Return the value of a JSON text. Raises `ValueError` with the position."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        why = f"{at}: not JSON at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        why = f"{at}: not JSON, or too deep, or with a number that is too long"
    # Not from the error of the parser, which has the whole text.
    raise ValueError(why)


def without_values(validate: Callable[[Any], _Value], value: Any, at: str) -> _Value:
    """Return what pydantic makes of a value. Its errors have places and reasons, but no values."""
    try:
        return validate(value)
    except ValueError as error:
        why = _explained(error, at)
    raise ValueError(why)


def _explained(error: Any, at: str) -> str:
    """Return the text of an error of pydantic, or the kind of another one."""
    if not hasattr(error, "errors"):
        return f"{at}: {type(error).__name__}"
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{at}{''.join(f'.{printable(str(each))}' for each in detail['loc'])}: {detail['msg']}"
        for detail in details
    )


def parse_object(fields: list[Field], value: Any, at: str) -> dict[str, Any]:
    """Return the values of an object's properties. Raises `ValueError` with the place."""
    if not isinstance(value, Mapping):
        _refuse(at, value, "an object")
    known = {field.name: field for field in fields}
    for name in value:
        if name not in known:
            raise ValueError(f"{at}.{printable(name)}: not known")
    for field in fields:
        if field.is_required and field.name not in value:
            raise ValueError(f"{at}.{field.name}: missing")
    return {name: _parse(known[name].kind, each, f"{at}.{name}") for name, each in value.items()}


def _parse(kind: Any, value: Any, at: str) -> Any:  # noqa: PLR0911 - one for each kind of type
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _plain(kind, value, at)
    if origin is typing.Annotated:
        return _parse(arguments[0], value, at)
    if origin in _UNIONS:
        return _first(arguments, value, at)
    if origin is typing.Literal:
        return _member(dict(zip(arguments, arguments, strict=True)), value, at)
    if origin in _LISTS:
        if not isinstance(value, list):
            _refuse(at, value, "a list")
        return [_parse(arguments[0], each, f"{at}[{index}]") for index, each in enumerate(value)]
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, Mapping):
            _refuse(at, value, "an object")
        return {
            name: _parse(arguments[1], each, f"{at}.{printable(name)}")
            for name, each in value.items()
        }
    if issubclass(kind, enum.Enum):
        return _member({member.value: member for member in kind}, value, at)
    if is_model(kind):
        return without_values(kind.model_validate, value, at)
    return kind(**parse_object(fields_of_dataclass(kind), value, at))


def _plain(kind: Any, value: Any, at: str) -> Any:
    if kind is Any:
        return value
    if kind is float and type(value) is int:
        return float(value)
    # JSON has one type of numbers.
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    # A boolean is an integer of Python.
    if type(value) is not kind:
        _refuse(at, value, _PLAIN[kind]["type"])
    return value


def _first(kinds: tuple[Any, ...], value: Any, at: str) -> Any:
    errors = []
    for kind in kinds:
        try:
            return _parse(kind, value, at)
        except ValueError as error:
            errors.append(str(error))
    raise ValueError(" or ".join(errors))


def _member(members: Mapping[Any, Any], value: Any, at: str) -> Any:
    for known, member in members.items():
        if type(known) is type(value) and known == value:
            return member
    raise ValueError(f"{at}: not one of {', '.join(map(repr, members))}")


def _refuse(at: str, value: Any, wanted: str) -> NoReturn:
    found = "null" if value is None else type(value).__name__
    raise ValueError(f"{at}: {found}, not {wanted}")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return _REQUIRED
    return None


def to_text(value: Any) -> str:
    """Return a value as JSON; a text is returned unchanged."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=_plain_value)


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if is_model(type(value)):
        return value.model_dump(mode="json")
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"{type(value).__qualname__} cannot be written as JSON")
