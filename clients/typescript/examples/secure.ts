// TLS with a client's certificate, a key, and the plain generated client:
// `secure CA CERTIFICATE KEY`, with the target in DASHGATE_ADDR.
import { env } from "node:process";

// region secure
import { readFile } from "node:fs/promises";
import { Client } from "dashgate";

const [ca, cert, key] = await Promise.all(process.argv.slice(2, 5).map((path) => readFile(path)));
using client = new Client(env["DASHGATE_ADDR"], {
  tls: { ca, cert, key, serverName: "localhost" },
  apiKey: env["DASHGATE_API_KEY"],
  timeoutMs: 30_000,
});
// endregion

// region raw
import { create } from "@bufbuild/protobuf";
import { ConversationSchema, Role } from "dashgate/v1";

const conversation = create(ConversationSchema, {
  model: "qwen-audio-turbo",
  messages: [{ role: Role.USER, content: [{ kind: { case: "text", value: "Hello" } }] }],
});
const response = await client.conversations.converse({ conversation, requestId: "my-name-of-it" });
console.log(response.choices[0]?.message);
// endregion
