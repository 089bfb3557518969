/**
 * The retry policy. connect has no retries, so clients/service-config.json is implemented here.
 */
import type { ResponseHeaders } from "./headers.js";

/** The delay before the next attempt in milliseconds, sent by gRPC servers. */
export const PUSHBACK_HEADER = "grpc-retry-pushback-ms";

/** The retry policy of ConversationService and ModelService. A test compares it with clients/service-config.json. */
export const RETRY_POLICY = {
  maxAttempts: 5,
  initialBackoffMs: 500,
  maxBackoffMs: 10_000,
  backoffMultiplier: 2,
  retryableStatusCodes: ["UNAVAILABLE"] as readonly string[],
  /** The retry budget that all calls of a client share. */
  throttling: { maxTokens: 1000, tokenRatio: 1000 },
} as const;

/** gRPC varies delays by a fifth, so that clients do not retry at the same time. */
const JITTER = 0.2;

/** gRPC stores the pushback in a signed 32-bit integer. */
const MAX_PUSHBACK_MS = 0x7fffffff;

/**
 * Parses the value of `grpc-retry-pushback-ms`: a delay in milliseconds, `"never"` if it forbids a
 * retry or is invalid, `undefined` if there is none.
 */
export function pushback(value: string | undefined): number | "never" | undefined {
  if (value === undefined) {
    return undefined;
  }
  if (!/^\d+$/.test(value)) {
    return "never";
  }
  const wait = Number(value);
  return wait <= MAX_PUSHBACK_MS ? wait : "never";
}

/**
 * The retry budget: if most calls fail, retries would only increase the load.
 */
export class RetryBudget {
  #tokens: number = RETRY_POLICY.throttling.maxTokens;

  /** Records a successful call, which restores the budget. */
  succeeded(): void {
    const { maxTokens, tokenRatio } = RETRY_POLICY.throttling;
    this.#tokens = Math.min(maxTokens, this.#tokens + tokenRatio);
  }

  /** Records a failed call; returns whether a retry is allowed. */
  failed(): boolean {
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens > RETRY_POLICY.throttling.maxTokens / 2;
  }
}

/** The result of a failed attempt. */
export interface Failure {
  readonly code: string;
  readonly headers: ResponseHeaders;
}

/** The attempts of one call. */
export class Attempts {
  readonly #budget: RetryBudget;
  readonly #random: () => number;
  #made = 0;
  /** The number of delays since the last pushback, which restarts the backoff. */
  #waits = 0;

  constructor(budget: RetryBudget, random: () => number = Math.random) {
    this.#budget = budget;
    this.#random = random;
  }

  /** Records a success. */
  succeeded(): void {
    this.#budget.succeeded();
  }

  /** Returns the delay before the next attempt in milliseconds, or `undefined` for no retry. */
  failed(failure: Failure): number | undefined {
    this.#made += 1;
    const asked = pushback(failure.headers[PUSHBACK_HEADER]);
    const retryable = RETRY_POLICY.retryableStatusCodes.includes(failure.code);
    if (!retryable && asked !== "never") {
      return undefined;
    }
    const allowed = this.#budget.failed();
    if (!retryable || !allowed || asked === "never" || this.#made >= RETRY_POLICY.maxAttempts) {
      return undefined;
    }
    if (asked !== undefined) {
      this.#waits = 0;
      return asked;
    }
    const wait = RETRY_POLICY.initialBackoffMs * RETRY_POLICY.backoffMultiplier ** this.#waits;
    this.#waits += 1;
    return Math.min(wait, RETRY_POLICY.maxBackoffMs) * (1 + JITTER * (2 * this.#random() - 1));
  }
}
