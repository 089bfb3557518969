/**
 * Tools, and the loop that runs them.
 */
import type { Answer } from "./answer.js";
import { follow } from "./call.js";
import { checkConversation, type Conversation, type ToolDeclaration } from "./conversation.js";
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
   * Whether the functions that the model calls in a round run at the same time, at most 16 of them.
   * Results keep the order of the calls. Default: false.
   */
  readonly parallel?: boolean | undefined;
}

/** Options of `runTools`. `requestId` is that of the first call. */
export interface ToolsOptions extends ConverseOptions, LoopOptions {}

/** Options of `streamTools`. `requestId` is that of the first call. */
export interface StreamToolsOptions extends StreamOptions, LoopOptions {}

/** The default number of rounds of tool calls. */
const DEFAULT_MAX_ROUNDS = 8;

/** How many functions run at the same time. */
const MAX_PARALLEL = 16;

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
  readonly #signal: AbortSignal | undefined;
  #made = 0;
  #left: { readonly reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** Declares the tools. */
  constructor(conversation: Conversation, tools: readonly Tool[], options: ToolsOptions) {
    checkConversation(conversation);
    for (const tool of tools) {
      conversation.declare(tool);
    }
    this.#conversation = conversation;
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]));
    this.#maxRounds = options.maxRounds ?? DEFAULT_MAX_ROUNDS;
    this.#parallel = options.parallel ?? false;
    this.#signal = options.signal;
  }

  /** Leaves the loop: functions that run are not waited for. */
  leave(reason: unknown): void {
    this.#left ??= { reason };
    this.#wake?.();
  }

  /** Appends an answer and runs the functions that it calls. Returns whether it is the last. */
  async after(answer: Answer): Promise<boolean> {
    const { toolCalls } = answer;
    this.#conversation.append(answer);
    if (toolCalls.length === 0) {
      return true;
    }
    if (this.#made >= this.#maxRounds) {
      this.#answer(toolCalls, []);
      throw new DashgateError(`the model still calls tools after ${this.#maxRounds} rounds`, {
        code: "FAILED_PRECONDITION",
        rawReason: "TOOL_ROUNDS",
        requestId: answer.requestId,
      });
    }
    this.#made += 1;
    await this.#round(toolCalls);
    return false;
  }

  /** However a round ends, each call has an answer, so that the conversation can be continued. */
  async #round(calls: readonly ToolCall[]): Promise<void> {
    const results: string[] = [];
    const release = this.#follow();
    const left = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    try {
      const run = this.#parallel ? runTogether : runInOrder;
      const jobs = calls.map((call, at) => () => this.#run(call, results, at));
      await Promise.race([run(jobs, () => this.#left !== undefined), left]);
    } finally {
      release();
      this.#answer(calls, results);
    }
    if (this.#left !== undefined) {
      throw this.#left.reason;
    }
  }

  /** Leaves the loop when the signal of its calls is aborted. */
  #follow(): () => void {
    const signal = this.#signal;
    if (signal === undefined) {
      return () => undefined;
    }
    const leave = () => {
      this.leave(signal.reason);
    };
    if (signal.aborted) {
      leave();
    }
    return follow(signal, leave);
  }

  async #run(call: ToolCall, results: string[], at: number): Promise<void> {
    results[at] = FAILED;
    results[at] = await this.#result(call);
  }

  async #result({ name, arguments: argumentsJson }: ToolCall): Promise<string> {
    const tool = this.#tools.get(name);
    if (tool === undefined) {
      return JSON.stringify({ error: `there is no tool ${name}` });
    }
    const result: unknown = await tool.run(argumentsJson);
    if (typeof result !== "string") {
      throw new TypeError(`the tool ${name} returned no text`);
    }
    // No call could send the conversation any more.
    if (/\p{Surrogate}/u.test(result)) {
      throw new TypeError(`the tool ${name} returned a text with a surrogate without its pair`);
    }
    return result;
  }

  #answer(calls: readonly ToolCall[], results: readonly string[]): void {
    for (const [at, call] of calls.entries()) {
      this.#conversation.toolResult(call, results[at] ?? NOT_RUN);
    }
  }
}

type Run = (jobs: readonly (() => Promise<void>)[], isLeft: () => boolean) => Promise<void>;

/** Ends with the first error. */
const runInOrder: Run = async (jobs, isLeft) => {
  for (const job of jobs) {
    if (isLeft()) {
      return;
    }
    await job();
  }
};

/** Waits for all functions, also if one fails: none may go on behind the caller's back. */
const runTogether: Run = async (jobs, isLeft) => {
  const failures: { readonly reason: unknown }[] = [];
  const waiting = jobs.entries();
  const work = async () => {
    for (const [at, job] of waiting) {
      if (isLeft()) {
        return;
      }
      await job().catch((reason: unknown) => {
        failures[at] = { reason };
      });
    }
  };
  await Promise.all(Array.from({ length: MAX_PARALLEL }, work));
  // Of those that failed, the first in the order of the calls; the list may have gaps.
  const first = Object.values(failures)[0];
  if (first !== undefined) {
    throw first.reason;
  }
};

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
