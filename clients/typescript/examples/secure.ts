// TLS with a client certificate, an API key, and the generated client:
// `secure CA CERTIFICATE KEY`, with the target in DASHGATE_ADDR.

// region secure
import { readFile } from "node:fs/promises";
import { argv, env } from "node:process";
import { Client } from "dashgate";

const [ca, cert, key] = await Promise.all(argv.slice(2, 5).map((path) => readFile(path)));
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
const response = await client.conversations.converse({ conversation, requestId: "request-1" });
console.log(response.choices[0]?.message);
// endregion
