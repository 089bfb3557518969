"""The result of a job."""

from __future__ import annotations

import zlib

from messages import Json, plain

import dashgate
from dashgate import v1

CANCELLED: Json = {"code": "CANCELLED"}


def answer_json(answer: dashgate.Answer) -> Json:
    number = answer.finish_reason
    names = v1.FinishReason.DESCRIPTOR.values_by_number
    return {
        "text": answer.text,
        "reasoning_text": answer.reasoning_text,
        "finish_reason": names[number].name if number in names else number,
        "raw_finish_reason": answer.raw_finish_reason,
        "audio_bytes": len(answer.audio),
        "audio_crc32": zlib.crc32(answer.audio),
        "tool_calls": [plain(call) for call in answer.tool_calls],
        "request_id": answer.request_id,
        "upstream_request_id": answer.upstream_request_id,
        "model": answer.model,
        "usage": plain(answer.usage),
        "message": plain(answer.message),
        "raw": plain(answer.raw),
        "headers": dict(answer.headers),
    }


def answered(result: Json, answer: dashgate.Answer) -> None:
    result.setdefault("answers", []).append(answer_json(answer))


def partial(result: Json, answer: dashgate.Answer | None) -> None:
    """Report what a stream received before it failed."""
    if answer is not None:
        result["partial"] = {k: v for k, v in answer_json(answer).items() if k != "headers"}


def stored(result: Json, step: Json) -> None:
    result.setdefault("stored", []).append(step)


def failed(error: dashgate.Error) -> Json:
    retry_after = error.retry_after
    reasons = v1.ErrorReason.DESCRIPTOR.values_by_number
    every: Json = {
        "code": error.code.name,
        "reason": reasons[error.reason].name if error.reason in reasons and error.reason else "",
        "raw_reason": error.raw_reason,
        "model": error.model,
        "message": error.message,
        "upstream_code": error.upstream_code,
        "upstream_http_status": error.upstream_http_status,
        "upstream_request_id": error.upstream_request_id,
        "request_id": error.request_id,
        "attempts": error.attempts,
        "headers": dict(error.headers),
        "field_violations": [
            {"field": violation.field, "description": violation.description}
            for violation in error.field_violations
        ],
    }
    there = {key: value for key, value in every.items() if value}
    there |= {"output_started": error.output_started, "retryable": error.retryable}
    if error.usage is not None:
        there["usage"] = plain(error.usage)
    if retry_after is not None:
        there["retry_after_ms"] = round(retry_after * 1000)
    return there
