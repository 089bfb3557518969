/** Large files, which are uploaded before the call. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, rename, rm, stat, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { audio, Client, Conversation, DashgateError, image, video } from "dashgate";
import type { ConverseRequest } from "dashgate/v1";
import * as web from "dashgate/web";

import { failure } from "./tools/calls.js";
import { event, isLeftOf, played } from "./tools/gateway.js";

const MIB = 1024 * 1024;
let folder: string;
let sound: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "dashgate-"));
  sound = await file("sound.wav", 5 * MIB, "RIFF....WAVE");
});

after(() => rm(folder, { recursive: true }));

/** Makes a file that begins with a text. */
async function file(name: string, size: number, head: string): Promise<string> {
  const path = join(folder, name);
  await using made = await open(path, "w");
  await made.write(head);
  await made.truncate(size);
  return path;
}

interface Upload {
  model: string;
  mimeType: string;
  name: string;
  bytes: number;
}

/** A gateway that stores uploads for some time. */
async function storing(hours = 48) {
  const uploads: Upload[] = [];
  const requests: ConverseRequest[] = [];
  const headers: Headers[] = [];
  const gateway = await played({
    media: {
      uploadMedia: async (payloads, { requestHeader }) => {
        headers.push(requestHeader);
        const upload: Upload = { model: "", mimeType: "", name: "", bytes: 0 };
        for await (const { payload } of payloads) {
          if (payload.case === "chunk") upload.bytes += payload.value.length;
          if (payload.case !== "description") continue;
          const { model, mimeType, name } = payload.value;
          Object.assign(upload, { model, mimeType, name });
        }
        uploads.push(upload);
        const expiresAt = timestampFromMs(Date.now() + hours * 60 * 60_000);
        return { uri: `oss://${uploads.length}`, expiresAt };
      },
    },
    conversations: {
      getConversation: () => ({ conversation: { model: "stored" } }),
      converse: (request) => {
        requests.push(request);
        return {};
      },
      converseStream: async function* (request) {
        requests.push(request as unknown as ConverseRequest);
        yield await Promise.resolve({
          event: { case: "completed" as const, value: { choices: [{ index: 0 }] } },
        });
      },
    },
  });
  const { address, connections } = gateway;
  const close = () => gateway[Symbol.asyncDispose]();
  return { address, connections, uploads, requests, headers, [Symbol.asyncDispose]: close };
}

const uris = (request: ConverseRequest | undefined) =>
  request?.conversation?.messages.flatMap(({ content }) =>
    content.map(({ kind }) =>
      kind.case === "audio" || kind.case === "image" ? kind.value.source.value : kind.value,
    ),
  );

test("a large file is uploaded once, and sent as what the upload returned", async () => {
  await using gateway = await storing();
  const { uploads, requests, headers } = gateway;
  using client = new Client(gateway.address);
  const conversation = new Conversation("m").user(await audio(sound), "What is it?");
  match(
    JSON.stringify(conversation),
    /"mimeType":"audio\/wav","uri":"dashgate-file:[-0-9a-f]{36}"/,
  );
  const options = { metadata: { team: "one", "X-Request-Id": "mine" }, timeoutMs: 60_000 };
  await client.converse(conversation, options);
  const upload = { model: "m", mimeType: "audio/wav", name: "sound.wav", bytes: 5 * MIB };
  deepEqual(uploads, [upload]);
  equal(headers[0]?.get("team"), "one");
  ok(headers[0].get("x-request-id") !== "mine");
  isLeftOf(60_000, headers[0].get("grpc-timeout"));
  deepEqual(uris(requests[0]), ["oss://1", "What is it?"]);
  // The conversation stays as it is; the upload is remembered, also for other parts.
  await client.stream(conversation).final();
  await client.converse(new Conversation("m").user(await audio(pathToFileURL(sound).href)));
  equal(uploads.length, 1);
  deepEqual(uris(requests[2]), ["oss://1"]);
  // Not for another model or MIME type.
  await client.converse(new Conversation("other").user(await audio(sound)));
  await client.converse(new Conversation("m").user(await audio(sound, { mimeType: "audio/x" })));
  deepEqual(
    uploads.map(({ model, mimeType }) => [model, mimeType]),
    [
      ["m", "audio/wav"],
      ["other", "audio/wav"],
      ["m", "audio/x"],
    ],
  );
});

test("a file that is not the attached one any more is refused before anything is sent", async () => {
  await using gateway = await storing();
  using client = new Client(gateway.address);
  const path = await file("changed.wav", 5 * MIB, "RIFF....WAVE");
  const changes: Record<string, () => Promise<unknown>> = {
    "a later time": () => utimes(path, 1, 1),
    "another size": () => file("changed.wav", 6 * MIB, "RIFF....WAVE"),
    "another file of the same size and time": async () => {
      const { size, atime, mtime } = await stat(path);
      const other = await file("other.wav", size, "RIFF....WAVE");
      await utimes(other, atime, mtime);
      await rename(other, path);
    },
    "a pipe": async () => {
      await rm(path);
      await promisify(execFile)("mkfifo", [path]);
    },
    "a folder": async () => {
      await rm(path);
      await mkdir(path);
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    const kept = new Conversation("m").user(await audio(sound), await audio(path));
    await change();
    for (const call of [() => client.converse(kept), () => client.stream(kept).final()]) {
      const error = await failure(call());
      const field = "conversation.messages[0].content[1].audio.uri";
      equal(error.code, "INVALID_ARGUMENT", what);
      equal(error.message, `${field}: ${path} is not the file that was attached: attach it again`);
      equal(error.fieldViolations[0]?.field, field);
    }
    await rm(path, { recursive: true });
    await file("changed.wav", 5 * MIB, "RIFF....WAVE");
  }
  equal(gateway.connections(), 0);
});

test("a change after an upload is noticed, and the file can be attached again", async () => {
  await using gateway = await storing();
  const { uploads } = gateway;
  using client = new Client(gateway.address);
  const path = await file("written.wav", 5 * MIB, "RIFF....WAVE");
  const conversation = new Conversation("m").user(await audio(path));
  await client.converse(conversation);
  await utimes(path, 1, 1);
  equal((await failure(client.converse(conversation))).code, "INVALID_ARGUMENT");
  await client.converse(new Conversation("m").user(await audio(path)));
  equal(uploads.length, 2);
});

test("calls at once share an upload", async () => {
  await using gateway = await storing();
  const { uploads, requests } = gateway;
  using client = new Client(gateway.address);
  const calls = Array.from({ length: 5 }, async () =>
    client.converse(new Conversation("m").user(await audio(sound))),
  );
  await Promise.all(calls);
  equal(uploads.length, 1);
  deepEqual(requests.map(uris), Array<string[]>(5).fill(["oss://1"]));
});

test("another call makes the upload of a call that fails or is cancelled", async () => {
  const held = [event("the first upload"), event("the second upload")];
  const refused = event("the refusal");
  let count = 0;
  await using gateway = await played({
    media: {
      uploadMedia: async (payloads, { signal }) => {
        const number = count;
        count += 1;
        held[number]?.happens();
        if (number === 0) await once(signal, "abort");
        if (number === 1) {
          await refused.happened;
          throw new ConnectError("no", Code.PermissionDenied);
        }
        for await (const one of payloads) ok(one);
        return { uri: "oss://1", expiresAt: timestampFromMs(Date.now() + 48 * 60 * 60_000) };
      },
    },
    conversations: { converse: () => ({}) },
  });
  using client = new Client(gateway.address);
  const call = async (signal?: AbortSignal) =>
    client.converse(new Conversation("m").user(await audio(sound)), { signal });
  const leaver = new AbortController();
  const first = rejects(call(leaver.signal), { name: "AbortError" });
  await held[0]?.happened;
  const waiting = new AbortController();
  const left = rejects(call(waiting.signal), { name: "AbortError" });
  const others = Promise.allSettled([call(), call(), call()]);
  await new Promise(setImmediate);
  // One that leaves while it waits does not disturb the others.
  waiting.abort();
  await left;
  equal(count, 1);
  leaver.abort();
  await first;
  await held[1]?.happened;
  refused.happens();
  const failed = (await others).flatMap((one) =>
    one.status === "rejected" ? [one.reason as unknown] : [],
  );
  deepEqual(
    failed.map((error) => error instanceof DashgateError && error.code),
    ["PERMISSION_DENIED"],
  );
  equal(count, 3);
});

test("an upload that expires soon is not used again", async () => {
  await using gateway = await storing(0.9);
  const { uploads } = gateway;
  using client = new Client(gateway.address);
  const conversation = new Conversation("m").user(await audio(sound));
  await client.converse(conversation);
  await client.converse(conversation);
  equal(uploads.length, 2);
});

test("a stored conversation has the model of an upload", async () => {
  await using gateway = await storing();
  const { uploads } = gateway;
  using client = new Client(gateway.address);
  const conversation = new Conversation("", { name: "conversations/a" });
  await client.converse(conversation.user(await audio(sound)));
  equal(uploads[0]?.model, "stored");
});

test("frames and images are uploaded, smaller files are sent", async () => {
  await using gateway = await storing();
  const { uploads, requests } = gateway;
  using client = new Client(gateway.address);
  const picture = await file("a.png", 5 * MIB, "\x89PNG");
  const small = await file("b.wav", 4 * MIB, "RIFF....WAVE");
  const frames = await video([picture, "https://a/b.png"]);
  await client.converse(
    new Conversation("m").user(await image(picture), frames, await audio(small)),
  );
  equal(uploads.length, 1);
  const [first, second, third] = requests[0]?.conversation?.messages[0]?.content ?? [];
  equal(first?.kind.case === "image" && first.kind.value.source.value, "oss://1");
  ok(second?.kind.case === "video" && second.kind.value.source.case === "frames");
  deepEqual(
    second.kind.value.source.value.frames.map(({ source }) => source.value),
    ["oss://1", "https://a/b.png"],
  );
  ok(third?.kind.case === "audio" && third.kind.value.source.case === "data");
});

test("a file of another process is refused before anything is sent", async () => {
  await using gateway = await storing();
  const { requests } = gateway;
  const conversation = new Conversation("m").user(await audio("https://a/b"), "What is it?");
  const foreign = JSON.stringify(conversation).replace("https://a/b", "dashgate-file:1");
  for (const client of [new Client(gateway.address), new web.Client(`http://${gateway.address}`)]) {
    const again = Conversation.fromJSON(foreign);
    for (const call of [client.converse(again), client.stream(again).final()]) {
      const error = await failure(call);
      equal(error.code, "INVALID_ARGUMENT");
      equal(error.fieldViolations[0]?.field, "conversation.messages[0].content[0].audio.uri");
    }
    client.close();
  }
  equal(requests.length, 0);
  equal(gateway.connections(), 0);
});

test("a file that is gone is an error of the platform", async () => {
  await using gateway = await storing();
  using client = new Client(gateway.address);
  const path = await file("gone.wav", 5 * MIB, "RIFF....WAVE");
  const conversation = new Conversation("m").user(await audio(path));
  await rm(path);
  await rejects(client.converse(conversation), { code: "ENOENT", path });
});
