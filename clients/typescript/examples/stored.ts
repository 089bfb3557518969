// A conversation that the gateway stores; it needs a gateway with a store: `stored [NAME]`.

// region stored
import { Client, Conversation } from "dashgate";

using client = new Client();
const { name } = await client.createConversation({ model: "qwen3-omni-flash", ttlSeconds: 3600 });

const conversation = new Conversation("", { name }).user("My name is Ada.");
conversation.append(await client.converse(conversation));
conversation.user("What is my name?"); // The gateway sends the earlier messages.
const answer = await client.converse(conversation);
console.log(answer.text);

for await (const turn of client.listTurns(name)) {
  console.log(`${turn.number}: ${turn.usage?.outputTokens ?? "?"} tokens out`);
}
await client.deleteConversation(name);
// endregion
