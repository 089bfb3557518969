/** Calls, against a scripted gateway. */
import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { test } from "node:test";
import { inspect } from "node:util";

import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, Conversation, ErrorReason } from "dashgate";

import {
  type Event,
  question,
  said,
  started,
  completed,
  unavailable,
  answering,
  streaming,
  failure,
} from "./tools/calls.js";
import { event, isLeftOf, played, raw } from "./tools/gateway.js";

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
  const { code, reason, requestId } = await failure(client.converse(question()));
  deepEqual([code, reason], ["DEADLINE_EXCEEDED", ErrorReason.DEADLINE_EXCEEDED]);
  ok(requestId);
});

test("a stream has no deadline unless it is given one", async () => {
  const seen: (string | null)[] = [];
  await using gateway = await streaming(async function* ({ requestHeader }) {
    seen.push(requestHeader.get("grpc-timeout"));
    yield* await Promise.resolve([completed]);
  });
  using client = new Client(gateway.address);
  await client.stream(question()).final();
  await client.stream(question(), { timeoutMs: 5000 }).final();
  await client.stream(question(), { timeoutMs: 1e12 }).final();
  await client.stream(question(), { timeoutMs: Infinity }).final();
  equal(seen.length, 4);
  equal(seen[0], null);
  isLeftOf(5000, seen[1]);
  isLeftOf(99_999_999, seen[2]);
  equal(seen[3], null);
  for (const timeoutMs of [0, -1, NaN]) {
    throws(() => new Client("a:1", { timeoutMs }), TypeError);
    throws(() => new Client("a:1", { idleTimeoutMs: timeoutMs }), TypeError);
  }
});

test("a silent stream is given up, and its call is cancelled", async () => {
  const { happened, happens } = event("the end of the call");
  await using gateway = await streaming(async function* ({ signal }) {
    signal.addEventListener("abort", () => {
      happens();
    });
    yield started;
    await happened;
  });
  using client = new Client(gateway.address, { idleTimeoutMs: 50 });
  const { code, rawReason } = await failure(client.stream(question()).final());
  deepEqual([code, rawReason], ["DEADLINE_EXCEEDED", "STREAM_IDLE"]);
  await happened;
});

test("heartbeats keep a stream alive", async () => {
  const beat: Event = { event: { case: "heartbeat", value: {} } };
  await using gateway = await streaming(async function* () {
    for (let beats = 0; beats < 10; beats += 1) {
      yield beat;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    yield completed;
  });
  using client = new Client(gateway.address, { idleTimeoutMs: 150 });
  await client.stream(question()).final();
});

test("a stream that ends too early fails, however it is read", async () => {
  await using gateway = await streaming(async function* () {
    yield* await Promise.resolve([started, said("half")]);
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  const words: string[] = [];
  const error = await failure(
    (async () => {
      for await (const piece of stream.textDeltas()) words.push(piece);
    })(),
  );
  deepEqual(
    [error.code, error.reason, words],
    ["INTERNAL", ErrorReason.STREAM_TRUNCATED, ["half"]],
  );
  deepEqual([error.rawReason, error.outputStarted], ["STREAM_TRUNCATED", true]);
  equal(await failure(stream.final()), error);
});

test("texts are those of the first choice, and final gives all", async () => {
  const other: Event = {
    event: { case: "delta", value: { choiceIndex: 1, part: { case: "text", value: "other" } } },
  };
  await using gateway = await streaming(async function* () {
    yield* await Promise.resolve([started, said("a"), said(""), other, said("b"), completed]);
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  const words: string[] = [];
  for await (const piece of stream.textDeltas()) words.push(piece);
  const answer = await stream.final();
  deepEqual([words, answer.text, answer.choices.length], [["a", "b"], "ab", 2]);
  equal(await stream.final().then(({ text }) => text), "ab");
});

/** Cancels after the first event; the gateway must receive the cancellation. */
async function cancelled(
  leave: (client: Client, controller: AbortController) => Promise<unknown>,
): Promise<unknown> {
  const { happened, happens } = event("the cancel at the gateway");
  const code = event<unknown>("the code");
  await using gateway = await raw((stream) => {
    stream.on("close", () => {
      happens();
      code.happens(stream.rstCode);
    });
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" });
    // Started, after the five bytes of the gRPC frame header.
    stream.write(Uint8Array.of(0, 0, 0, 0, 2, 0x12, 0));
  });
  const client = new Client(gateway.address);
  const came = await leave(client, new AbortController());
  await happened;
  equal(await code.happened, 8, "the code of HTTP/2 is CANCEL");
  client.close();
  return came;
}

test("leaving the loop cancels the call", async () => {
  await cancelled(async (client) => {
    const stream = client.stream(question());
    for await (const one of stream) {
      equal(one.event.case, "started");
      break;
    }
    await rejects(stream.final(), { name: "AbortError" });
  });
});

test("the end of a using block cancels the call", async () => {
  await cancelled(async (client) => {
    using stream = client.stream(question());
    await stream[Symbol.asyncIterator]().next();
  });
});

test("a signal cancels the call, with its own reason", async () => {
  const reason = new Error("enough");
  await cancelled(async (client, controller) => {
    const { signal } = controller;
    const read = async () => {
      for await (const one of client.stream(question(), { signal })) {
        ok(one);
        controller.abort(reason);
      }
    };
    await rejects(read(), reason);
  });
});

test("cancelling a stream ends whoever reads it", async () => {
  await cancelled(async (client) => {
    const stream = client.stream(question());
    await stream[Symbol.asyncIterator]().next();
    const rest = stream.final();
    stream.cancel();
    await rejects(rest, { name: "AbortError" });
  });
});

test("a stream that was cancelled before its first read calls nobody", async () => {
  await using gateway = await answering();
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  stream.cancel();
  await rejects(stream.final(), { name: "AbortError" });
  await rejects(client.converse(question(), { signal: AbortSignal.abort() }), {
    name: "AbortError",
  });
  equal(gateway.connections(), 0);
});

test("a signal cancels a call that waits for its next attempt", async () => {
  const { happened, happens } = event("the first attempt");
  await using gateway = await answering(() => {
    happens();
    throw unavailable("600000");
  });
  using client = new Client(gateway.address);
  const controller = new AbortController();
  const call = client.converse(question(), { signal: controller.signal });
  await happened;
  setImmediate(() => {
    controller.abort();
  });
  await rejects(call, { name: "AbortError" });
});

test("a signal that many calls share warns nobody", async () => {
  const warnings: Error[] = [];
  const warned = (warning: Error) => warnings.push(warning);
  process.on("warning", warned);
  try {
    await using gateway = await answering();
    using client = new Client(gateway.address);
    const { signal } = new AbortController();
    await Promise.all(Array.from({ length: 40 }, () => client.converse(question(), { signal })));
    await new Promise(setImmediate);
    deepEqual(warnings, []);
  } finally {
    process.off("warning", warned);
  }
});
