/** Questions, answers and gateways for several tests. */
import { ok } from "node:assert/strict";
import { env } from "node:process";
import { inspect } from "node:util";

import { type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { Conversation, DashgateError } from "dashgate";
import { type ConverseResponseSchema, type ConverseStreamResponseSchema } from "dashgate/v1";

import { played } from "./gateway.js";

export type Response = MessageInitShape<typeof ConverseResponseSchema>;
export type Event = MessageInitShape<typeof ConverseStreamResponseSchema>;

export const question = () => new Conversation("m").user("Hello");
export const said = (words: string): Event => ({
  event: { case: "delta", value: { part: { case: "text", value: words } } },
});
export const started: Event = { event: { case: "started", value: { model: "m", requestId: "r" } } };
export const completed: Event = {
  event: { case: "completed", value: { choices: [{ index: 0 }] } },
};
export const unavailable = (pushback?: string) =>
  new ConnectError(
    "not now",
    Code.Unavailable,
    pushback === undefined ? {} : { "grpc-retry-pushback-ms": pushback },
  );

export function answering(
  answer: (context: HandlerContext, requestId: string) => Response = () => ({}),
) {
  return played({
    conversations: { converse: (request, context) => answer(context, request.requestId) },
  });
}

export function streaming(events: (context: HandlerContext) => AsyncIterable<Event>) {
  return played({ conversations: { converseStream: (_request, context) => events(context) } });
}

export async function failure(call: Promise<unknown>): Promise<DashgateError> {
  const thrown: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  ok(thrown instanceof DashgateError, `thrown: ${inspect(thrown)}`);
  return thrown;
}

/** What is written to standard error while a function runs, with this level. */
export async function logged(level: string, run: () => Promise<void>): Promise<string[]> {
  const { stderr } = process;
  const write = stderr.write.bind(stderr);
  const before = env["DASHGATE_LOG"];
  const texts: string[] = [];
  env["DASHGATE_LOG"] = level;
  stderr.write = (text: string | Uint8Array) => texts.push(String(text)) > 0;
  try {
    await run();
  } finally {
    stderr.write = write;
    env["DASHGATE_LOG"] = before ?? "";
  }
  return texts
    .join("")
    .split("\n")
    .filter((line) => line.startsWith("dashgate: "));
}
