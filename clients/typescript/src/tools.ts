/**
 * Tools and the loop that runs them.
 */
import type { Answer } from "./answer.js";
import type { Conversation, ToolDeclaration } from "./conversation.js";
import { DashgateError } from "./error.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";

/** A function that the model may call. */
export interface Tool extends ToolDeclaration {
  /**
   * Runs the tool. `argumentsJson` is the text that the model wrote, which may be invalid JSON; the
   * result is sent to the model. An error ends the loop and is thrown to its caller.
   */
  readonly run: (argumentsJson: string) => string | Promise<string>;
}

/** The default number of rounds of tool calls. */
export const DEFAULT_MAX_ROUNDS = 8;

/** Runs tools until the model calls no more. */
export async function runToolLoop(
  conversation: Conversation,
  tools: readonly Tool[],
  maxRounds: number,
  converse: (isFirst: boolean) => Promise<Answer>,
): Promise<Answer> {
  for (const tool of tools) {
    conversation.declare(tool);
  }
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  for (let round = 0; ; round += 1) {
    const answer = await converse(round === 0);
    conversation.append(answer);
    if (answer.toolCalls.length === 0) {
      return answer;
    }
    if (round >= maxRounds) {
      answerAll(conversation, answer.toolCalls, NOT_RUN);
      throw new DashgateError(`the model still calls tools after ${maxRounds} rounds`, {
        code: "FAILED_PRECONDITION",
        rawReason: "TOOL_ROUNDS",
        requestId: answer.requestId,
      });
    }
    for (const [at, call] of answer.toolCalls.entries()) {
      try {
        conversation.toolResult(call, await result(byName, call));
      } catch (failure) {
        answerAll(conversation, [call], FAILED);
        answerAll(conversation, answer.toolCalls.slice(at + 1), NOT_RUN);
        throw failure;
      }
    }
  }
}

/** The results of functions that brought none: no call stays unanswered. */
const FAILED = '{"error":"the function failed"}';
const NOT_RUN = '{"error":"the function was not run"}';

function answerAll(conversation: Conversation, calls: readonly ToolCall[], result: string): void {
  for (const call of calls) {
    conversation.toolResult(call, result);
  }
}

function result(tools: ReadonlyMap<string, Tool>, call: ToolCall): string | Promise<string> {
  const tool = tools.get(call.name);
  if (tool === undefined) {
    return JSON.stringify({ error: `there is no tool ${call.name}` });
  }
  return tool.run(call.arguments);
}
