/**
 * One call: its request id, its deadline, and its cancellation.
 */
import { Code, ConnectError } from "@connectrpc/connect";

import { DashgateError } from "./error.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import type { CallLog } from "./log.js";
import type { Metadata } from "./metadata.js";
import { Attempts, type RetryBudget } from "./retry.js";
import { startTimer } from "./timer.js";

/** The default deadline of a unary call: longer than any model takes. */
export const DEFAULT_TIMEOUT_MS = 600_000;

/** `grpc-timeout` has at most eight digits: about a day. Longer deadlines are reduced to this. */
const MAX_TIMEOUT_MS = 99_999_999;

/** Options of a call. */
export interface CallOptions {
  /**
   * The request id (idempotency key): a second call with the same id and content returns the same
   * answer and is not billed. Default: a UUID, the same for all attempts.
   */
  readonly requestId?: string | undefined;
  /**
   * The deadline of the whole call in milliseconds, including retries; `Infinity` for none.
   * Default: the client's.
   */
  readonly timeoutMs?: number | undefined;
  /** Metadata of this call; entries replace the client's of the same name. */
  readonly metadata?: Metadata | undefined;
  /** Cancels the call, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The limits of a call that the client sets. */
export interface CallDefaults {
  readonly timeoutMs: number | undefined;
  readonly maxRetries: number;
}

/** The variation of the delay of throttled calls: many are throttled at the same time. */
const THROTTLE_JITTER = 0.1;

/** A call in progress. Its creator must call `end`. */
export class Call {
  readonly requestId: string;
  readonly log: CallLog;
  readonly #controller = new AbortController();
  readonly #release = new Set<() => void>();
  readonly #deadline: number | undefined;
  readonly #boundMs: number | undefined;
  /** How often the call may still be made again because it was throttled. */
  #retriesLeft: number;
  #failure: { readonly reason: unknown } | undefined;
  #stopped: ((reason: unknown) => void) | undefined;
  #isOver = false;
  /** The latest error of an attempt that did not reach the gateway. */
  #unreached: DashgateError | undefined;
  /** While the call does not reach the gateway: its error, if it ends now. */
  #obstacle: (() => DashgateError) | undefined;
  #isSent: boolean | undefined;
  #isLate = false;

  constructor(options: CallOptions, defaults: CallDefaults, log: (requestId: string) => CallLog) {
    this.requestId = givenId(options) ?? uuid();
    this.log = log(this.requestId);
    this.#retriesLeft = defaults.maxRetries;
    const timeoutMs = checkedTimeout("timeoutMs", options.timeoutMs) ?? defaults.timeoutMs;
    if (timeoutMs !== undefined && timeoutMs !== Infinity) {
      const bound = Math.min(Math.ceil(timeoutMs), MAX_TIMEOUT_MS);
      this.#boundMs = bound;
      this.#deadline = performance.now() + bound;
      this.timer(bound, () => {
        this.expire(this.#late(bound));
      });
    }
    this.#follow(options.signal);
  }

  /** Aborted when the call is over for any reason. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The rest of the deadline, for `grpc-timeout`. */
  get timeoutMs(): number | undefined {
    const left = this.#deadline && Math.ceil(this.#deadline - performance.now());
    return left && Math.max(left, 1);
  }

  /** Whether the call was cancelled. */
  get isStopped(): boolean {
    return this.#failure !== undefined;
  }

  /** Whether the call was cancelled because of its deadline, or because nothing came. */
  get isLate(): boolean {
    return this.#isLate;
  }

  /** Whether the gateway may have the call. */
  get isSent(): boolean {
    return this.#isSent ?? true;
  }

  /** Cancels a call that takes too long. If it did not reach the gateway, that is the reason. */
  expire(late: DashgateError): void {
    this.#isLate ||= !this.isStopped;
    this.stop(this.#obstacle?.() ?? late);
  }

  /** The same before an attempt is made: the reason is that of the latest one. */
  expireBetween(late: DashgateError): void {
    this.expire(this.#unreached ?? late);
  }

  /** Notes that the call waits for a connection. */
  connecting(address: string): void {
    this.#isSent ??= false;
    this.#obstacle = () => this.#unreached ?? this.#unconnected(address);
  }

  /** Notes that the gateway may have the call. */
  sent(): void {
    this.#isSent = true;
  }

  /** Notes that the gateway was reached. */
  connected(): void {
    this.#obstacle = undefined;
  }

  /** Notes the error of an attempt, which another one follows after a delay. */
  failed(error: unknown): void {
    if (error instanceof DashgateError && error.code === "UNAVAILABLE" && error.rawReason === "") {
      this.#unreached = error;
      this.#obstacle = () => error;
    }
  }

  /** Cancels the call. The first reason is kept. */
  stop(reason: unknown): void {
    const first = this.#failure === undefined;
    this.#failure ??= { reason };
    // Only this code makes the transport send RST_STREAM with CANCEL.
    this.#controller.abort(new ConnectError("the call was stopped", Code.Canceled));
    if (first) {
      this.#stopped?.(reason);
    }
  }

  /** Registers a function to call when the call is cancelled. */
  onStop(stopped: (reason: unknown) => void): void {
    this.#stopped = stopped;
  }

  /** Throws if the call was cancelled. */
  check(): void {
    if (this.#failure !== undefined) {
      throw this.#failure.reason;
    }
  }

  /** The error to throw for a caught value; the reason of a cancellation takes precedence. */
  failure(thrown: unknown): unknown {
    return this.#failure === undefined ? this.#converted(thrown) : this.#failure.reason;
  }

  /** Runs a timer until the call ends or the returned function is called. */
  timer(ms: number, ring: () => void): () => void {
    const stopTimer = startTimer(ms, ring);
    const stop = () => {
      stopTimer();
      this.#release.delete(stop);
    };
    this.#release.add(stop);
    return stop;
  }

  /** Runs attempts as the retry policy allows, while `mayRetry`. */
  async attempt<T>(budget: RetryBudget, once: () => Promise<T>, mayRetry = () => true): Promise<T> {
    const attempts = new Attempts(budget);
    for (;;) {
      this.check();
      this.#obstacle = undefined;
      try {
        const result = await once();
        attempts.succeeded();
        return result;
      } catch (thrown) {
        this.check();
        const error = this.#converted(thrown);
        const wait = this.#throttled(error) ?? (mayRetry() ? attempts.failed(error) : undefined);
        if (wait === undefined) {
          throw error;
        }
        this.log.retried(error, wait);
        this.failed(error);
        await this.sleep(wait);
      }
    }
  }

  /** Forbids to make the call again if it is throttled: a part of the answer has arrived. */
  received(): void {
    this.#retriesLeft = 0;
  }

  /** Returns the delay before a throttled call is made again, if that is before the deadline. */
  #throttled({ code, retryAfterMs }: DashgateError): number | undefined {
    if (code !== "RESOURCE_EXHAUSTED" || retryAfterMs === undefined || this.#retriesLeft === 0) {
      return undefined;
    }
    const wait = retryAfterMs * (1 + THROTTLE_JITTER * Math.random());
    if (wait >= (this.timeoutMs ?? Infinity)) {
      return undefined;
    }
    this.#retriesLeft -= 1;
    return wait;
  }

  /** Waits for a promise, unless the call is stopped before. */
  async until<T>(promise: Promise<T>): Promise<T> {
    this.check();
    const { promise: stopped, wake } = alarm();
    this.signal.addEventListener("abort", wake, { once: true });
    try {
      await Promise.race([promise, stopped]);
      this.check();
      return await promise;
    } finally {
      this.signal.removeEventListener("abort", wake);
    }
  }

  /** Registers a function to call when the call ends. */
  onEnd(release: () => void): void {
    this.#release.add(release);
  }

  /** Releases timers and signals, and cancels what is still running. */
  end(failure?: { readonly reason: unknown }): void {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    this.log.ended(failure);
    for (const release of this.#release) {
      release();
    }
    this.#release.clear();
    this.#stopped = undefined;
    this.#controller.abort(new ConnectError("the call is over", Code.Canceled));
  }

  #follow(signal: AbortSignal | undefined): void {
    if (signal === undefined) {
      return;
    }
    const cancel = () => {
      this.stop(signal.reason);
    };
    if (signal.aborted) {
      cancel();
    } else {
      this.#release.add(follow(signal, cancel));
    }
  }

  /** Waits, unless the call is cancelled before. */
  async sleep(ms: number): Promise<void> {
    const { promise, wake } = alarm();
    const stop = this.timer(ms, wake);
    this.signal.addEventListener("abort", wake, { once: true });
    await promise;
    stop();
    this.signal.removeEventListener("abort", wake);
  }

  /** The gRPC library also has a timer for the deadline, which may be the first to fire. */
  #converted(thrown: unknown): DashgateError {
    const error = DashgateError.from(thrown, this.requestId);
    const isLate = error.code === "DEADLINE_EXCEEDED" && error.rawReason === "";
    if (!isLate || this.#boundMs === undefined) {
      return error;
    }
    this.#isLate = true;
    return this.#obstacle?.() ?? this.#late(this.#boundMs);
  }

  #unconnected(address: string): DashgateError {
    const message = `cannot connect to ${address}: no connection could be made in time`;
    const cause = this.#boundMs === undefined ? undefined : this.#late(this.#boundMs);
    return new DashgateError(message, {
      code: "UNAVAILABLE",
      requestId: this.requestId,
      ...(cause && { cause }),
    });
  }

  #late(timeoutMs: number): DashgateError {
    return new DashgateError(`the deadline of ${timeoutMs} ms passed`, {
      code: "DEADLINE_EXCEEDED",
      reason: ErrorReason.DEADLINE_EXCEEDED,
      requestId: this.requestId,
    });
  }
}

/** The request id of the caller: the option, or in the metadata of the call. An empty one is none. */
export function givenId({ requestId, metadata }: CallOptions): string | undefined {
  if (requestId !== undefined && requestId !== "") {
    return requestId;
  }
  const entries = Object.entries(metadata ?? {});
  const [, given] = entries.find(([name]) => name.toLowerCase() === "x-request-id") ?? [];
  return typeof given === "string" && given !== "" ? given : undefined;
}

function alarm(): { promise: Promise<void>; wake: () => void } {
  let wake!: () => void;
  const promise = new Promise<void>((resolve) => {
    wake = resolve;
  });
  return { promise, wake };
}

/**
 * The calls that follow a signal. A signal has one listener, however many calls share it: with one
 * for each call, the platform would warn of a leak.
 */
const FOLLOWERS = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls a function when a signal is aborted, until the returned function is called. */
export function follow(signal: AbortSignal, cancel: () => void): () => void {
  const followers = FOLLOWERS.get(signal) ?? new Set();
  if (!FOLLOWERS.has(signal)) {
    FOLLOWERS.set(signal, followers);
    const all = () => {
      for (const follower of followers) {
        follower();
      }
    };
    signal.addEventListener("abort", all, { once: true });
  }
  followers.add(cancel);
  return () => {
    followers.delete(cancel);
  };
}

/** Returns a timeout after a check. */
export function checkedTimeout(name: string, ms: number | undefined): number | undefined {
  if (ms !== undefined && !(ms > 0)) {
    throw new TypeError(`${name}: a number of milliseconds above 0, not ${ms}`);
  }
  return ms;
}

/** Returns a number of retries after a check. */
export function checkedRetries(count: number | undefined): number | undefined {
  if (count !== undefined && !(Number.isInteger(count) && count >= 0)) {
    throw new TypeError(`maxRetries: an integer of 0 or more, not ${count}`);
  }
  return count;
}

/** `crypto.randomUUID` is not available on pages loaded over plain HTTP. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
