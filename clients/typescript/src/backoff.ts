/** How often, and after which delays, live sessions and streams are resumed. */
import type { DashgateError } from "./error.js";

/**
 * Consecutive attempts without an event in between. Their delays add up to 6 seconds; the gateway
 * keeps a session for 30, and a stream for 15.
 */
export const RESUME_ATTEMPTS = 6;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5000;

/** The variation of delays: many lose their connection at the same time. */
const JITTER = 0.25;

/** The delay before a session or a stream is resumed, in milliseconds. */
export function resumeDelay(attempts: number, failure: DashgateError): number {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** attempts, LONGEST_DELAY_MS);
  const varied = delay * (1 + JITTER * (2 * Math.random() - 1));
  return Math.min(Math.max(varied, failure.retryAfterMs ?? 0), LONGEST_DELAY_MS);
}
