// Calls that wait when the gateway or DashScope is busy.

// region throttling
import { Client, Conversation, DashgateError } from "dashgate";

/** Asks within a minute. A call that is throttled is made again, at the time that the gateway says. */
export async function patient(target: string, question: string): Promise<string> {
  using client = new Client(target, { maxRetries: 3, timeoutMs: 60_000 });
  try {
    return (await client.converse(new Conversation("qwen3-omni-flash").user(question))).text;
  } catch (error) {
    if (!(error instanceof DashgateError && error.retryable)) throw error;
    const when = error.retryAfterMs === undefined ? "later" : `in ${error.retryAfterMs / 1000} s`;
    return `Busy. Ask again ${when}.`;
  }
}
// endregion
