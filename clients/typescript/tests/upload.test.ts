/** Uploads. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";
import { Client, DashgateError, type UploadSource } from "dashgate";
import type { UploadMediaRequest } from "dashgate/v1";

import { event, isLeftOf, played } from "./tools/gateway.js";
import { REPOSITORY } from "./tools/repository.js";

const TONE = join(REPOSITORY, "examples/tone.wav");

/** Uploads, and returns what the gateway received. */
async function uploaded(source: UploadSource, options: { mimeType?: string; name?: string } = {}) {
  const got: UploadMediaRequest["payload"][] = [];
  const names: (string | null)[] = [];
  await using gateway = await played({
    media: {
      uploadMedia: async (requests, { requestHeader }) => {
        names.push(requestHeader.get("x-request-id"), requestHeader.get("grpc-timeout"));
        for await (const { payload } of requests) got.push(payload);
        return { uri: "oss://a/b" };
      },
    },
  });
  using client = new Client(gateway.address);
  const { uri } = await client.upload("m", source, { ...options, requestId: "mine" });
  equal(uri, "oss://a/b");
  const [requestId, timeout] = names;
  equal(requestId, "mine");
  isLeftOf(600_000, timeout);
  const [first, ...rest] = got;
  ok(first?.case === "description");
  const chunks = rest.map((payload) => (payload.case === "chunk" ? payload.value : undefined));
  return { description: first.value, chunks: chunks.map((chunk) => chunk?.length) };
}

test("a path is told by its last part and its size", async () => {
  const { description, chunks } = await uploaded(TONE);
  const { name, sizeBytes, mimeType } = description;
  deepEqual([name, sizeBytes, mimeType, chunks], ["tone.wav", 64044n, "audio/wav", [64044]]);
});

test("bytes are cut into chunks of 256 KiB, however they come", async () => {
  const KIB = 1024;
  const bytes = new Uint8Array(600 * KIB);
  const whole = [256 * KIB, 256 * KIB, 88 * KIB];
  const direct = await uploaded(bytes, { mimeType: "audio/x", name: "n.x" });
  deepEqual(direct.chunks, whole);
  equal(direct.description.sizeBytes, BigInt(bytes.length));
  deepEqual([direct.description.mimeType, direct.description.name], ["audio/x", "n.x"]);
  deepEqual((await uploaded(new Blob([bytes]))).chunks, whole);
  const pieces = Readable.from(Array.from({ length: 6 }, () => new Uint8Array(100 * KIB)));
  const streamed = await uploaded(pieces);
  deepEqual(streamed.chunks, whole);
  equal(streamed.description.sizeBytes, undefined);
  deepEqual((await uploaded(createReadStream(TONE))).chunks, [64044]);
  deepEqual((await uploaded(new Uint8Array())).chunks, []);
});

test("a fault of the source reaches the caller as it is", async () => {
  await using gateway = await played({
    media: {
      uploadMedia: async (requests) => {
        for await (const one of requests) ok(one);
        return {};
      },
    },
  });
  using client = new Client(gateway.address);
  const fault = new Error("the disk is gone");
  async function* broken() {
    yield await Promise.resolve(new Uint8Array(1000));
    throw fault;
  }
  await rejects(client.upload("m", broken()), fault);
  await rejects(client.upload("m", "examples/none.wav"), { code: "ENOENT" });
});

test("an upload that is refused early ends early, and is not repeated", async () => {
  let calls = 0;
  await using gateway = await played({
    media: {
      uploadMedia: () => {
        calls += 1;
        throw new ConnectError("no", Code.Unavailable);
      },
    },
  });
  using client = new Client(gateway.address);
  const closed = event("the end of the source");
  async function* endless() {
    try {
      for (;;) {
        yield new Uint8Array(64 * 1024);
        await new Promise(setImmediate);
      }
    } finally {
      closed.happens();
    }
  }
  await rejects(
    client.upload("m", endless()),
    (error) => error instanceof DashgateError && error.code === "UNAVAILABLE",
  );
  equal(calls, 1);
  await closed.happened;
});

test("a source ends with its call, also while it waits for the next piece", async () => {
  await using gateway = await played({
    media: {
      uploadMedia: async (requests) => {
        for await (const one of requests) ok(one);
        return {};
      },
    },
  });
  for (const leave of ["signal", "lost", "closed"]) {
    using client = new Client(gateway.address);
    const stop = new AbortController();
    const read = event("a piece");
    const ended = event("the end of the source");
    async function* slow() {
      try {
        for (;;) {
          yield new Uint8Array(10);
          read.happens();
          await new Promise((next) => setTimeout(next, 50));
        }
      } finally {
        ended.happens();
      }
    }
    const pipe = new Readable({ read: () => undefined });
    pipe.push(new Uint8Array(10));
    const uploads = [slow(), pipe].map((source) =>
      client.upload("m", source, { signal: stop.signal }),
    );
    const over = Promise.allSettled(uploads);
    await read.happened;
    if (leave === "signal") stop.abort();
    if (leave === "lost") gateway.drop();
    if (leave === "closed") client.close();
    await ended.happened;
    deepEqual(
      (await over).map(({ status }) => status),
      ["rejected", "rejected"],
      leave,
    );
    ok(pipe.destroyed, leave);
  }
});
