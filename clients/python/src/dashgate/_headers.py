"""The metadata of a response as texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

Metadatum: TypeAlias = Iterable[Any]
"""The pairs of initial metadata or trailers, in the types of either kind of channel."""


def header_texts(*blocks: Metadatum | None) -> dict[str, str]:
    """Return initial metadata and trailers by their names, without binary ones.

    A trailer replaces initial metadata of the same name; the values of one block are joined.
    """
    headers: dict[str, str] = {}
    for block in blocks:
        found: dict[str, list[str]] = {}
        for name, value in block or ():
            if not name.endswith("-bin"):
                found.setdefault(name.lower(), []).append(_text(value))
        headers.update((name, ", ".join(values)) for name, values in found.items())
    return headers


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
