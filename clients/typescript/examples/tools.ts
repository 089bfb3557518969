// Runs a function that the model calls: `tools [QUESTION]`.

// region tools
import { Client, Conversation, type Tool } from "dashgate";

const weather: Tool = {
  name: "weather",
  description: "Returns the weather of a city now",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
  },
  run: (argumentsJson) => {
    console.log(`weather(${argumentsJson})`);
    return JSON.stringify({ sky: "clear", celsius: 21 });
  },
};

using client = new Client();
const question = process.argv[2] ?? "What is the weather in Hangzhou?";
const conversation = new Conversation("qwen3-omni-flash").user(question);
const answer = await client.runTools(conversation, [weather]);
console.log(answer.text);
// endregion
