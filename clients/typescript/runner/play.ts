/**
 * The calls of a job, with the public functions of the library.
 */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import {
  Conversation,
  type AnswerStream,
  type CallOptions,
  type Client,
  type ConverseOptions,
} from "dashgate";
import {
  ConversationSchema,
  ConverseStreamResponseSchema,
  GenerationOptionsSchema,
  HistoryPolicySchema,
  ModelSchema,
  UploadMediaResponseSchema,
} from "dashgate/v1";

import { contents, JobFault, Reader } from "./job.js";
import { live, speak } from "./live.js";
import { answerJson, json, partialJson, type Result } from "./result.js";
import { stored } from "./stored.js";
import { messages, structured, tools } from "./texts.js";

type Doer = (client: Client, call: Reader, result: Result) => Promise<void>;

const DOES: Readonly<Record<string, Doer>> = {
  converse,
  stream,
  deltas,
  dialogue,
  tools,
  upload,
  many,
  models,
  model,
  stored,
  messages,
  structured,
  sniff,
  live,
  speak,
  cancel_call: cancelCall,
};

/** Runs a call and records its result, also if it fails. */
export async function play(client: Client, call: Reader, result: Result): Promise<void> {
  const name = call.must("do", call.text("do"));
  const doer = Object.hasOwn(DOES, name) ? DOES[name] : undefined;
  if (doer === undefined) {
    throw new JobFault(`call.do: ${name} is not known`);
  }
  await doer(client, call, result);
}

async function converse(client: Client, call: Reader, result: Result): Promise<void> {
  const { conversation, options } = asked(call);
  call.done();
  result.answers = [answerJson(await client.converse(conversation, options))];
}

async function stream(client: Client, call: Reader, result: Result): Promise<void> {
  const { conversation, options, afterEvents, cancel } = asked(call);
  const resume = (call.any("resume") as boolean | undefined) ?? true;
  call.done();
  const events: JsonValue[] = [];
  result.events = events;
  const answer = client.stream(conversation, { ...options, resume });
  await whole(answer, result, async () => {
    for await (const event of answer) {
      events.push(json(ConverseStreamResponseSchema, event));
      if (events.length === afterEvents) {
        cancel();
      }
    }
  });
}

async function deltas(client: Client, call: Reader, result: Result): Promise<void> {
  const { conversation, options, afterEvents, cancel } = asked(call);
  const resume = (call.any("resume") as boolean | undefined) ?? true;
  call.done();
  const pieces: string[] = [];
  result.deltas = pieces;
  const answer = client.stream(conversation, { ...options, resume });
  await whole(answer, result, async () => {
    for await (const piece of answer.textDeltas()) {
      pieces.push(piece);
      if (pieces.length === afterEvents) {
        cancel();
      }
    }
  });
}

/** Reads a stream; if it fails, the answer so far is a part of the result. */
async function whole(answer: AnswerStream, result: Result, read: () => Promise<void>) {
  try {
    await read();
    result.answers = [answerJson(await answer.final())];
  } catch (failure) {
    if (answer.partial !== undefined) {
      result.partial = partialJson(answer.partial);
    }
    throw failure;
  }
}

async function many(client: Client, call: Reader, result: Result): Promise<void> {
  const count = call.must("count", call.number("count"));
  const { conversation, options } = asked(call);
  call.done();
  const streams = Array.from({ length: count }, () => client.stream(conversation, options).final());
  const ended = await Promise.allSettled(streams);
  result.answers = ended.flatMap((one) =>
    one.status === "fulfilled" ? [answerJson(one.value)] : [],
  );
  const failed = ended.find((one) => one.status === "rejected");
  if (failed !== undefined) {
    throw failed.reason;
  }
}

async function dialogue(client: Client, call: Reader, result: Result): Promise<void> {
  const name = call.text("name");
  const model = call.text("model") ?? "";
  const conversation = new Conversation(model, { system: call.text("system"), name });
  const turns = call.list("turns") as unknown[][];
  const streamed = call.flag("stream");
  const options = settings(call);
  call.done();
  result.answers = [];
  try {
    if (name !== undefined) {
      await client.createConversation({ id: name.replace(/^conversations\//, ""), model });
    }
    for (const turn of turns) {
      conversation.user(...(await contents(turn)));
      const answer = streamed
        ? await client.stream(conversation, options).final()
        : await client.converse(conversation, options);
      conversation.append(answer);
      result.answers.push(answerJson(answer));
    }
  } finally {
    result.conversation = json(ConversationSchema, conversation.raw);
    if (name !== undefined) {
      result.last_turn = conversation.lastTurn;
    }
  }
}

async function upload(client: Client, call: Reader, result: Result): Promise<void> {
  const model = call.must("model", call.text("model"));
  const file = call.must("file", call.text("file"));
  const then = call.list("then");
  const options = {
    ...callOptions(call),
    mimeType: call.text("mime_type"),
    name: call.text("name"),
  };
  call.done();
  const uploaded = await client.upload(model, file, options);
  result.uploads = [json(UploadMediaResponseSchema, uploaded)];
  if (then.length > 0) {
    const conversation = new Conversation(model).user(...(await contents(then, uploaded.uri)));
    result.answers = [answerJson(await client.converse(conversation))];
  }
}

async function models(client: Client, call: Reader, result: Result): Promise<void> {
  const pageSize = call.number("page_size");
  call.done();
  const listed: JsonValue[] = [];
  result.models = listed;
  for await (const found of client.listModels({ pageSize })) {
    listed.push(json(ModelSchema, found));
  }
}

async function model(client: Client, call: Reader, result: Result): Promise<void> {
  const name = call.must("name", call.text("name"));
  call.done();
  result.models = [json(ModelSchema, await client.getModel(name))];
}

async function sniff(_client: Client, call: Reader, result: Result): Promise<void> {
  const specs = call.list("vectors").map((one) => {
    const vector = new Reader(one, "vector");
    const file = vector.must("file", vector.text("file"));
    vector.done();
    return { audio_file: file };
  });
  call.done();
  const made = await contents(specs);
  result.mime_types = made.map((part) => {
    if (typeof part === "string" || part.kind.case !== "audio") {
      throw new JobFault("the audio helper made something else");
    }
    return part.kind.value.mimeType;
  });
}

/** Returns the arguments of `converse` and `stream`. */
function asked(call: Reader) {
  const raw = call.must("conversation", call.any("conversation"));
  const conversation = Conversation.of(fromJson(ConversationSchema, raw as JsonValue));
  const controller = new AbortController();
  const cancel = call.object("cancel");
  const afterEvents = cancel?.number("after_events");
  const afterMs = cancel?.number("after_ms");
  cancel?.done();
  if (afterMs !== undefined) {
    setTimeout(() => {
      controller.abort();
    }, afterMs).unref();
  }
  const options: ConverseOptions = { ...settings(call), signal: controller.signal };
  return {
    conversation,
    options,
    afterEvents,
    cancel: () => {
      controller.abort();
    },
  };
}

function settings(call: Reader): ConverseOptions {
  const options = call.any("options") as JsonValue | undefined;
  const history = call.any("history") as JsonValue | undefined;
  return {
    ...callOptions(call),
    maxRetries: call.number("max_retries"),
    expectedTurn: call.number("expected_turn"),
    ...(history !== undefined && { history: fromJson(HistoryPolicySchema, history) }),
    ...(options !== undefined && { options: fromJson(GenerationOptionsSchema, options) }),
  };
}

async function cancelCall(client: Client, call: Reader): Promise<void> {
  const requestId = call.must("request_id", call.text("request_id"));
  call.done();
  await client.cancelCall(requestId);
}

function callOptions(call: Reader): CallOptions {
  return {
    requestId: call.text("request_id"),
    timeoutMs: call.number("timeout_ms"),
    metadata: call.texts("metadata"),
  };
}
