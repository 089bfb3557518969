/** Mistakes that only programs in JavaScript can make. */
import { equal, ok, rejects, throws } from "node:assert/strict";
import { test } from "node:test";

import { Client, Conversation, image, text, video } from "dashgate";
import type { ToolCall } from "dashgate/v1";

import { answering, question } from "./tools/calls.js";

/** A value of a type that TypeScript would refuse. */
const wrong = (value: unknown): never => value as never;

test("a part that was not awaited is named", async () => {
  const part = image(Uint8Array.of(1), { mimeType: "image/png" });
  throws(() => question().user("Hi", wrong(part)), {
    name: "TypeError",
    message:
      "content[1]: a text, or a part such as `await image(...)` returns; this is a Promise, which must be awaited",
  });
  throws(() => question().assistant(wrong(undefined)), /content\[0\]: .*; this is undefined/);
  throws(() => question().user(wrong({ text: "Hi" })), /content\[0\]: .*; this is another object/);
  throws(() => question().user(wrong(["Hi"])), /content\[0\]: .*; this is an array/);
  throws(
    () => question().toolResult({ id: "c" } as ToolCall, wrong(Promise.resolve("a"))),
    /content\[0\]: .*; this is a Promise, which must be awaited/,
  );
  await rejects(
    image(wrong(Promise.resolve("a.png"))),
    /the source is a Promise, which must be awaited/,
  );
  await rejects(video([wrong(part)]), /the source is a Promise, which must be awaited/);
  const conversation = question().user(await part, text("b"));
  equal(conversation.raw.messages.length, 2);
});

test("an answer that was not awaited is named", async () => {
  await using gateway = await answering();
  using client = new Client(gateway.address);
  const conversation = question();
  const pending = client.converse(conversation);
  for (const name of ["", "conversations/a"]) {
    const next = new Conversation("m", { name }).user("Hi");
    throws(() => next.append(wrong(pending)), {
      name: "TypeError",
      message: "append: an Answer is expected; this is a Promise, which must be awaited",
    });
    equal(next.raw.messages.length, 1);
  }
  conversation.append(await pending);
});

test("what is no conversation is named, in every form of call", async () => {
  using client = new Client("127.0.0.1:1");
  const schema = { jsonSchema: {}, parse: () => 1 };
  const forms: ((conversation: Conversation) => unknown)[] = [
    (conversation) => client.converse(conversation),
    (conversation) => client.stream(conversation).final(),
    (conversation) => client.runTools(conversation, []),
    (conversation) => client.streamTools(conversation, []).final(),
    (conversation) => client.converseAs(schema, conversation),
  ];
  const values: [unknown, string][] = [
    ["m", "a string"],
    [undefined, "undefined"],
    [Promise.resolve(question()), "a Promise, which must be awaited"],
    [{ model: "m", messages: [] }, "another object"],
  ];
  for (const form of forms) {
    for (const [value, kind] of values) {
      const thrown: unknown = await Promise.resolve()
        .then(() => form(wrong(value)))
        .catch((reason: unknown) => reason);
      ok(thrown instanceof TypeError, String(thrown));
      equal(
        thrown.message,
        `conversation: a Conversation is expected, as new Conversation("MODEL").user("..."); this is ${kind}`,
      );
    }
  }
});

test("a source of an upload that was not awaited is named", async () => {
  using client = new Client("127.0.0.1:1");
  const bytes = wrong(Promise.resolve(Uint8Array.of(1)));
  await rejects(client.upload("m", bytes), {
    name: "TypeError",
    message: "the source is a Promise, which must be awaited",
  });
});
