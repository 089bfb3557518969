/** Parts of a message, and conversations. */
import { deepEqual, equal, rejects } from "node:assert/strict";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { toJson } from "@bufbuild/protobuf";
import { Answer, audio, Conversation, image, text, video } from "dashgate";
import { ContentSchema, ConversationSchema } from "dashgate/v1";
import * as web from "dashgate/web";

import { Fold } from "#dist/fold.js";
import { REPOSITORY } from "./tools/repository.js";

const TONE = join(REPOSITORY, "examples/tone.wav");
const GIF = new TextEncoder().encode("GIF89a");

test("a path is read, and never sent", async () => {
  for (const source of [TONE, pathToFileURL(TONE), pathToFileURL(TONE).href]) {
    const { kind } = await audio(source);
    equal(kind.case, "audio");
    equal(kind.value.mimeType, "audio/wav");
    equal(kind.value.source.case, "data");
    equal(kind.value.source.value.length, 64044);
  }
});

test("a file that cannot be read is an error of the platform, with its path", async () => {
  await rejects(audio("examples/none.wav"), { code: "ENOENT", path: "examples/none.wav" });
  await rejects(image(REPOSITORY), { code: "EISDIR", path: REPOSITORY });
  await rejects(image(REPOSITORY), (error: Error) => error.message.includes(REPOSITORY));
});

test("an address is sent as it stands", async () => {
  for (const uri of ["https://a/b.png", "HTTP://a/b", "oss://b/c", "data:image/png;base64,AA=="]) {
    deepEqual(toJson(ContentSchema, await image(uri)), { image: { uri } });
  }
  deepEqual(toJson(ContentSchema, await image(new URL("https://a/b?c"), { mimeType: "image/x" })), {
    image: { uri: "https://a/b?c", mimeType: "image/x" },
  });
});

test("bytes come in whatever holds them", async () => {
  const data = Buffer.from(GIF).toString("base64");
  const pieces = () => Readable.from([GIF.subarray(0, 2), GIF.subarray(2)]);
  for (const source of [GIF, Buffer.from(GIF), GIF.buffer, new Blob([GIF]), pieces()]) {
    deepEqual(toJson(ContentSchema, await image(source)), {
      image: { mimeType: "image/gif", data },
    });
  }
  const file = new File(["....."], "sound.OPUS");
  const { kind } = await web.audio(file);
  equal(kind.case === "audio" && kind.value.mimeType, "audio/opus");
});

test("hints are sent when they are given, and only then", async () => {
  const seen = await image(GIF, { maxPixels: 9, minPixels: undefined, mimeType: "image/x" });
  deepEqual(toJson(ContentSchema, seen), {
    image: { mimeType: "image/x", data: Buffer.from(GIF).toString("base64"), maxPixels: 9 },
  });
  deepEqual(toJson(ContentSchema, await video(["https://a/1.png", GIF], { fps: 2 })), {
    video: {
      fps: 2,
      frames: {
        frames: [
          { uri: "https://a/1.png" },
          { mimeType: "image/gif", data: Buffer.from(GIF).toString("base64") },
        ],
      },
    },
  });
});

test("a browser has no paths, and says so", async () => {
  await rejects(web.audio("sound.wav"), /give a File, a Blob or bytes/);
  await rejects(web.video("file:///a.mp4"), TypeError);
});

test("a conversation appends turns, answers and results", () => {
  const fold = new Fold();
  fold.add({
    ...{ $typeName: "dashgate.v1.ConverseStreamResponse", sequence: 1 },
    event: {
      case: "delta",
      value: {
        $typeName: "dashgate.v1.Delta",
        choiceIndex: 0,
        part: { case: "text", value: "Hi" },
        startsPart: false,
      },
    },
  });
  const answer = new Answer(fold.response());
  const conversation = new Conversation("m", "Be brief.").user("Hello", text("there"));
  const fork = conversation.append(answer).copy();
  conversation
    .toolResult(
      { $typeName: "dashgate.v1.ToolCall", index: 0, id: "c1", type: "", name: "f", arguments: "" },
      "42",
    )
    .assistant("So it is.")
    .declare({ name: "f", description: "old" })
    .declare({ name: "f", description: "new", parameters: '{"type": "object"}' })
    .choose({ functionName: "f" });
  deepEqual(toJson(ConversationSchema, conversation.raw), {
    model: "m",
    messages: [
      { role: "ROLE_SYSTEM", content: [{ text: "Be brief." }] },
      { role: "ROLE_USER", content: [{ text: "Hello" }, { text: "there" }] },
      { role: "ROLE_ASSISTANT", content: [{ text: "Hi" }] },
      { role: "ROLE_TOOL", content: [{ text: "42" }], toolCallId: "c1" },
      { role: "ROLE_ASSISTANT", content: [{ text: "So it is." }] },
    ],
    tools: [{ function: { name: "f", description: "new", parameters: '{"type": "object"}' } }],
    toolChoice: { functionName: "f" },
  });
  equal(fork.raw.messages.length, 3);
  equal(fork.choose("none").raw.toolChoice?.kind.value, 2);
});
