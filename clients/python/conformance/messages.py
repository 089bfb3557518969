"""What all parts of the conformance runner share."""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import json_format

Json: TypeAlias = dict[str, Any]


class BadJobError(Exception):
    """The job is invalid."""


def plain(message: Any) -> Any:
    return json_format.MessageToDict(message)
