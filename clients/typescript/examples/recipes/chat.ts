// A chat with tools, whose texts are shown while they arrive.

// region chat
import { Conversation, typedTool, type Client } from "dashgate";
import { z } from "zod";

const weather = typedTool({
  name: "weather",
  description: "Returns the weather of a city now",
  parameters: z.object({ city: z.string() }),
  run: ({ city }) => ({ city, sky: "clear", celsius: 21 }),
});

/** Answers line by line. The conversation keeps the earlier messages. */
export async function chat(
  client: Client,
  lines: AsyncIterable<string>,
  show: (words: string) => void,
): Promise<Conversation> {
  const conversation = new Conversation("qwen3-omni-flash", "Answer in one sentence.");
  for await (const line of lines) {
    const before = conversation.copy();
    conversation.user(line);
    try {
      const stream = client.streamTools(conversation, [weather], { parallel: true });
      for await (const words of stream.textDeltas()) show(words);
      show("\n");
    } catch (error) {
      conversation.raw.messages = before.raw.messages; // The line can be asked again.
      show(`${String(error)}\n`);
    }
  }
  return conversation;
}
// endregion
