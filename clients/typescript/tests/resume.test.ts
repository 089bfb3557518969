/** Streams whose connection is lost, or that are left, against a scripted gateway. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, encodeBinaryHeader } from "@connectrpc/connect";
import { Client, DashgateError } from "dashgate";
import {
  ConverseStreamResponseSchema,
  StartedSchema,
  type ConverseStreamRequest,
} from "dashgate/v1";

import { ErrorInfoSchema, StatusSchema } from "#dist/gen/dashgate/client/v1/error_details_pb.js";
import { Resumption } from "#dist/resume.js";

import { completed, type Event, failure, question, said, started } from "./tools/calls.js";
import { event as awaited, played, type Gateway } from "./tools/gateway.js";

type Part = (signal: AbortSignal) => AsyncGenerator<Event, void>;

/** Gives the events their sequence numbers. Started is resumable. */
function numbered(first: number, ...events: Event[]): Event[] {
  return events.map((one, at) => {
    const event = create(ConverseStreamResponseSchema, one);
    event.sequence = first + at;
    if (event.event.case === "started") {
      event.event.value = create(StartedSchema, { model: "m", requestId: "r", resumable: true });
    }
    return event;
  });
}

/** What one connection has of a stream. */
function part(events: Event[], code?: Code, reason?: string): Part {
  return async function* () {
    yield* await Promise.resolve(events);
    if (code !== undefined) {
      // With this pushback, no attempt is repeated by the retry policy.
      throw new ConnectError("it failed", code, {
        "grpc-retry-pushback-ms": "-1",
        ...(reason !== undefined && { "grpc-status-details-bin": details(code, reason) }),
      });
    }
  };
}

function details(code: Code, reason: string): string {
  const value = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: "dashgate" }));
  const typeUrl = "type.googleapis.com/google.rpc.ErrorInfo";
  const status = create(StatusSchema, { code, details: [{ typeUrl, value }] });
  return encodeBinaryHeader(toBinary(StatusSchema, status));
}

function waits(...events: Event[]): Part {
  return async function* (signal) {
    yield* events;
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
  };
}

const lost = (...events: Event[]): Part => part(events, Code.Unavailable);

interface Played extends Gateway {
  readonly requests: ConverseStreamRequest[];
  readonly cancelled: string[];
  readonly keys: (string | null)[];
}

async function playing(...parts: Part[]): Promise<Played> {
  const requests: ConverseStreamRequest[] = [];
  const cancelled: string[] = [];
  const keys: (string | null)[] = [];
  const gateway = await played({
    conversations: {
      converseStream: (request, { signal }) => {
        requests.push(request);
        return (parts[requests.length - 1] ?? waits())(signal);
      },
    },
    calls: {
      cancelCall: ({ requestId }, { requestHeader }) => {
        cancelled.push(requestId);
        keys.push(requestHeader.get("authorization"));
        return {};
      },
    },
  });
  return { ...gateway, requests, cancelled, keys };
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    ok(tries < 2000, "it did not happen");
    await sleep(5);
  }
}

/** What a stream cancels is on the connection before this. */
async function cancelsNothing(client: Client, gateway: Played): Promise<void> {
  await client.cancelCall("other");
  deepEqual(gateway.cancelled, ["other"]);
}

test("a stream continues after a lost connection", async () => {
  await using gateway = await playing(
    lost(...numbered(1, started, said("a"), said("b"))),
    part(numbered(4, said("c")), Code.Internal),
    // One that was received is not reported again.
    part(numbered(4, said("c"), said("d")), Code.Unavailable, "SHUTTING_DOWN"),
    part(numbered(6, completed)),
  );
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  equal((await stream.final()).text, "abcd");
  deepEqual(
    gateway.requests.map(({ afterSequence }) => afterSequence),
    [0, 3, 4, 5],
  );
  equal(new Set(gateway.requests.map(({ requestId }) => requestId)).size, 1);
  equal(stream.resumes, 3);
  await cancelsNothing(client, gateway);
});

test("a connection that is lost after the last event is the end", async () => {
  await using gateway = await playing(lost(...numbered(1, started, said("a"), completed)));
  using client = new Client(gateway.address);
  equal((await client.stream(question()).final()).text, "a");
  equal(gateway.requests.length, 1);
});

for (const [code, reason] of [
  [Code.OutOfRange, "RESUME_GAP"],
  [Code.NotFound, "CALL_NOT_FOUND"],
  [Code.Unimplemented, undefined],
] as const) {
  test(`a call that is gone fails with the first error: ${Code[code]}`, async () => {
    await using gateway = await playing(
      lost(...numbered(1, started, said("a"))),
      part([], code, reason),
    );
    using client = new Client(gateway.address);
    const failed = await failure(client.stream(question()).final());
    equal(failed.code, "UNAVAILABLE");
    ok(failed.outputStarted);
  });
}

test("a resumed stream without the next event fails with the first error", async () => {
  await using gateway = await playing(
    lost(...numbered(1, started, said("a"))),
    part(numbered(4, said("late"), completed)),
  );
  using client = new Client(gateway.address);
  equal((await failure(client.stream(question()).final())).code, "UNAVAILABLE");
  equal(gateway.requests.length, 2);
});

test("other errors of a resumed stream are its errors", async () => {
  await using gateway = await playing(
    lost(...numbered(1, started, said("a"))),
    part([], Code.Aborted, "CALL_CANCELLED"),
  );
  using client = new Client(gateway.address);
  const failed = await failure(client.stream(question()).final());
  equal(failed.rawReason, "CALL_CANCELLED");
  ok(failed.outputStarted);
});

for (const [name, once, resume] of [
  ["opted out", lost(...numbered(1, started)), false],
  ["older gateway", lost(started, said("a")), true],
  ["final error", part(numbered(1, started), Code.Internal, "OWNER_LOST"), true],
  ["truncated", part(numbered(1, started)), true],
] as const) {
  test(`a stream that is not resumed: ${name}`, async () => {
    await using gateway = await playing(once);
    using client = new Client(gateway.address);
    const stream = client.stream(question(), { resume });
    await failure(stream.final());
    equal(stream.resumes, 0);
    equal(gateway.requests.length, 1);
    await cancelsNothing(client, gateway);
  });
}

test("attempts are limited, and the first error is thrown", () => {
  const state = new Resumption(true, false);
  const [first] = numbered(1, started);
  state.received(create(ConverseStreamResponseSchema, first));
  const error = (message: string) => new DashgateError(message, { code: "UNAVAILABLE" });
  const original = error("first");
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const delay = state.failed(attempt === 0 ? original : error("later"), false);
    ok(delay !== undefined && delay <= 5000);
  }
  try {
    state.failed(error("last"), false);
  } catch (thrown) {
    equal(thrown, original);
    return;
  }
  ok(false, "there are more attempts");
});

test("the deadline applies to all connections, and ends the call", async () => {
  await using gateway = await playing(lost(...numbered(1, started)), waits());
  using client = new Client(gateway.address);
  const stream = client.stream(question(), { timeoutMs: 800 });
  equal((await failure(stream.final())).code, "DEADLINE_EXCEEDED");
  await until(() => gateway.cancelled.length > 0);
  deepEqual(gateway.cancelled, [stream.requestId]);
});

test("a deadline does not end a call with a given id", async () => {
  await using gateway = await playing(waits(...numbered(1, started)));
  using client = new Client(gateway.address);
  await failure(client.stream(question(), { timeoutMs: 300, requestId: "mine" }).final());
  await cancelsNothing(client, gateway);
});

test("leaving a stream cancels its call, also if the client is closed at once", async () => {
  await using gateway = await playing(waits(...numbered(1, started)));
  const client = new Client(gateway.address, { apiKey: "k" });
  const stream = client.stream(question());
  for await (const { sequence } of stream) {
    equal(sequence, 1);
    break;
  }
  client.close();
  await until(() => gateway.cancelled.length > 0);
  deepEqual(gateway.cancelled, [stream.requestId]);
  deepEqual(gateway.keys, ["Bearer k"]);
});

test("a signal cancels the call of a stream between two reads", async () => {
  await using gateway = await playing(waits(...numbered(1, started)));
  using client = new Client(gateway.address);
  const controller = new AbortController();
  const stream = client.stream(question(), { signal: controller.signal });
  await stream[Symbol.asyncIterator]().next();
  controller.abort();
  await until(() => gateway.cancelled.length > 0);
});

test("a signal that was aborted before the call cancels nothing at the gateway", async () => {
  await using gateway = await playing();
  using client = new Client(gateway.address);
  const signal = AbortSignal.abort();
  await rejects(client.stream(question(), { signal }).final(), { name: "AbortError" });
  await cancelsNothing(client, gateway);
  deepEqual(gateway.requests, []);
});

test("closing the client cancels the calls of its streams", async () => {
  await using gateway = await playing(waits(...numbered(1, started)));
  const client = new Client(gateway.address);
  const stream = client.stream(question());
  await stream[Symbol.asyncIterator]().next();
  client.close();
  await until(() => gateway.cancelled.length > 0);
});

test("leaving cancels nothing that ends with its connection", async () => {
  await using gateway = await playing(waits(...numbered(1, started)), waits(started));
  using client = new Client(gateway.address);
  for (const resume of [false, true]) {
    for await (const one of client.stream(question(), { resume })) {
      ok(one);
      break;
    }
  }
  await cancelsNothing(client, gateway);
});

test("a cancellation ends the wait for another attempt", async () => {
  const { happened, happens } = awaited("the second event");
  await using gateway = await playing(lost(...numbered(1, started, said("a"))), async function* () {
    yield* await Promise.resolve([]);
    happens();
    throw new ConnectError("again", Code.Unavailable, { "grpc-retry-pushback-ms": "-1" });
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  const read = stream.final();
  const ended = rejects(read, { name: "AbortError" });
  await happened;
  stream.cancel();
  await ended;
});
