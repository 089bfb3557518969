"""The requests that manage stored conversations."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from dashgate import v1

Ttl: TypeAlias = float | datetime.timedelta
"""A duration, in seconds or as `datetime.timedelta`."""


def create_request(
    conversation_id: str, model: str, labels: Mapping[str, str] | None, ttl: Ttl | None
) -> v1.CreateConversationRequest:
    """Return a request for a new conversation."""
    return v1.CreateConversationRequest(
        conversation_id=conversation_id,
        conversation=v1.Conversation(model=model, labels=labels, ttl=_duration(ttl)),
    )


def update_request(
    name: str, model: str | None, labels: Mapping[str, str] | None, ttl: Ttl | None
) -> v1.UpdateConversationRequest:
    """Return a request that changes what is given."""
    given = {"model": model, "labels": labels, "ttl": ttl}
    paths = [field for field, value in given.items() if value is not None]
    return v1.UpdateConversationRequest(
        conversation=v1.Conversation(
            name=name, model=model or "", labels=labels, ttl=_duration(ttl)
        ),
        update_mask=FieldMask(paths=paths),
    )


def _duration(ttl: Ttl | None) -> Duration | None:
    if ttl is None:
        return None
    duration = Duration()
    duration.FromTimedelta(
        ttl if isinstance(ttl, datetime.timedelta) else datetime.timedelta(seconds=ttl)
    )
    return duration
