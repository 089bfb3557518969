/**
 * When a call is sent once more. connect has no retries of its own, so what gRPC libraries read from
 * clients/service-config.json is done here, by the same numbers.
 */

/** How long to wait before the next call, in milliseconds, as gRPC servers say it. */
export const PUSHBACK_HEADER = "grpc-retry-pushback-ms";

/** The retry policy of ConversationService. A test holds it equal to clients/service-config.json. */
export const RETRY_POLICY = {
  maxAttempts: 4,
  initialBackoffMs: 500,
  maxBackoffMs: 10_000,
  backoffMultiplier: 2,
  retryableStatusCodes: ["UNAVAILABLE"] as readonly string[],
  /** The budget that all calls of a client share. */
  throttling: { maxTokens: 10, tokenRatio: 0.1 },
} as const;

/** gRPC spreads the waits by a fifth to either side, so that clients do not come back in step. */
const JITTER = 0.2;

/** gRPC counts pushback in 32 bits with a sign. */
const MAX_PUSHBACK_MS = 0x7fffffff;

/**
 * Reads the value of `grpc-retry-pushback-ms`: a wait in milliseconds, `"never"` for one that forbids
 * a retry or cannot be read, nothing for none.
 */
export function pushback(value: string | null): number | "never" | undefined {
  if (value === null) {
    return undefined;
  }
  if (!/^\d+$/.test(value)) {
    return "never";
  }
  const wait = Number(value);
  return wait <= MAX_PUSHBACK_MS ? wait : "never";
}

/**
 * The budget of retries: when the gateway is down for all calls alike, repeating each of them four
 * times only keeps it down.
 */
export class RetryBudget {
  #tokens: number = RETRY_POLICY.throttling.maxTokens;

  /** A call that was answered earns a part of a retry. */
  succeeded(): void {
    const { maxTokens, tokenRatio } = RETRY_POLICY.throttling;
    this.#tokens = Math.min(maxTokens, this.#tokens + tokenRatio);
  }

  /** A call that failed costs one; says whether a retry is still allowed. */
  failed(): boolean {
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens > RETRY_POLICY.throttling.maxTokens / 2;
  }
}

/** What a failed attempt said. */
export interface Failure {
  readonly code: string;
  readonly metadata: Headers;
}

/** The attempts of one call. */
export class Attempts {
  readonly #budget: RetryBudget;
  readonly #random: () => number;
  #made = 0;
  /** Waits since the gateway last named one: its word begins the row anew. */
  #waits = 0;

  constructor(budget: RetryBudget, random: () => number = Math.random) {
    this.#budget = budget;
    this.#random = random;
  }

  /** The call was answered. */
  succeeded(): void {
    this.#budget.succeeded();
  }

  /** The wait before the next attempt, in milliseconds, or nothing if there must be none. */
  failed(failure: Failure): number | undefined {
    this.#made += 1;
    const asked = pushback(failure.metadata.get(PUSHBACK_HEADER));
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
