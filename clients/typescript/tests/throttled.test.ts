/** Calls that were throttled. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { Client } from "dashgate";

import {
  answering,
  completed,
  failure,
  question,
  said,
  started,
  streaming,
} from "./tools/calls.js";

const throttled = (afterMs?: number) =>
  new ConnectError(
    "slower",
    Code.ResourceExhausted,
    afterMs === undefined ? {} : { "grpc-retry-pushback-ms": String(afterMs) },
  );

test("a throttled call is made again when that is wanted, under one name", async () => {
  const names: string[] = [];
  await using gateway = await answering((_context, requestId) => {
    names.push(requestId);
    if (names.length < 3) throw throttled(1);
    return { requestId };
  });
  using client = new Client(gateway.address);
  const once = await failure(client.converse(question()));
  deepEqual([once.code, once.retryable, once.retryAfterMs], ["RESOURCE_EXHAUSTED", true, 1]);
  names.length = 0;
  const { requestId } = await client.converse(question(), { maxRetries: 2 });
  deepEqual(names, Array(3).fill(requestId));
  names.length = 0;
  equal((await failure(client.converse(question(), { maxRetries: 1 }))).code, "RESOURCE_EXHAUSTED");
  equal(names.length, 2);
});

test("the client's number is that of calls that have none", async () => {
  let calls = 0;
  await using gateway = await answering(() => {
    calls += 1;
    throw throttled(1);
  });
  using client = new Client(gateway.address, { maxRetries: 2 });
  await failure(client.converse(question()));
  equal(calls, 3);
  await failure(client.converse(question(), { maxRetries: 0 }));
  equal(calls, 4);
  for (const maxRetries of [-1, 1.5, NaN]) {
    throws(() => new Client(gateway.address, { maxRetries }), TypeError);
  }
});

test("a wait that the deadline does not allow is reported at once", async () => {
  await using gateway = await answering(() => {
    throw throttled(60_000);
  });
  using client = new Client(gateway.address, { maxRetries: 5, timeoutMs: 30_000 });
  const { code, retryAfterMs } = await failure(client.converse(question()));
  deepEqual([code, retryAfterMs], ["RESOURCE_EXHAUSTED", 60_000]);
});

test("without a time, nothing is known about a retry", async () => {
  let calls = 0;
  await using gateway = await answering(() => {
    calls += 1;
    throw throttled();
  });
  using client = new Client(gateway.address, { maxRetries: 5 });
  equal((await failure(client.converse(question()))).retryable, false);
  equal(calls, 1);
});

test("a stream is made again before its first event, and not after it", async () => {
  let calls = 0;
  let isAfterOutput = false;
  await using gateway = await streaming(async function* () {
    calls += 1;
    if (isAfterOutput) {
      yield* await Promise.resolve([started, said("a")]);
    }
    if (calls < 3) throw throttled(1);
    yield* await Promise.resolve([started, said("a"), completed]);
  });
  using client = new Client(gateway.address, { maxRetries: 2 });
  equal((await client.stream(question()).final()).text, "a");
  equal(calls, 3);
  calls = 0;
  isAfterOutput = true;
  const error = await failure(client.stream(question()).final());
  deepEqual([error.code, error.outputStarted, calls], ["RESOURCE_EXHAUSTED", true, 1]);
});
