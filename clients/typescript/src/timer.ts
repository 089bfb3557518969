/** Timers of any length. */

/** A longer timer would ring at once: its length is a signed 32-bit integer. It is 24 days. */
const LONGEST_MS = 0x7fffffff;

/** Calls a function after a time. Returns what stops it. */
export function startTimer(ms: number, ring: () => void): () => void {
  const timer = setTimeout(ring, Math.min(ms, LONGEST_MS));
  return () => {
    clearTimeout(timer);
  };
}
