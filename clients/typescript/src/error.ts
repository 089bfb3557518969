/**
 * The error of a failed call, and its conversion from a gRPC status.
 */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toJson } from "@bufbuild/protobuf";
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
import { CallFailureSchema, ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import { UsageSchema, type Usage } from "./gen/dashgate/v1/usage_pb.js";
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

/** The name of a gRPC code. */
export type StatusCode = Exclude<(typeof CODES)[number], "OK">;

/** An invalid field of the request. */
export interface FieldViolation {
  /** The path of the field, for example `conversation.messages[0].role`. */
  readonly field: string;
  /** The problem and its fix. */
  readonly description: string;
}

/** The properties of an error besides its message. */
interface Particulars {
  code: StatusCode;
  reason?: ErrorReason | undefined;
  /** Default: the name of `reason`. */
  rawReason?: string | undefined;
  usage?: Usage | undefined;
  outputStarted?: boolean | undefined;
  upstreamCode?: string | undefined;
  upstreamHttpStatus?: number | undefined;
  upstreamRequestId?: string | undefined;
  attempts?: number | undefined;
  model?: string | undefined;
  requestId?: string | undefined;
  retryAfterMs?: number | undefined;
  fieldViolations?: readonly FieldViolation[];
  status?: Status;
  metadata?: Headers;
  cause?: unknown;
}

/**
 * The error of a failed call. A call that is cancelled with an `AbortSignal` throws the reason of
 * the signal instead.
 *
 * `code` determines how to react, `reason` is the cause; docs/errors.md of the gateway lists both.
 */
export class DashgateError extends Error {
  override readonly name = "DashgateError";
  /** The name of the gRPC code. */
  readonly code: StatusCode;
  /**
   * The cause. `ERROR_REASON_UNSPECIFIED` if the gateway did not create the error; a number without
   * a name is a reason of a newer gateway.
   */
  readonly reason: ErrorReason;
  /**
   * The reason as text, for example `UPSTREAM_RATE`. `STREAM_IDLE`, `TOOL_ROUNDS` and
   * `CLIENT_CLOSED` are created by this package only, and have no value of `ErrorReason`. Empty if
   * the gRPC library created the error.
   */
  readonly rawReason: string;
  /**
   * The usage of the call until it failed, as counted by DashScope; unset if it reported nothing.
   */
  readonly usage: Usage | undefined;
  /** Whether a part of the answer was produced: reported by the gateway, or received by this stream. */
  readonly outputStarted: boolean;
  /** DashScope's error code, for example `Throttling.RateQuota`. */
  readonly upstreamCode: string | undefined;
  /** The HTTP status of DashScope's response. */
  readonly upstreamHttpStatus: number | undefined;
  /** DashScope's request id, for its support. */
  readonly upstreamRequestId: string | undefined;
  /** How many requests were sent to DashScope; unset if the gateway did not create the error. */
  readonly attempts: number | undefined;
  /** The model that was called, after the gateway's mapping. */
  readonly model: string | undefined;
  /** The request id, as in the gateway's log. */
  readonly requestId: string | undefined;
  /** Milliseconds to wait before a retry; unset: do not retry. */
  readonly retryAfterMs: number | undefined;
  /** The invalid fields of the request. */
  readonly fieldViolations: readonly FieldViolation[];
  /** Private, so that a printed error stays short. */
  readonly #status: Status;
  readonly #metadata: Headers;

  constructor(message: string, particulars: Particulars) {
    super(message, "cause" in particulars ? { cause: particulars.cause } : undefined);
    this.code = particulars.code;
    this.reason = particulars.reason ?? ErrorReason.ERROR_REASON_UNSPECIFIED;
    this.rawReason = particulars.rawReason ?? nameOf(this.reason);
    this.usage = particulars.usage;
    this.outputStarted = particulars.outputStarted ?? false;
    this.upstreamCode = particulars.upstreamCode;
    this.upstreamHttpStatus = particulars.upstreamHttpStatus;
    this.upstreamRequestId = particulars.upstreamRequestId;
    this.attempts = particulars.attempts;
    this.model = particulars.model;
    this.requestId = particulars.requestId;
    this.retryAfterMs = particulars.retryAfterMs;
    this.fieldViolations = particulars.fieldViolations ?? [];
    this.#status =
      particulars.status ??
      create(StatusSchema, { code: CODES.indexOf(particulars.code), message });
    this.#metadata = particulars.metadata ?? new Headers();
  }

  /** Returns the code, the reason, the message and the request id. */
  override toString(): string {
    const reason = this.rawReason === "" ? "" : ` ${this.rawReason}`;
    const id = this.requestId === undefined ? "" : ` (request ${this.requestId})`;
    return `${this.name}: ${this.code}${reason}: ${this.message}${id}`;
  }

  /** For `JSON.stringify`: the properties, with the usage in the JSON form of the schema. */
  toJSON(): Record<string, unknown> {
    const { name, message, ...rest } = this;
    const usage = this.usage && toJson(UsageSchema, this.usage);
    return { name, message, ...rest, usage };
  }

  /** The raw status with its details. */
  get status(): Status {
    return this.#status;
  }

  /** The headers and trailers of the response. */
  get metadata(): Headers {
    return this.#metadata;
  }

  /**
   * Converts an error of the gRPC library. `requestId` is the id that was sent with the call; the
   * gateway's takes precedence.
   */
  static from(thrown: unknown, requestId?: string): DashgateError {
    if (thrown instanceof DashgateError) {
      return thrown;
    }
    const error = ConnectError.from(thrown);
    const status = statusOf(error);
    const failure = detail(status, CallFailureSchema.typeName, CallFailureSchema);
    const retry = detail(status, "google.rpc.RetryInfo", RetryInfoSchema)?.retryDelay;
    return new DashgateError(error.rawMessage, {
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
      requestId:
        detail(status, "google.rpc.RequestInfo", RequestInfoSchema)?.requestId ?? requestId,
      retryAfterMs: retry === undefined ? pushedBack(error.metadata) : durationMs(retry),
      fieldViolations: violations(status),
      status,
      metadata: error.metadata,
      ...(isFromServer(error) ? {} : { cause: chain(error).at(-1) }),
    });
  }
}

/** Marks the error of a stream that had received a part of the answer. */
export function noteOutput(thrown: unknown): void {
  if (thrown instanceof DashgateError) {
    Object.assign(thrown, { outputStarted: true });
  }
}

/** Adds the usage of an earlier stream to the error of a session, unless it has its own. */
export function noteUsage(thrown: unknown, usage: Usage | undefined): void {
  if (thrown instanceof DashgateError && thrown.usage === undefined) {
    Object.assign(thrown, { usage });
  }
}

/** The name of a reason; empty if it is unspecified or has none. */
function nameOf(reason: ErrorReason): string {
  const names: Partial<Record<number, string>> = ErrorReason;
  return reason === ErrorReason.ERROR_REASON_UNSPECIFIED ? "" : (names[reason] ?? "");
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
  const wait = pushback(metadata.get(PUSHBACK_HEADER));
  return typeof wait === "number" ? wait : undefined;
}

function codeOf(error: ConnectError): StatusCode {
  if (!isFromServer(error) && isLostConnection(error)) {
    return "UNAVAILABLE";
  }
  // The wire may have a number that gRPC does not define.
  const name = (CODES as readonly (StatusCode | "OK" | undefined)[])[error.code];
  return name === undefined || name === "OK" ? "UNKNOWN" : name;
}

/** The gateway refused the stream before it processed it, or the connection was closed. */
const LOST = /NGHTTP2_REFUSED_STREAM|ERR_HTTP2_GOAWAY_SESSION|ERR_HTTP2_SESSION_ERROR|EPIPE/;

/** Whether a server sent this error, and not the gRPC library. */
function isFromServer(error: ConnectError): boolean {
  return error.metadata.has("grpc-status") || error.metadata.has("grpc-status-details-bin");
}

/** An error and its causes, down to that of the platform. */
function chain(error: Error): (Error & { code?: unknown })[] {
  return error.cause instanceof Error ? [error, ...chain(error.cause)] : [error];
}

/**
 * Connect reports a broken connection as a cancelled or aborted call, as its server side does. Here
 * it is UNAVAILABLE: the caller did not cancel. A `fetch` that reached no server throws a
 * `TypeError`.
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
