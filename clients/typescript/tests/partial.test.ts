/** Headers of answers and streams, and answers that are not complete. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { ConnectError, Code } from "@connectrpc/connect";
import { Client } from "dashgate";

import {
  answering,
  completed,
  type Event,
  failure,
  question,
  said,
  started,
  streaming,
} from "./tools/calls.js";

const beat: Event = { event: { case: "heartbeat", value: {} } };

test("an answer has the headers and trailers of the response", async () => {
  await using gateway = await answering(({ responseHeader, responseTrailer }) => {
    responseHeader.set("x-request-id", "r-1");
    responseHeader.set("blob-bin", "AQI");
    responseTrailer.set("x-dashscope-request-id", "u-1");
    return {};
  });
  using client = new Client(gateway.address);
  const { headers } = await client.converse(question());
  deepEqual([headers["x-request-id"], headers["x-dashscope-request-id"]], ["r-1", "u-1"]);
  ok(!("blob-bin" in headers) && !("grpc-status" in headers));
});

test("a stream has headers after the first event, and trailers at the end", async () => {
  await using gateway = await streaming(async function* ({ responseHeader, responseTrailer }) {
    responseHeader.set("x-request-id", "r-1");
    responseTrailer.set("x-dashscope-request-id", "u-1");
    yield* await Promise.resolve([started, completed]);
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  deepEqual(stream.headers, {});
  await stream[Symbol.asyncIterator]().next();
  equal(stream.headers["x-request-id"], "r-1");
  const { headers } = await stream.final();
  deepEqual([headers["x-request-id"], headers["x-dashscope-request-id"]], ["r-1", "u-1"]);
});

test("the answer so far is there after an error, and does not change", async () => {
  await using gateway = await streaming(async function* ({ responseHeader, responseTrailer }) {
    responseHeader.set("x-request-id", "r-1");
    responseTrailer.set("x-dashscope-request-id", "u-1");
    yield* await Promise.resolve([beat, started, said("a"), said("b")]);
    throw new ConnectError("no", Code.Internal);
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  const soFar = () => stream.partial;
  equal(soFar(), undefined);
  const events = stream[Symbol.asyncIterator]();
  await events.next();
  equal(soFar(), undefined, "a heartbeat is no part of an answer");
  await events.next();
  await events.next();
  const early = soFar();
  const error = await failure(stream.final());
  equal(error.headers["x-request-id"], "r-1");
  equal(error.headers["x-dashscope-request-id"], "u-1");
  const late = soFar();
  deepEqual([late?.text, late?.finishReason, late?.model, late?.requestId], ["ab", 0, "m", "r"]);
  equal(early?.text, "a");
});

test("the answer so far is there after a break", async () => {
  await using gateway = await streaming(async function* ({ signal }) {
    yield* await Promise.resolve([started, said("a")]);
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  for await (const words of stream.textDeltas()) {
    equal(words, "a");
    break;
  }
  equal(stream.partial?.text, "a");
});

test("a connection that is lost keeps the headers that came before", async () => {
  await using gateway = await streaming(async function* ({ responseHeader, signal }) {
    responseHeader.set("x-request-id", "r-1");
    yield started;
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
  });
  using client = new Client(gateway.address);
  const stream = client.stream(question());
  await stream[Symbol.asyncIterator]().next();
  gateway.drop();
  const error = await failure(stream.final());
  deepEqual([error.code, error.headers["x-request-id"]], ["UNAVAILABLE", "r-1"]);
});
