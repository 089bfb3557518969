/** Cancellation of calls and streams. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { test } from "node:test";

import { Client } from "dashgate";

import { answering, question, unavailable } from "./tools/calls.js";
import { event, raw } from "./tools/gateway.js";

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

test("a stream that was cancelled before its first read makes no call", async () => {
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

test("a signal that many calls share makes no warning", async () => {
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
