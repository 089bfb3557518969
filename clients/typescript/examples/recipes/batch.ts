// A batch of questions, of which only some are asked at the same time.

// region batch
import { Conversation, DashgateError, type Client } from "dashgate";

/** The text of an answer, or the error of one that failed for good. */
export type Outcome = string | DashgateError;

/** Asks all questions, `width` of them at the same time, and returns the outcomes in their order. */
export async function batch(
  client: Client,
  questions: readonly string[],
  width: number,
  onProgress: (done: number) => void,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const waiting = questions.entries(); // The workers share it.
  let done = 0;
  const worker = async () => {
    for (const [at, question] of waiting) {
      outcomes[at] = await ask(client, question);
      onProgress((done += 1));
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return outcomes;
}

async function ask(client: Client, question: string): Promise<Outcome> {
  try {
    const conversation = new Conversation("qwen3-omni-flash").user(question);
    return (await client.converse(conversation, { maxRetries: 5 })).text;
  } catch (error) {
    if (error instanceof DashgateError) return error; // One failure does not end the batch.
    throw error;
  }
}
// endregion
