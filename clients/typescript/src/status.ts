/**
 * Converts errors of the gRPC library to the properties of a `DashgateError`.
 */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";

import { chain, isFromServer, isLostConnection } from "./connect_error.js";
import type { FieldViolation, ErrorDetails } from "./error.js";
import type { Status } from "./gen/dashgate/client/v1/error_details_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
  StatusSchema,
} from "./gen/dashgate/client/v1/error_details_pb.js";
import { CallFailureSchema } from "./gen/dashgate/v1/error_pb.js";
import { responseHeaders } from "./headers.js";
import { PUSHBACK_HEADER, pushback } from "./retry.js";

/** The name of a gRPC code. */
export type StatusCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** gRPC's codes by their numbers. */
export const CODES: readonly (StatusCode | "OK")[] = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

/** Returns the properties of a thrown value. `requestId` is the id that was sent with the call. */
export function detailsOf(
  thrown: unknown,
  requestId: string | undefined,
): ErrorDetails & { message: string } {
  const error = ConnectError.from(thrown);
  const status = statusOf(error);
  const failure = detail(status, CallFailureSchema.typeName, CallFailureSchema);
  const retry = detail(status, "google.rpc.RetryInfo", RetryInfoSchema)?.retryDelay;
  return {
    message: error.rawMessage,
    code: codeOf(error),
    reason: failure?.reason,
    rawReason: detail(status, "google.rpc.ErrorInfo", ErrorInfoSchema)?.reason ?? "",
    usage: failure?.usage,
    outputStarted: failure?.outputStarted,
    upstreamCode: present(failure?.upstreamCode),
    upstreamHttpStatus: failure?.upstreamHttpStatus,
    upstreamRequestId: present(failure?.upstreamRequestId),
    attempts: failure?.attempts,
    model: present(failure?.model),
    requestId: detail(status, "google.rpc.RequestInfo", RequestInfoSchema)?.requestId ?? requestId,
    retryAfterMs: retry === undefined ? pushedBack(error.metadata) : durationMs(retry),
    fieldViolations: violations(status),
    status,
    headers: responseHeaders(error.metadata),
    ...(isFromServer(error) ? {} : { cause: chain(error).at(-1) }),
  };
}

/** The error that broke a stream, with the headers that came before it. */
export function withHeaders(thrown: unknown, headers: Headers): Error {
  const error = ConnectError.from(thrown);
  headers.forEach((value, name) => {
    const joined = error.metadata.get(name);
    const begun = `, ${value}`;
    if (joined === null) {
      error.metadata.set(name, value);
    } else if (joined.endsWith(begun)) {
      // connect joins both; the trailers are the last word.
      error.metadata.set(name, joined.slice(0, -begun.length));
    }
  });
  return error;
}

/** The text, unless it is empty. */
function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** The gateway's status; without one, that of the gRPC library. */
function statusOf(error: ConnectError): Status {
  const details = error.details.flatMap((one) =>
    "type" in one ? [{ typeUrl: `type.googleapis.com/${one.type}`, value: one.value }] : [],
  );
  return create(StatusSchema, { code: error.code, message: error.rawMessage, details });
}

/** The first detail of this type, unless it cannot be decoded. */
function detail<Desc extends DescMessage>(
  status: Status,
  type: string,
  schema: Desc,
): MessageShape<Desc> | undefined {
  const found = status.details.find((any) => any.typeUrl.endsWith(`/${type}`));
  if (found === undefined) {
    return undefined;
  }
  try {
    return fromBinary(schema, found.value);
  } catch {
    // The rest of the status is still valid.
    return undefined;
  }
}

function violations(status: Status): FieldViolation[] {
  const wrong = detail(status, "google.rpc.BadRequest", BadRequestSchema)?.fieldViolations ?? [];
  return wrong.map(({ field, description }) => ({ field, description }));
}

function pushedBack(metadata: Headers): number | undefined {
  const wait = pushback(metadata.get(PUSHBACK_HEADER) ?? undefined);
  return typeof wait === "number" ? wait : undefined;
}

function codeOf(error: ConnectError): StatusCode {
  if (!isFromServer(error) && isLostConnection(error)) {
    return "UNAVAILABLE";
  }
  // The wire may have a number that gRPC does not define.
  const name = CODES[error.code];
  return name === undefined || name === "OK" ? "UNKNOWN" : name;
}
