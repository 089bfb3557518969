/** The log. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Client } from "dashgate";

import { ErrorInfoSchema } from "#dist/gen/dashgate/client/v1/error_details_pb.js";

import {
  answering,
  failure,
  logged,
  question,
  started,
  streaming,
  unavailable,
} from "./tools/calls.js";

const took = (line: string | undefined) => line?.replace(/\d+ ms/, "N ms");

test("info has a line for each call, and no content", async () => {
  let isRefused = false;
  await using gateway = await answering(() => {
    if (isRefused) throw new ConnectError("secret words", Code.InvalidArgument);
    return {};
  });
  const lines = await logged("info", async () => {
    using client = new Client(gateway.address, { apiKey: "sk-hush", metadata: { team: "hush" } });
    await client.converse(question(), { requestId: "r-1" });
    isRefused = true;
    await failure(client.converse(question(), { requestId: "r-2" }));
  });
  deepEqual(lines.map(took), [
    `dashgate: Converse OK N ms, request id r-1, ${gateway.address}`,
    `dashgate: Converse INVALID_ARGUMENT N ms, request id r-2, ${gateway.address}`,
  ]);
});

test("the end of a stream is logged once, also if it was left", async () => {
  await using gateway = await streaming(async function* ({ signal }) {
    yield started;
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
  });
  const lines = await logged("info", async () => {
    using client = new Client(gateway.address);
    for await (const event of client.stream(question(), { requestId: "r-1" })) {
      ok(event);
      break;
    }
    const stream = client.stream(question(), { requestId: "r-2" });
    await stream[Symbol.asyncIterator]().next();
    stream.cancel();
    await new Promise(setImmediate);
    await failure(client.stream(question(), { requestId: "r-3", timeoutMs: 20 }).final());
  });
  const place = (id: string) => `request id ${id}, ${gateway.address}`;
  deepEqual(lines.map(took), [
    `dashgate: ConverseStream CANCELLED N ms, ${place("r-1")}`,
    `dashgate: ConverseStream CANCELLED N ms, ${place("r-2")}`,
    `dashgate: ConverseStream DEADLINE_EXCEEDED N ms, ${place("r-3")}`,
  ]);
});

test("debug also has connections and retries", async () => {
  let calls = 0;
  await using gateway = await answering(() => {
    calls += 1;
    if (calls === 1) throw unavailable("3");
    return {};
  });
  const lines = await logged("debug", async () => {
    using client = new Client(gateway.address);
    await client.converse(question());
  });
  equal(lines.length, 3);
  match(lines[0] ?? "", /^dashgate: connection 1, 127/);
  match(lines[1] ?? "", /^dashgate: Converse retry in 3 ms after UNAVAILABLE, request id /);
  match(lines[2] ?? "", /^dashgate: Converse OK /);
});

test("texts from elsewhere are printable, short and on one line", async () => {
  const reason = "A\nB\u001b[31m\u00e9\u{1f600}" + "C".repeat(300);
  const value = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { reason }));
  const type = "google.rpc.ErrorInfo";
  await using gateway = await answering(() => {
    const error = new ConnectError("no", Code.InvalidArgument);
    error.details = [{ type, value }];
    throw error;
  });
  const lines = await logged("info", async () => {
    using client = new Client(gateway.address);
    await failure(
      client.converse(question(), { requestId: "r\r\n\u0000\ud800" + "i".repeat(300) }),
    );
  });
  const shown = `A?B?[31m??${"C".repeat(190)}`;
  const id = `r????${"i".repeat(195)}`;
  deepEqual(lines.map(took), [
    `dashgate: Converse INVALID_ARGUMENT ${shown} N ms, request id ${id}, ${gateway.address}`,
  ]);
});

test("other values are off", async () => {
  await using gateway = await answering();
  for (const level of ["off", "", "trace"]) {
    const lines = await logged(level, async () => {
      using client = new Client(gateway.address);
      await client.converse(question());
    });
    deepEqual(lines, []);
  }
});
