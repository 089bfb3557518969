// An answer as a typed value: `structured [QUESTION]`.

// region structured
import { Client, Conversation } from "dashgate";
import { z } from "zod";

const City = z.object({ name: z.string(), people: z.int(), rivers: z.array(z.string()) });

using client = new Client();
const conversation = new Conversation("qwen3-omni-flash");
conversation.user(process.argv[2] ?? "Describe Hangzhou.");
const { value } = await client.converseAs(City, conversation, { repair: true });
console.log(value.name, value.rivers.join(", "));
// endregion
