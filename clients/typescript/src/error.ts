/**
 * The one error of this package, and how it is read out of a gRPC status.
 */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import type { Status } from "./gen/dashgate/client/v1/error_details_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
  StatusSchema,
} from "./gen/dashgate/client/v1/error_details_pb.js";
import { PUSHBACK_HEADER, pushback } from "./retry.js";

/** gRPC's codes by their numbers. */
const CODES = [
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
] as const;

/** The name of a gRPC code: what to do next about an error. */
export type StatusCode = Exclude<(typeof CODES)[number], "OK">;

/** A field of the request that is wrong. */
export interface FieldViolation {
  /** The path of the field, for example `conversation.messages[0].role`. */
  readonly field: string;
  /** What is wrong with it, and what would be right. */
  readonly description: string;
}

/** What an error holds beside its message. */
interface Particulars {
  code: StatusCode;
  reason?: string;
  upstreamCode?: string | undefined;
  upstreamHttpStatus?: number | undefined;
  upstreamRequestId?: string | undefined;
  attempts?: number | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  fieldViolations?: readonly FieldViolation[];
  status?: Status;
  metadata?: Headers;
  cause?: unknown;
}

/**
 * A call that failed. Cancelling a call yourself is not one: that throws the reason of your
 * `AbortSignal`.
 *
 * `code` says what to do next, `reason` says exactly what happened; docs/errors.md lists both.
 */
export class DashgateError extends Error {
  override readonly name = "DashgateError";
  /** gRPC's code by its name. */
  readonly code: StatusCode;
  /** Exactly what happened, for example `UPSTREAM_RATE`. Empty: the gateway did not make this error. */
  readonly reason: string;
  /** DashScope's own code, if it was DashScope that refused. */
  readonly upstreamCode: string | undefined;
  /** The HTTP status of DashScope's answer. */
  readonly upstreamHttpStatus: number | undefined;
  /** DashScope's name of the call, for its support. */
  readonly upstreamRequestId: string | undefined;
  /** How often DashScope was asked. */
  readonly attempts: number | undefined;
  /** The name of the call, as in the gateway's log. */
  readonly requestId: string | undefined;
  /** After how many milliseconds calling again may help; unset means: do not call again. */
  readonly retryAfterMs: number | undefined;
  /** Which fields of the request are wrong. */
  readonly fieldViolations: readonly FieldViolation[];
  /** Not shown when the error is printed: what people need of them stands above. */
  readonly #status: Status;
  readonly #metadata: Headers;

  constructor(message: string, particulars: Particulars) {
    super(message, "cause" in particulars ? { cause: particulars.cause } : undefined);
    this.code = particulars.code;
    this.reason = particulars.reason ?? "";
    this.upstreamCode = particulars.upstreamCode;
    this.upstreamHttpStatus = particulars.upstreamHttpStatus;
    this.upstreamRequestId = particulars.upstreamRequestId;
    this.attempts = particulars.attempts;
    this.requestId = particulars.requestId;
    this.retryAfterMs = particulars.retryAfterMs;
    this.fieldViolations = particulars.fieldViolations ?? [];
    this.#status =
      particulars.status ??
      create(StatusSchema, { code: CODES.indexOf(particulars.code), message });
    this.#metadata = particulars.metadata ?? new Headers();
  }

  /** The raw status, with all details as they came. */
  get status(): Status {
    return this.#status;
  }

  /** Headers and trailers that came with the error. */
  get metadata(): Headers {
    return this.#metadata;
  }

  /**
   * Reads what a gRPC library threw. `requestId` is the name that was sent with the call; the one
   * that the gateway tells goes before it.
   */
  static from(thrown: unknown, requestId?: string): DashgateError {
    if (thrown instanceof DashgateError) {
      return thrown;
    }
    const error = ConnectError.from(thrown);
    const status = statusOf(error);
    const info = detail(status, "ErrorInfo", ErrorInfoSchema);
    const told = (name: string): string | undefined => info?.metadata[name] ?? undefined;
    const retry = detail(status, "RetryInfo", RetryInfoSchema)?.retryDelay;
    return new DashgateError(error.rawMessage, {
      code: codeOf(error),
      reason: info?.reason ?? "",
      upstreamCode: told("upstream_code"),
      upstreamHttpStatus: whole(told("upstream_http_status")),
      upstreamRequestId: told("upstream_request_id"),
      attempts: whole(told("attempts")),
      requestId: detail(status, "RequestInfo", RequestInfoSchema)?.requestId ?? requestId,
      retryAfterMs: retry === undefined ? pushedBack(error.metadata) : durationMs(retry),
      fieldViolations: violations(status),
      status,
      metadata: error.metadata,
      ...(isFromServer(error) ? {} : { cause: chain(error).at(-1) }),
    });
  }
}

/** The status as the gateway sent it; without one, what the gRPC library made of the failure. */
function statusOf(error: ConnectError): Status {
  const details = error.details.flatMap((one) =>
    "type" in one ? [{ typeUrl: `type.googleapis.com/${one.type}`, value: one.value }] : [],
  );
  return create(StatusSchema, { code: error.code, message: error.rawMessage, details });
}

/** The first detail of this type, unless it cannot be read. */
function detail<Desc extends DescMessage>(
  status: Status,
  name: string,
  schema: Desc,
): MessageShape<Desc> | undefined {
  const found = status.details.find((any) => any.typeUrl.endsWith(`/google.rpc.${name}`));
  if (found === undefined) {
    return undefined;
  }
  try {
    return fromBinary(schema, found.value);
  } catch {
    // The rest of the status is still worth telling.
    return undefined;
  }
}

function violations(status: Status): FieldViolation[] {
  const wrong = detail(status, "BadRequest", BadRequestSchema)?.fieldViolations ?? [];
  return wrong.map(({ field, description }) => ({ field, description }));
}

function pushedBack(metadata: Headers): number | undefined {
  const wait = pushback(metadata.get(PUSHBACK_HEADER));
  return typeof wait === "number" ? wait : undefined;
}

/** The text as a whole number, if it is one. */
function whole(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

function codeOf(error: ConnectError): StatusCode {
  if (!isFromServer(error) && isLostConnection(error)) {
    return "UNAVAILABLE";
  }
  // A number that gRPC does not have may come over the wire.
  const name = (CODES as readonly (StatusCode | "OK" | undefined)[])[error.code];
  return name === undefined || name === "OK" ? "UNKNOWN" : name;
}

/** The gateway refused the stream before it looked at it, or the connection went away. */
const LOST = /NGHTTP2_REFUSED_STREAM|ERR_HTTP2_GOAWAY_SESSION|ERR_HTTP2_SESSION_ERROR|EPIPE/;

/** Whether a server said this, and not the library that talks to it. */
function isFromServer(error: ConnectError): boolean {
  return error.metadata.has("grpc-status") || error.metadata.has("grpc-status-details-bin");
}

/** An error, and what it was wrapped around, down to what the platform threw. */
function chain(error: Error): (Error & { code?: unknown })[] {
  return error.cause instanceof Error ? [error, ...chain(error.cause)] : [error];
}

/**
 * Connect tells a connection that broke as a cancelled or aborted call, because its server side
 * does. To a caller these would be lies: it did not cancel, and nothing conflicted. A `fetch` that
 * reached nobody throws a `TypeError`, and says no more.
 */
function isLostConnection(error: ConnectError): boolean {
  const code: Code = error.code;
  return (
    code === Code.Canceled ||
    code === Code.Aborted ||
    chain(error).some(
      (one) => one instanceof TypeError || LOST.test(`${String(one.code)} ${one.message}`),
    )
  );
}
