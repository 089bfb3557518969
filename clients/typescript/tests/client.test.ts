/** Calls, against a scripted gateway. */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { test } from "node:test";
import { inspect } from "node:util";

import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, Conversation } from "dashgate";

import {
  answering,
  completed,
  failure,
  question,
  said,
  started,
  streaming,
  unavailable,
} from "./tools/calls.js";
import { event, isLeftOf, played } from "./tools/gateway.js";

test("nothing is connected before the first call, and a connection serves 100 calls", async () => {
  await using gateway = await answering();
  using client = new Client(gateway.address);
  client.stream(question());
  equal(gateway.connections(), 0);
  await Promise.all(Array.from({ length: 100 }, () => client.converse(question())));
  equal(gateway.connections(), 1);
  await Promise.all(Array.from({ length: 101 }, () => client.converse(question())));
  equal(gateway.connections(), 2);
});

test("key, metadata, name and deadline go with each call", async () => {
  const seen: Record<string, string | null>[] = [];
  const timeouts: (string | null)[] = [];
  await using gateway = await answering(({ requestHeader }, requestId) => {
    const told = ["authorization", "user-agent", "team", "step", "blob-bin"];
    timeouts.push(requestHeader.get("grpc-timeout"));
    seen.push(Object.fromEntries(told.map((name) => [name, requestHeader.get(name)])));
    return { requestId };
  });
  using client = new Client(gateway.address, {
    apiKey: "secret",
    metadata: { team: "one", step: "client" },
  });
  const { requestId } = await client.converse(question());
  match(requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const named = await client.converse(question(), {
    requestId: "mine",
    timeoutMs: 1234.5,
    metadata: { step: "call", "blob-bin": Uint8Array.of(1, 2) },
  });
  equal(named.requestId, "mine");
  const common = { authorization: "Bearer secret", "user-agent": "dashgate-typescript/0.1.0" };
  deepEqual(seen, [
    { ...common, team: "one", step: "client", "blob-bin": null },
    { ...common, team: "one", step: "call", "blob-bin": "AQI" },
  ]);
  isLeftOf(600_000, timeouts[0]);
  isLeftOf(1235, timeouts[1]);
});

test("the environment says where and who, unless the program does", async () => {
  let key: string | null = "";
  await using gateway = await answering(({ requestHeader }) => {
    key = requestHeader.get("authorization");
    return {};
  });
  const before = { ...env };
  try {
    env["DASHGATE_ADDR"] = gateway.address;
    env["DASHGATE_API_KEY"] = "from-outside";
    using client = new Client();
    await client.converse(question());
    equal(key, "Bearer from-outside");
    using own = new Client(undefined, { apiKey: "own" });
    await own.converse(question());
    equal(key, "Bearer own");
    using none = new Client(undefined, { apiKey: "" });
    await none.converse(question());
    equal(key, null);
  } finally {
    env["DASHGATE_ADDR"] = before["DASHGATE_ADDR"] ?? "";
    env["DASHGATE_API_KEY"] = before["DASHGATE_API_KEY"] ?? "";
  }
});

test("no print of a client or an error shows the key", async () => {
  await using gateway = await answering(() => {
    throw new ConnectError("no", Code.Unauthenticated);
  });
  using client = new Client(gateway.address, {
    apiKey: "sk-hush",
    metadata: { "x-other": "sk-hush" },
  });
  const error = await failure(client.converse(question()));
  for (const shown of [client, error]) {
    ok(!inspect(shown, { depth: 20, showHidden: true }).includes("sk-hush"));
    ok(!JSON.stringify(shown).includes("sk-hush"));
  }
  for (const wrong of [{ apiKey: "sk-hush\n" }, { metadata: { "x-key": "sk-hush\r\n" } }]) {
    throws(
      () => new Client(gateway.address, wrong),
      (fault: Error) => fault instanceof TypeError && !fault.message.includes("sk-hush"),
    );
  }
});

test("metadata that gRPC could not carry is refused", () => {
  using client = new Client("127.0.0.1:1");
  for (const metadata of [
    { "grpc-timeout": "1S" },
    { "no name": "x" },
    { name: Uint8Array.of(1) },
    { "name-bin": "text" },
    { name: "höflich" },
  ]) {
    throws(() => client.stream(question(), { metadata }), TypeError);
  }
});

test("a unix socket is a target", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dashgate-"));
  try {
    const path = join(folder, "socket");
    await using gateway = await played(
      { conversations: { converse: () => ({ model: "over a socket" }) } },
      { path },
    );
    ok(gateway.address);
    using client = new Client(`unix:${path}`);
    equal((await client.converse(question())).model, "over a socket");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a transport that exists stays open when the client is closed", async () => {
  await using gateway = await answering(() => ({ model: "m" }));
  const transport = createGrpcTransport({ baseUrl: `http://${gateway.address}` });
  const client = new Client(transport, { apiKey: "k" });
  equal((await client.converse(question())).model, "m");
  client.close();
  using other = new Client(transport);
  equal((await other.conversations.converse({})).model, "m");
  throws(() => new Client(transport, { tls: {} }), TypeError);
});

test("closing ends what runs, and a closed client says so", async () => {
  const { happened, happens } = event("the call");
  await using gateway = await streaming(async function* ({ signal }) {
    yield started;
    happens();
    await once(signal, "abort");
  });
  const client = new Client(gateway.address);
  const running = failure(client.stream(question()).final());
  await happened;
  client.close();
  client.close();
  equal((await running).rawReason, "CLIENT_CLOSED");
  equal((await running).code, "CANCELLED");
  const { code, rawReason } = await failure(client.converse(question()));
  deepEqual([code, rawReason], ["FAILED_PRECONDITION", "CLIENT_CLOSED"]);
});

test("a lost connection is UNAVAILABLE, and the next call makes a new one", async () => {
  let calls = 0;
  const dropped = event("the loss");
  await using gateway = await streaming(async function* () {
    calls += 1;
    yield started;
    if (calls === 1) {
      await dropped.happened;
    }
    yield completed;
  });
  using client = new Client(gateway.address);
  const lost = await failure(
    (async () => {
      for await (const one of client.stream(question())) {
        equal(one.event.case, "started");
        gateway.drop();
      }
    })(),
  );
  dropped.happens();
  equal(lost.code, "UNAVAILABLE");
  equal(lost.rawReason, "");
  ok(lost.requestId);
  equal((await client.stream(question()).final()).model, "m");
  equal(gateway.connections(), 2);
});

test("large requests and answers go through", async () => {
  const data = new Uint8Array(12 * 1024 * 1024).fill(7);
  await using gateway = await played({
    conversations: {
      converse: ({ conversation }) => ({ choices: [{ message: conversation?.messages[0] ?? {} }] }),
    },
  });
  using client = new Client(gateway.address);
  const content = { $typeName: "dashgate.v1.Content", kind: audioOf(data) } as const;
  const answers = await Promise.all(
    [1, 2, 3].map(() => client.converse(new Conversation("m").user(content))),
  );
  for (const { audio } of answers) {
    equal(Buffer.compare(audio, data), 0);
  }
});

function audioOf(value: Uint8Array<ArrayBuffer>) {
  const source = { case: "data", value } as const;
  return {
    case: "audio",
    value: { $typeName: "dashgate.v1.Audio", mimeType: "", source },
  } as const;
}

test("an answer above 64 MiB is refused", async () => {
  await using gateway = await answering(() => ({ model: "x".repeat(64 * 1024 * 1024) }));
  using client = new Client(gateway.address);
  equal((await failure(client.converse(question()))).code, "RESOURCE_EXHAUSTED");
});

test("a call is repeated under one name, as the gateway asks", async () => {
  const names: string[] = [];
  await using gateway = await answering((_context, requestId) => {
    names.push(requestId);
    if (names.length < 4) throw unavailable("1");
    return { requestId };
  });
  using client = new Client(gateway.address);
  const { requestId } = await client.converse(question());
  deepEqual(names, Array(4).fill(requestId));
});

test("what changes in a conversation does not change what is sent again", async () => {
  const lengths: (number | undefined)[] = [];
  await using gateway = await played({
    conversations: {
      converse: (request) => {
        lengths.push(request.conversation?.messages.length);
        if (lengths.length === 1) throw unavailable("1");
        return {};
      },
    },
  });
  using client = new Client(gateway.address);
  const conversation = question();
  const answer = client.converse(conversation);
  conversation.user("and more");
  await answer;
  deepEqual(lengths, [1, 1]);
});

test("a call is not repeated when that is forbidden, or the answer has begun", async () => {
  let calls = 0;
  await using gateway = await played({
    conversations: {
      converse: () => {
        calls += 1;
        throw unavailable("-1");
      },
      converseStream: async function* () {
        calls += 1;
        await Promise.resolve();
        yield started;
        throw unavailable("1");
      },
    },
  });
  using client = new Client(gateway.address);
  const forbidden = await failure(client.converse(question()));
  deepEqual([forbidden.code, forbidden.retryAfterMs, calls], ["UNAVAILABLE", undefined, 1]);
  const begun = await failure(client.stream(question()).final());
  deepEqual([begun.code, begun.retryAfterMs, calls], ["UNAVAILABLE", 1, 2]);
});

test("a stream that has not begun is repeated", async () => {
  let calls = 0;
  await using gateway = await streaming(async function* () {
    calls += 1;
    if (calls < 3) throw unavailable("0");
    yield* await Promise.resolve([started, said("a"), completed]);
  });
  using client = new Client(gateway.address);
  equal((await client.stream(question()).final()).text, "a");
  equal(calls, 3);
});

test("a deadline bounds the waits between attempts too", async () => {
  await using gateway = await answering(() => {
    throw unavailable("600000");
  });
  using client = new Client(gateway.address, { timeoutMs: 50 });
  const { code, retryAfterMs, requestId } = await failure(client.converse(question()));
  // As the attempt was, which has the time.
  deepEqual([code, retryAfterMs], ["UNAVAILABLE", 600_000]);
  ok(requestId);
});

test("an empty request id is none", async () => {
  let calls = 0;
  const ids = new Set<string>();
  await using gateway = await answering((_, requestId) => {
    calls += 1;
    ids.add(requestId);
    if (calls < 3) throw unavailable("0");
    return { requestId };
  });
  using client = new Client(gateway.address);
  const { requestId } = await client.converse(question(), { requestId: "" });
  deepEqual([calls, [...ids]], [3, [requestId]]);
  equal(requestId.length, 36);
});
