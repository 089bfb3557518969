/**
 * The error of a failed call.
 */
import { create, toJson } from "@bufbuild/protobuf";

import type { Status } from "./gen/dashgate/client/v1/error_details_pb.js";
import { StatusSchema } from "./gen/dashgate/client/v1/error_details_pb.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import { UsageSchema, type Usage } from "./gen/dashgate/v1/usage_pb.js";
import type { ResponseHeaders } from "./headers.js";
import { PUSHBACK_HEADER, pushback } from "./retry.js";
import { CODES, detailsOf, type StatusCode } from "./status.js";

/** An invalid field of the request. */
export interface FieldViolation {
  /** The path of the field, for example `conversation.messages[0].role`. */
  readonly field: string;
  /** The problem and its fix. */
  readonly description: string;
}

/** The properties of an error besides its message. */
export interface ErrorDetails {
  /** The name of the gRPC code. */
  readonly code: StatusCode;
  /** The cause. Default: unspecified. */
  readonly reason?: ErrorReason | undefined;
  /** The reason as text. Default: the name of `reason`. */
  readonly rawReason?: string | undefined;
  /** The usage of the call until it failed. */
  readonly usage?: Usage | undefined;
  /** Whether a part of the answer was produced. Default: false. */
  readonly outputStarted?: boolean | undefined;
  /** DashScope's error code. */
  readonly upstreamCode?: string | undefined;
  /** The HTTP status of DashScope's response. */
  readonly upstreamHttpStatus?: number | undefined;
  /** DashScope's request id. */
  readonly upstreamRequestId?: string | undefined;
  /** How many requests were sent to DashScope. */
  readonly attempts?: number | undefined;
  /** The model that was called. */
  readonly model?: string | undefined;
  /** The request id. */
  readonly requestId?: string | undefined;
  /** Milliseconds to wait before a retry. */
  readonly retryAfterMs?: number | undefined;
  /** The invalid fields of the request. Default: none. */
  readonly fieldViolations?: readonly FieldViolation[] | undefined;
  /** The raw status. Default: code and message. */
  readonly status?: Status | undefined;
  /** The metadata of the response. Default: none. */
  readonly headers?: ResponseHeaders | undefined;
  /** The error of the platform that is the cause. */
  readonly cause?: unknown;
}

/**
 * The error of a failed call. A call that is cancelled with an `AbortSignal` throws the reason of
 * the signal instead.
 *
 * `code` determines how to react, `reason` is the cause; docs/errors.md of the gateway lists both.
 */
export class DashgateError extends Error {
  /** `DashgateError`. */
  override readonly name = "DashgateError";
  /** The name of the gRPC code. */
  readonly code: StatusCode;
  /**
   * The cause. `ERROR_REASON_UNSPECIFIED` if the gateway did not create the error; a number without
   * a name is a reason of a newer gateway.
   */
  readonly reason: ErrorReason;
  /**
   * The reason as text, for example `UPSTREAM_RATE`. `STREAM_IDLE`, `TOOL_ROUNDS`, `OUTPUT_INVALID`
   * and `CLIENT_CLOSED` are created by this package only, and have no value of `ErrorReason`. Empty
   * if the gRPC library created the error.
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
  /**
   * Whether the same call may succeed later: after `retryAfterMs` if that is set, otherwise at a
   * time that is not known, because the gateway was not reached.
   */
  readonly retryable: boolean;
  /** Milliseconds to wait before a retry; unset: the time is not known, see `retryable`. */
  readonly retryAfterMs: number | undefined;
  /** The invalid fields of the request. */
  readonly fieldViolations: readonly FieldViolation[];
  /** Private, so that a printed error stays short. */
  readonly #status: Status;
  readonly #headers: ResponseHeaders;

  /** Creates an error of this package's own. */
  constructor(message: string, details: ErrorDetails) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = details.code;
    this.reason = details.reason ?? ErrorReason.ERROR_REASON_UNSPECIFIED;
    this.rawReason = details.rawReason ?? nameOf(this.reason);
    this.usage = details.usage;
    this.outputStarted = details.outputStarted ?? false;
    this.upstreamCode = details.upstreamCode;
    this.upstreamHttpStatus = details.upstreamHttpStatus;
    this.upstreamRequestId = details.upstreamRequestId;
    this.attempts = details.attempts;
    this.model = details.model;
    this.requestId = details.requestId;
    this.retryAfterMs = details.retryAfterMs;
    this.fieldViolations = details.fieldViolations ?? [];
    this.#status =
      details.status ?? create(StatusSchema, { code: CODES.indexOf(details.code), message });
    this.#headers = details.headers ?? {};
    this.retryable = this.retryAfterMs !== undefined || this.#isUnreached();
  }

  /** Returns the code, the reason, the message and the request id, each of them once. */
  override toString(): string {
    const reason =
      this.rawReason === "" || this.rawReason === this.code ? "" : ` ${this.rawReason}`;
    const { requestId } = this;
    const isNew = requestId !== undefined && !hasWord(this.message, requestId);
    const id = isNew ? ` (request id ${requestId})` : "";
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

  /** The initial metadata and the trailers of the response: texts by name, in lower case. */
  get headers(): ResponseHeaders {
    return this.#headers;
  }

  /**
   * Converts an error of the gRPC library. `requestId` is the id that was sent with the call; the
   * gateway's takes precedence.
   */
  static from(thrown: unknown, requestId?: string): DashgateError {
    if (thrown instanceof DashgateError) {
      return thrown;
    }
    const { message, ...details } = detailsOf(thrown, requestId);
    return new DashgateError(message, details);
  }

  /** The gateway was not reached, and nothing forbids to try again. */
  #isUnreached(): boolean {
    const isForbidden = pushback(this.#headers[PUSHBACK_HEADER]) === "never";
    return this.code === "UNAVAILABLE" && this.rawReason === "" && !isForbidden;
  }
}

/** Whether a text has a word, which a longer one may contain. */
function hasWord(text: string, word: string): boolean {
  const isOfWord = (char: string | undefined) => char !== undefined && /[\p{L}\p{N}_-]/u.test(char);
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (!isOfWord(text[at - 1]) && !isOfWord(text[at + word.length])) {
      return true;
    }
  }
  return false;
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
