/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The loop that runs tools, as a stream.
 */
import type { Answer } from "./answer.js";
import type { ConverseStreamResponse } from "./gen/dashgate/v1/conversation_service_pb.js";
import type { ResponseHeaders } from "./headers.js";
import { textDeltas, type AnswerStream } from "./stream.js";
import type { ToolRounds } from "./tools.js";

/**
 * A streamed loop of calls: an async iterable of the events of all rounds, in order. Between two
 * rounds, the functions run that the model called. Otherwise it is used as an `AnswerStream`.
 */
export class ToolStream implements AsyncIterable<ConverseStreamResponse>, Disposable {
  readonly #rounds: ToolRounds;
  readonly #open: (isFirst: boolean) => AnswerStream;
  readonly #events: AsyncGenerator<ConverseStreamResponse, void>;
  #current: AnswerStream | undefined;
  #answer: Answer | undefined;
  #failure: { readonly reason: unknown } | undefined;

  /** @internal */
  constructor(rounds: ToolRounds, open: (isFirst: boolean) => AnswerStream) {
    this.#rounds = rounds;
    this.#open = open;
    this.#events = this.#run();
  }

  /** The request id of the current round, once its call has started. */
  get requestId(): string | undefined {
    return this.#current?.requestId;
  }

  /** How often the stream of the current round was tried to be resumed. */
  get resumes(): number {
    return this.#current?.resumes ?? 0;
  }

  /** The initial metadata and the trailers of the current round, as those of an `AnswerStream`. */
  get headers(): ResponseHeaders {
    return this.#current?.headers ?? {};
  }

  /**
   * The answer of the current round as far as it was received, also after an error or a
   * cancellation; unset before its first event.
   */
  get partial(): Answer | undefined {
    return this.#current?.partial;
  }

  /** The stream of the current round. */
  get current(): AnswerStream | undefined {
    return this.#current;
  }

  /** Iterates over the events. */
  [Symbol.asyncIterator](): AsyncIterator<ConverseStreamResponse, void> {
    return {
      next: () => this.#next(),
      return: async () => {
        this.cancel();
        await this.#events.return();
        return { done: true, value: undefined };
      },
    };
  }

  /** Iterates over the text deltas of the first choice of all rounds, without empty ones. */
  textDeltas(): AsyncGenerator<string, void> {
    return textDeltas(this);
  }

  /** Reads the remaining events, runs the functions, and returns the last answer. */
  async final(): Promise<Answer> {
    while (!(await this.#next()).done);
    if (this.#answer === undefined) {
      throw new TypeError("the stream was read by another loop, which has not ended");
    }
    return this.#answer;
  }

  /** Cancels the current call; no other follows. Readers get an `AbortError`. */
  cancel(): void {
    if (this.#answer === undefined) {
      const reason = new DOMException("the stream was left before its end", "AbortError");
      this.#failure ??= { reason };
      this.#rounds.leave(reason);
    }
    this.#current?.cancel();
  }

  /** Cancels the current call if it has not ended. */
  [Symbol.dispose](): void {
    this.cancel();
  }

  /** A failed stream throws the same error again. */
  async #next(): Promise<IteratorResult<ConverseStreamResponse, void>> {
    this.#check();
    return this.#events.next();
  }

  async *#run(): AsyncGenerator<ConverseStreamResponse, void> {
    try {
      for (let isFirst = true; this.#answer === undefined; isFirst = false) {
        this.#current = this.#open(isFirst);
        yield* this.#current;
        const answer = await this.#current.final();
        const isLast = await this.#rounds.after(answer);
        this.#check();
        if (isLast) {
          this.#answer = answer;
        }
      }
    } catch (reason) {
      this.#failure ??= { reason };
      throw this.#failure.reason;
    }
  }

  #check(): void {
    if (this.#failure !== undefined) {
      throw this.#failure.reason;
    }
  }
}
