"""The errors of arguments that have another type than a function takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wrong_type(name: str, value: object, expected: str) -> TypeError:
    """Return the error of an argument. It does not have the value, which may be a secret."""
    kind = value.__name__ if isinstance(value, type) else type(value).__name__
    return TypeError(f"{name} is of type {kind}; it must be {expected}")


def check_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Raise an error if metadata is no mapping of texts."""
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise wrong_type("metadata", metadata, "a mapping of names to values")
    for name, value in metadata.items():
        if not isinstance(name, str):
            raise wrong_type("a name of metadata", name, "a str")
        if not isinstance(value, (str, bytes)):
            raise wrong_type(f"the value of metadata {name!r}", value, "a str, or bytes")


def check_number(name: str, value: float | None) -> None:
    """Raise an error if an argument is given that is no number."""
    if value is not None and not isinstance(value, (int, float)):
        raise wrong_type(name, value, "a number")
