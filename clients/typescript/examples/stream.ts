// Prints a streamed answer: `stream [QUESTION]`.
import { Client, Conversation, DashgateError, ErrorReason } from "dashgate";

const question = process.argv[2] ?? "Tell me a short story.";
using client = new Client();
const conversation = new Conversation("qwen-audio-turbo").user(question);

// region stream
using stream = client.stream(conversation);
for await (const words of stream.textDeltas()) {
  process.stdout.write(words);
}
const answer = await stream.final();
console.log(`\n${answer.usage?.outputTokens ?? "?"} tokens out`);
// endregion

// region events
for await (const { sequence, event } of client.stream(conversation)) {
  if (event.case === "started") {
    console.log(`${sequence}: ${event.value.model} begins`);
  } else if (event.case === "delta" && event.value.part.case === "text") {
    console.log(`${sequence}: ${JSON.stringify(event.value.part.value)}`);
  } else if (event.case === "completed") {
    console.log(`${sequence}: done`);
  }
}
// endregion

// region failed
try {
  await client.stream(conversation).final();
} catch (error) {
  if (!(error instanceof DashgateError)) throw error;
  if (error.usage !== undefined) {
    // Billed even though the answer is incomplete.
    console.log(`${error.rawReason}: ${error.usage.outputTokens ?? "?"} tokens out`);
  }
  if (error.reason === ErrorReason.CONTENT_BLOCKED) {
    console.log("DashScope blocked the answer");
  }
}
// endregion

// region cancel
const controller = new AbortController();
try {
  for await (const words of client
    .stream(conversation, { signal: controller.signal })
    .textDeltas()) {
    console.log(`${words}... that is enough`);
    controller.abort();
  }
} catch (error) {
  if (!controller.signal.aborted) throw error;
}
// endregion
