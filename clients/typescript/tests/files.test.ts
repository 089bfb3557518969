/** Large files, which are uploaded before the call. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { mkdtemp, open, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { audio, Client, Conversation, image, video } from "dashgate";
import type { ConverseRequest } from "dashgate/v1";
import * as web from "dashgate/web";

import { failure } from "./tools/calls.js";
import { isLeftOf, played } from "./tools/gateway.js";

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
  // Not for another model, nor for a file that has changed.
  await client.converse(new Conversation("other").user(await audio(sound)));
  await utimes(sound, 1, 1);
  await client.converse(conversation);
  deepEqual(
    uploads.map(({ model }) => model),
    ["m", "other", "m"],
  );
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
