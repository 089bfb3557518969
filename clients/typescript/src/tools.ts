/**
 * Tools, and the loop that runs them.
 */
import type { Answer } from "./answer.js";
import type { Conversation, ToolDeclaration } from "./conversation.js";
import { DashgateError } from "./error.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import { jsonSchemaText, parseText, problemOf, type Schema } from "./schema.js";
import type { ConverseOptions, StreamOptions } from "./settings.js";

/** A function that the model may call. */
export interface Tool extends ToolDeclaration {
  /**
   * Runs the tool. `argumentsJson` is the text that the model wrote, which may be invalid JSON; the
   * result is sent to the model. An error ends the loop and is thrown to its caller.
   */
  readonly run: (argumentsJson: string) => string | Promise<string>;
}

/** A tool whose function takes a value of a type. */
export interface TypedTool<T> {
  /** Letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** What the function does and when to call it. */
  readonly description: string;
  /** The type of the arguments: an object. */
  readonly parameters: Schema<T>;
  /** Runs the tool. A result that is no text is sent as JSON. */
  readonly run: (value: T) => unknown;
}

/** How the functions of a loop are run. */
export interface LoopOptions {
  /** The maximum number of rounds of tool calls. Default: 8. */
  readonly maxRounds?: number | undefined;
  /**
   * Whether the functions that the model calls in a round run at the same time. Results keep the
   * order of the calls. Default: false.
   */
  readonly parallel?: boolean | undefined;
}

/** Options of `runTools`. `requestId` is that of the first call. */
export interface ToolsOptions extends ConverseOptions, LoopOptions {}

/** Options of `streamTools`. `requestId` is that of the first call. */
export interface StreamToolsOptions extends StreamOptions, LoopOptions {}

/** The default number of rounds of tool calls. */
const DEFAULT_MAX_ROUNDS = 8;

/** The results of functions that brought none: no call stays unanswered. */
const FAILED = '{"error":"the function failed"}';
const NOT_RUN = '{"error":"the function was not run"}';

/**
 * Returns a tool whose function takes a typed value: the arguments are parsed with the schema. If
 * they are not of the type, the model gets an error and the function is not run.
 */
export function typedTool<T>(typed: TypedTool<T>): Tool {
  const { name, description, parameters } = typed;
  return {
    name,
    description,
    parameters: jsonSchemaText(parameters),
    run: async (argumentsJson) => {
      let value: T;
      try {
        value = await parseText(parameters, argumentsJson === "" ? "{}" : argumentsJson);
      } catch (thrown) {
        return JSON.stringify({ error: `the arguments are not valid: ${problemOf(thrown)}` });
      }
      const returned = await typed.run(value);
      // A function without a result returns undefined.
      return typeof returned === "string" ? returned : JSON.stringify(returned ?? null);
    },
  };
}

/** The rounds of a loop, which appends to a conversation. */
export class ToolRounds {
  readonly #conversation: Conversation;
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #maxRounds: number;
  readonly #parallel: boolean;
  #made = 0;

  /** Declares the tools. */
  constructor(conversation: Conversation, tools: readonly Tool[], options: LoopOptions) {
    for (const tool of tools) {
      conversation.declare(tool);
    }
    this.#conversation = conversation;
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]));
    this.#maxRounds = options.maxRounds ?? DEFAULT_MAX_ROUNDS;
    this.#parallel = options.parallel ?? false;
  }

  /** Appends an answer and runs the functions that it calls. Returns whether it is the last. */
  async after(answer: Answer): Promise<boolean> {
    const { toolCalls } = answer;
    this.#conversation.append(answer);
    if (toolCalls.length === 0) {
      return true;
    }
    if (this.#made >= this.#maxRounds) {
      this.#answerAll(toolCalls, NOT_RUN);
      throw new DashgateError(`the model still calls tools after ${this.#maxRounds} rounds`, {
        code: "FAILED_PRECONDITION",
        rawReason: "TOOL_ROUNDS",
        requestId: answer.requestId,
      });
    }
    this.#made += 1;
    await (this.#parallel ? this.#runTogether(toolCalls) : this.#runInOrder(toolCalls));
    return false;
  }

  async #runInOrder(calls: readonly ToolCall[]): Promise<void> {
    for (const [at, call] of calls.entries()) {
      try {
        this.#conversation.toolResult(call, await this.#result(call));
      } catch (failure) {
        this.#answerAll([call], FAILED);
        this.#answerAll(calls.slice(at + 1), NOT_RUN);
        throw failure;
      }
    }
  }

  /** Waits for all functions, also if one fails: none may go on behind the caller's back. */
  async #runTogether(calls: readonly ToolCall[]): Promise<void> {
    const ended = await Promise.allSettled(calls.map(async (call) => this.#result(call)));
    for (const [at, call] of calls.entries()) {
      const one = ended[at];
      this.#conversation.toolResult(call, one?.status === "fulfilled" ? one.value : FAILED);
    }
    const failed = ended.find((one) => one.status === "rejected");
    if (failed !== undefined) {
      throw failed.reason;
    }
  }

  #result(call: ToolCall): string | Promise<string> {
    const tool = this.#tools.get(call.name);
    if (tool === undefined) {
      return JSON.stringify({ error: `there is no tool ${call.name}` });
    }
    return tool.run(call.arguments);
  }

  #answerAll(calls: readonly ToolCall[], result: string): void {
    for (const call of calls) {
      this.#conversation.toolResult(call, result);
    }
  }
}

/** Runs tools until the model calls no more. */
export async function runToolLoop(
  rounds: ToolRounds,
  converse: (isFirst: boolean) => Promise<Answer>,
): Promise<Answer> {
  for (let isFirst = true; ; isFirst = false) {
    const answer = await converse(isFirst);
    if (await rounds.after(answer)) {
      return answer;
    }
  }
}
