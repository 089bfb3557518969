/**
 * The result of a job.
 */
import { crc32 } from "./crc32.js";
import { toJson, type DescMessage, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { DashgateError, ErrorReason, FinishReason, type Answer } from "dashgate";
import { ConverseResponseSchema, MessageSchema, UsageSchema } from "dashgate/v1";

/** An incomplete result. */
export interface Result {
  answers?: JsonValue[];
  events?: JsonValue[];
  deltas?: string[];
  tool_calls?: { name: string; arguments: string }[];
  live?: JsonValue[];
  speech?: JsonValue[];
  uploads?: JsonValue[];
  models?: JsonValue[];
  mime_types?: string[];
  conversation?: JsonValue;
  stored?: JsonValue[];
  last_turn?: number;
  value?: JsonValue;
  partial?: JsonValue;
  error?: JsonValue;
  elapsed_ms?: number;
}

/** A message as proto3 JSON. */
export function json<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): JsonValue {
  return toJson(schema, message);
}

/** Converts an answer to JSON, with its public properties. */
export function answerJson(answer: Answer): JsonValue {
  return { ...partialJson(answer), headers: { ...answer.headers } };
}

/** Converts an answer that is not complete to JSON. */
export function partialJson(answer: Answer) {
  return {
    text: answer.text,
    reasoning_text: answer.reasoningText,
    finish_reason: FinishReason[answer.finishReason]
      ? `FINISH_REASON_${FinishReason[answer.finishReason]}`
      : answer.finishReason,
    raw_finish_reason: answer.rawFinishReason,
    audio_bytes: answer.audio.length,
    audio_crc32: crc32(answer.audio),
    tool_calls: answer.toolCalls.map((call) => ({
      index: call.index,
      id: call.id,
      type: call.type,
      name: call.name,
      arguments: call.arguments,
    })),
    request_id: answer.requestId,
    upstream_request_id: answer.upstreamRequestId,
    model: answer.model,
    ...(answer.usage && { usage: json(UsageSchema, answer.usage) }),
    ...(answer.message && { message: json(MessageSchema, answer.message) }),
    raw: json(ConverseResponseSchema, answer.raw),
  };
}

/**
 * Converts an error of the library or a cancellation to JSON; any other is an error of the runner.
 */
export function errorJson(thrown: unknown): JsonValue {
  if (thrown instanceof DOMException && thrown.name === "AbortError") {
    return { code: "CANCELLED" };
  }
  if (!(thrown instanceof DashgateError)) {
    throw thrown;
  }
  const error = {
    code: thrown.code,
    reason:
      thrown.reason === ErrorReason.ERROR_REASON_UNSPECIFIED
        ? undefined
        : ErrorReason[thrown.reason],
    raw_reason: thrown.rawReason,
    output_started: thrown.outputStarted,
    retryable: thrown.retryable,
    headers: { ...thrown.headers },
    usage: thrown.usage && json(UsageSchema, thrown.usage),
    model: thrown.model,
    message: thrown.message,
    upstream_code: thrown.upstreamCode,
    upstream_http_status: thrown.upstreamHttpStatus,
    upstream_request_id: thrown.upstreamRequestId,
    request_id: thrown.requestId,
    attempts: thrown.attempts,
    retry_after_ms: thrown.retryAfterMs,
    field_violations: thrown.fieldViolations.map(({ field, description }) => ({
      field,
      description,
    })),
  };
  const there = ([, value]: [string, unknown]) =>
    value !== undefined && value !== "" && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(error).filter(there)) as JsonValue;
}
