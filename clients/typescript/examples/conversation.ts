// A conversation of several turns about an audio file: `conversation [FILE]`.

// region conversation
import { argv } from "node:process";
import { audio, Client, Conversation, DashgateError } from "dashgate";

using client = new Client();
const path = argv[2] ?? "examples/sentence-en.wav";
const conversation = new Conversation("qwen-audio-turbo", "Answer in one sentence.");
conversation.user(await audio(path), "What is said in this audio?");
const first = await client.converse(conversation);
console.log(first.text);

conversation.append(first).user("And who says it?");
const second = await client.converse(conversation, { options: { temperature: 0.2 } });
console.log(second.text);
// endregion

// region upload
const uploaded = await client.upload("qwen-audio-turbo", path);
const later = new Conversation("qwen-audio-turbo").user(
  await audio(uploaded.uri),
  "How long is it?",
);
console.log((await client.converse(later, { timeoutMs: 30_000 })).text);
// endregion

// region errors
try {
  await client.converse(new Conversation("no-such-model").user("Hello"));
} catch (error) {
  if (!(error instanceof DashgateError)) throw error;
  console.log(`${error.code} ${error.rawReason}: ${error.message} (request id ${error.requestId})`);
}
// endregion
