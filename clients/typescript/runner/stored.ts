/**
 * The management of stored conversations, step by step.
 */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import type { Client } from "dashgate";
import {
  ConversationSchema,
  HistoryPolicySchema,
  TurnSchema,
  type Conversation,
} from "dashgate/v1";

import { JobFault, Reader } from "./job.js";
import { answerJson, json, type Result } from "./result.js";

type Step = (client: Client, step: Reader) => Promise<JsonValue>;

const STEPS: Readonly<Record<string, Step>> = {
  create: async (client, step) => {
    const options = { ...fields(step), id: step.text("id") };
    step.done();
    return conversation(await client.createConversation(options));
  },
  get: async (client, step) => {
    const name = named(step);
    step.done();
    return conversation(await client.getConversation(name));
  },
  list: async (client, step) => {
    const pageSize = step.number("page_size");
    step.done();
    const conversations: JsonValue[] = [];
    for await (const one of client.listConversations({ pageSize })) {
      conversations.push(json(ConversationSchema, one));
    }
    return { conversations };
  },
  update: async (client, step) => {
    const name = named(step);
    const options = fields(step);
    step.done();
    return conversation(await client.updateConversation(name, options));
  },
  delete: async (client, step) => {
    const name = named(step);
    step.done();
    await client.deleteConversation(name);
    return { deleted: true };
  },
  turns: async (client, step) => {
    const name = named(step);
    const options = {
      newestFirst: step.flag("newest_first"),
      includeMedia: step.flag("include_media"),
      pageSize: step.number("page_size"),
    };
    step.done();
    const turns: JsonValue[] = [];
    for await (const turn of client.listTurns(name, options)) {
      turns.push(json(TurnSchema, turn));
    }
    return { turns };
  },
  delete_turn: async (client, step) => {
    const name = named(step);
    step.done();
    await client.deleteTurn(name);
    return { deleted: true };
  },
  fork: async (client, step) => {
    const name = named(step);
    const options = { lastTurn: step.number("last_turn"), id: step.text("id") };
    step.done();
    return conversation(await client.forkConversation(name, options));
  },
  cancel_turn: async (client, step) => {
    const name = named(step);
    const requestId = step.text("request_id");
    step.done();
    return { cancelled: await client.cancelTurn(name, requestId) };
  },
  converse: async (client, step) => {
    const raw = step.must("conversation", step.any("conversation")) as JsonValue;
    const history = step.any("history") as JsonValue | undefined;
    const options = {
      expectedTurn: step.number("expected_turn"),
      ...(history !== undefined && { history: fromJson(HistoryPolicySchema, history) }),
    };
    step.done();
    const answer = await client.converse(fromJson(ConversationSchema, raw), options);
    return { answer: answerJson(answer) };
  },
};

/** Does the steps of a job in order. */
export async function stored(client: Client, call: Reader, result: Result): Promise<void> {
  const steps = call.list("steps");
  call.done();
  const returned: JsonValue[] = [];
  result.stored = returned;
  for (const one of steps) {
    const [name = "", ...others] = Object.keys(one as object);
    const step = Object.hasOwn(STEPS, name) ? STEPS[name] : undefined;
    if (step === undefined || others.length > 0) {
      throw new JobFault(`steps: ${name} is not known`);
    }
    const fieldsOfStep = new Reader((one as Record<string, unknown>)[name], name);
    returned.push(await step(client, fieldsOfStep));
  }
}

function conversation(stored: Conversation): JsonValue {
  return { conversation: json(ConversationSchema, stored) };
}

function named(step: Reader): string {
  return step.must("name", step.text("name"));
}

function fields(step: Reader) {
  return {
    model: step.text("model"),
    labels: step.texts("labels"),
    ttlSeconds: step.number("ttl_seconds"),
  };
}
