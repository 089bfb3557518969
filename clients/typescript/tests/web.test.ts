/** The entry for browsers: its imports, and that it uses gRPC-Web. */
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { Client, Conversation, type DashgateError } from "dashgate/web";
import { build } from "esbuild";

import { event, played } from "./tools/gateway.js";

const question = () => new Conversation("m").user("Hello");

test("it can be bundled for a browser, and holds nothing of Node.js", async () => {
  const { metafile, warnings } = await build({
    stdin: { contents: 'export * from "dashgate/web"', resolveDir: process.cwd() },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    metafile: true,
    write: false,
    outfile: "bundle.js",
    logLevel: "silent",
  });
  deepEqual(warnings, []);
  const inputs = Object.entries(metafile.inputs);
  ok(inputs.length > 20);
  for (const [path, { imports }] of inputs) {
    ok(!path.includes("/node/") && !path.includes("connect-node"), path);
    for (const { path: asked } of imports) ok(!asked.startsWith("node:"), asked);
  }
});

test("it calls, streams, fails and cancels over gRPC-Web", async () => {
  const { happened, happens } = event("the cancel at the gateway");
  const agents: (string | null)[] = [];
  await using gateway = await played(
    {
      conversations: {
        converse: ({ requestId }, { requestHeader }) => {
          agents.push(requestHeader.get("x-user-agent"), requestHeader.get("authorization"));
          return { requestId };
        },
        converseStream: async function* ({ conversation }, { signal }) {
          if (conversation?.model === "none") {
            throw new ConnectError("no such model", Code.NotFound);
          }
          yield { event: { case: "started", value: { model: "m" } } };
          const part = { case: "text" as const, value: "Hi" };
          yield { event: { case: "delta", value: { part } } };
          if (conversation?.model === "silent") {
            signal.addEventListener("abort", () => {
              happens();
            });
            await happened;
          }
          yield { event: { case: "completed", value: { choices: [{ index: 0 }] } } };
        },
      },
    },
    { host: "127.0.0.1", port: 0 },
    true,
  );
  using client = new Client(`http://${gateway.address}`, { apiKey: "k" });
  equal((await client.converse(question(), { requestId: "mine" })).requestId, "mine");
  deepEqual(agents, ["dashgate-typescript/0.1.0", "Bearer k"]);
  equal((await client.stream(question()).final()).text, "Hi");
  await rejects(client.stream(new Conversation("none").user("?")).final(), {
    code: "NOT_FOUND",
  } satisfies Partial<DashgateError>);
  for await (const words of client.stream(new Conversation("silent").user("?")).textDeltas()) {
    equal(words, "Hi");
    break;
  }
  await happened;
});

test("a gateway that cannot be reached is UNAVAILABLE", async () => {
  using client = new Client("http://127.0.0.1:1", { timeoutMs: 60_000 });
  await rejects(client.converse(question()), { code: "UNAVAILABLE", rawReason: "" });
});

test("a target is an address", () => {
  throws(() => new Client("localhost:50051"), /https:\/\/host:port/);
  ok(!("upload" in Client.prototype));
});
