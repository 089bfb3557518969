/** Structured output. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import { create } from "@bufbuild/protobuf";
import { Client, Conversation, Role } from "dashgate";
import { GenerationOptionsSchema, type ConverseRequest } from "dashgate/v1";
import { z } from "zod";

import { failure } from "./tools/calls.js";
import { played } from "./tools/gateway.js";

const City = z.object({ name: z.string(), people: z.int(), rivers: z.array(z.string()) });
const OSLO = { name: "Oslo", people: 717710, rivers: ["Akerselva"] };

/** A model with these answers. */
async function answering(answers: string[]) {
  const requests: ConverseRequest[] = [];
  const gateway = await played({
    conversations: {
      converse: (request) => {
        requests.push(request);
        const text = { kind: { case: "text" as const, value: answers.shift() ?? "" } };
        return {
          choices: [{ message: { role: Role.ASSISTANT, content: [text] } }],
          requestId: request.requestId,
          usage: { outputTokens: requests.length },
        };
      },
    },
  });
  const close = () => gateway[Symbol.asyncDispose]();
  return { address: gateway.address, requests, [Symbol.asyncDispose]: close };
}

const describe = () => new Conversation("m").user("Describe Oslo.");

test("an answer is a value of the type, and the model gets its schema", async () => {
  await using gateway = await answering([JSON.stringify(OSLO)]);
  const { requests } = gateway;
  using client = new Client(gateway.address);
  const conversation = describe();
  const options = create(GenerationOptionsSchema, { temperature: 0.5 });
  const { value, answer } = await client.converseAs(City, conversation, {
    options,
    schemaName: "City",
  });
  deepEqual(value satisfies z.infer<typeof City>, OSLO);
  equal(answer.text, JSON.stringify(OSLO));
  equal(conversation.raw.messages.length, 1);
  equal(options.responseFormat, undefined);
  const sent = requests[0]?.options;
  equal(sent?.temperature, 0.5);
  ok(sent.responseFormat?.kind.case === "jsonSchema");
  const { name, schema, strict } = sent.responseFormat.kind.value;
  deepEqual([name, strict], ["City", true]);
  deepEqual((JSON.parse(schema) as { required: unknown }).required, ["name", "people", "rivers"]);
});

test("an answer that is not of the type is an error with its usage", async () => {
  for (const text of ['{"name":"Oslo"}', "Oslo is a city."]) {
    await using gateway = await answering([text]);
    const { requests } = gateway;
    using client = new Client(gateway.address);
    const error = await failure(client.converseAs(City, describe()));
    deepEqual(
      [error.code, error.rawReason, error.retryable, error.usage?.outputTokens, requests.length],
      ["INTERNAL", "OUTPUT_INVALID", false, 1, 1],
    );
    ok(error.requestId);
    // The text of the model is not quoted.
    ok(!inspect(error).includes("Oslo"));
  }
});

test("a repair shows the model its error, once", async () => {
  await using gateway = await answering(['{"name":"Oslo"}', JSON.stringify(OSLO)]);
  const { requests } = gateway;
  using client = new Client(gateway.address);
  const conversation = describe();
  const options = { repair: true, requestId: "mine" };
  const { value, answer } = await client.converseAs(City, conversation, options);
  deepEqual(value, OSLO);
  equal(answer.usage?.outputTokens, 2);
  equal(conversation.raw.messages.length, 1);
  const [first, second] = requests;
  equal(first?.requestId, "mine");
  ok(second?.requestId !== "mine");
  const texts = second?.conversation?.messages.map(({ content }) => content[0]?.kind.value);
  deepEqual(texts?.slice(0, 2), ["Describe Oslo.", '{"name":"Oslo"}']);
  match(JSON.stringify(texts), /people: /);
});

test("a repair that fails is an error", async () => {
  await using gateway = await answering(["no", "no"]);
  const { requests } = gateway;
  using client = new Client(gateway.address);
  await rejects(client.converseAs(City, describe(), { repair: true }), {
    rawReason: "OUTPUT_INVALID",
  });
  equal(requests.length, 2);
});
