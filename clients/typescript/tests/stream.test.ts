/** Streams, against a scripted gateway. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";

import { Client, ErrorReason } from "dashgate";

import {
  completed,
  type Event,
  failure,
  question,
  said,
  started,
  streaming,
} from "./tools/calls.js";
import { event, isLeftOf } from "./tools/gateway.js";

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
