/**
 * The calls of a job whose texts a program reads: tools, structured output and message lists.
 */
import type { JsonValue } from "@bufbuild/protobuf";
import { Conversation, type Client, type ParsedSchema } from "dashgate";
import { ConversationSchema, ConverseStreamResponseSchema } from "dashgate/v1";

import { JobFault, Reader } from "./job.js";
import { answerJson, json, type Result } from "./result.js";

/** Runs the tool loop. */
export async function tools(client: Client, call: Reader, result: Result): Promise<void> {
  const conversation = new Conversation(call.must("model", call.text("model")));
  conversation.user(call.must("question", call.text("question")));
  const results = call.texts("results") ?? {};
  const called: { name: string; arguments: string }[] = [];
  result.tool_calls = called;
  const declared = call.list("tools").map((one) => {
    const tool = new Reader(one, "tool");
    const name = tool.must("name", tool.text("name"));
    const description = tool.text("description") ?? "";
    const parameters = tool.text("parameters");
    tool.done();
    const run = (argumentsJson: string): string => {
      called.push({ name, arguments: argumentsJson });
      const given = results[name];
      if (given === undefined) {
        throw new JobFault(`results: nothing for ${name}`);
      }
      return given;
    };
    return { name, description, parameters, run };
  });
  const options = { maxRounds: call.number("max_rounds"), parallel: call.flag("parallel") };
  const streamed = call.flag("stream");
  call.done();
  try {
    if (streamed) {
      const events: JsonValue[] = [];
      result.events = events;
      const stream = client.streamTools(conversation, declared, options);
      for await (const event of stream) {
        events.push(json(ConverseStreamResponseSchema, event));
      }
      result.answers = [answerJson(await stream.final())];
    } else {
      result.answers = [answerJson(await client.runTools(conversation, declared, options))];
    }
  } finally {
    result.conversation = json(ConversationSchema, conversation.raw);
  }
}

interface City {
  name: string;
  people: number;
  rivers: string[];
}

const CITY: ParsedSchema<City> = {
  jsonSchema: {
    type: "object",
    properties: {
      name: { type: "string" },
      people: { type: "integer" },
      rivers: { type: "array", items: { type: "string" } },
    },
    required: ["name", "people", "rivers"],
    additionalProperties: false,
  },
  parse: (value) => {
    const { name, people, rivers } = value as Partial<City>;
    const isCity =
      typeof name === "string" &&
      typeof people === "number" &&
      Number.isInteger(people) &&
      Array.isArray(rivers) &&
      rivers.every((river) => typeof river === "string");
    if (!isCity) {
      throw new TypeError("not a city");
    }
    return { name, people, rivers };
  },
};

/** Asks for a city. */
export async function structured(client: Client, call: Reader, result: Result): Promise<void> {
  const conversation = new Conversation(call.must("model", call.text("model")));
  conversation.user(call.must("question", call.text("question")));
  const options = { repair: call.flag("repair"), schemaName: "City" };
  call.done();
  const { value, answer } = await client.converseAs(CITY, conversation, options);
  result.value = { ...value };
  result.answers = [answerJson(answer)];
}

/** Reads a list of messages, without a call. */
export function messages(_client: Client, call: Reader, result: Result): Promise<void> {
  const model = call.must("model", call.text("model"));
  const list = call.must("messages", call.any("messages"));
  call.done();
  try {
    const conversation = Conversation.fromMessages(model, list as string | unknown[]);
    const again = Conversation.fromJSON(JSON.stringify(conversation));
    result.conversation = json(ConversationSchema, again.raw);
  } catch (refusal) {
    if (!(refusal instanceof TypeError)) throw refusal;
    const { message } = refusal;
    result.error = {
      code: "INVALID_ARGUMENT",
      message,
      output_started: false,
      retryable: false,
    };
  }
  return Promise.resolve();
}
