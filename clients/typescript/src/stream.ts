/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A streamed answer.
 */
import { Answer } from "./answer.js";
import type { Call } from "./call.js";
import { DashgateError, noteOutput } from "./error.js";
import { Fold } from "./fold.js";
import type { ConverseStreamResponse } from "./gen/dashgate/v1/conversation_service_pb.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import type { RetryBudget } from "./retry.js";

/** Opens the stream once; each attempt opens it anew. */
export type Open = (call: Call) => Promise<AsyncIterable<ConverseStreamResponse>>;

/** What a stream needs of its client. */
export interface StreamSettings {
  readonly begin: () => Call;
  readonly open: Open;
  readonly budget: RetryBudget;
  readonly idleTimeoutMs: number;
}

/**
 * The events of an answer, to be read with `for await`. The call begins with the first read. Leaving
 * the loop early cancels the call, at DashScope too; so does `cancel`, and `using` at the end of its
 * block.
 *
 * Read it one way: all events, or `textDeltas()`; after either, `final()` gives the whole answer.
 * `final()` alone reads everything.
 */
export class AnswerStream implements AsyncIterable<ConverseStreamResponse>, Disposable {
  readonly #settings: StreamSettings;
  readonly #fold = new Fold();
  readonly #events: AsyncGenerator<ConverseStreamResponse, void>;
  #call: Call | undefined;
  #failure: { readonly reason: unknown } | undefined;

  constructor(settings: StreamSettings) {
    this.#settings = settings;
    this.#events = this.#run();
  }

  /** The request id, once the call has begun. */
  get requestId(): string | undefined {
    return this.#call?.requestId;
  }

  /** The events as they come. */
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

  /** The texts of the first choice as they come, without empty ones. */
  async *textDeltas(): AsyncGenerator<string, void> {
    for await (const { event } of this) {
      if (event.case !== "delta" || event.value.choiceIndex !== 0) {
        continue;
      }
      const { part } = event.value;
      if (part.case === "text" && part.value !== "") {
        yield part.value;
      }
    }
  }

  /** Reads what is left, and gives the answer that all events add up to. */
  async final(): Promise<Answer> {
    while (!(await this.#next()).done);
    return new Answer(this.#fold.response());
  }

  /** Cancels the call. Whoever still reads gets an `AbortError`. */
  cancel(): void {
    const reason = new DOMException("the stream was left before its end", "AbortError");
    if (!this.#fold.complete) {
      this.#failure ??= { reason };
    }
    this.#call?.stop(reason);
  }

  /** Cancels the call if it is not over. */
  [Symbol.dispose](): void {
    this.cancel();
  }

  /** A stream that failed fails again, however often it is read. */
  async #next(): Promise<IteratorResult<ConverseStreamResponse, void>> {
    if (this.#failure !== undefined) {
      throw this.#failure.reason;
    }
    return this.#events.next();
  }

  async *#run(): AsyncGenerator<ConverseStreamResponse, void> {
    const call = this.#settings.begin();
    this.#call = call;
    try {
      const begun = await call.attempt(this.#settings.budget, () => this.#begun(call));
      let result = begun.result;
      while (!result.done) {
        this.#fold.add(result.value);
        yield result.value;
        call.check();
        result = await this.#bounded(call, () => begun.events.next());
      }
      if (!this.#fold.complete) {
        throw truncated(call);
      }
    } catch (thrown) {
      const failure = call.failure(thrown);
      if (this.#fold.hasOutput) {
        noteOutput(failure);
      }
      this.#failure ??= { reason: failure };
      throw this.#failure.reason;
    } finally {
      call.end();
    }
  }

  /** Until something of the answer has come, the call may be sent once more; from then on, never. */
  async #begun(call: Call): Promise<{
    events: AsyncIterator<ConverseStreamResponse>;
    result: IteratorResult<ConverseStreamResponse, unknown>;
  }> {
    return this.#bounded(call, async () => {
      const stream = await this.#settings.open(call);
      const events = stream[Symbol.asyncIterator]();
      return { events, result: await events.next() };
    });
  }

  /** Waits for the next event, but not for ever: a gateway that is silent sends heartbeats. */
  async #bounded<T>(call: Call, wait: () => Promise<T>): Promise<T> {
    const { idleTimeoutMs } = this.#settings;
    if (idleTimeoutMs === Infinity) {
      return wait();
    }
    const stop = call.timer(idleTimeoutMs, () => {
      call.stop(idle(call, idleTimeoutMs));
    });
    try {
      return await wait();
    } finally {
      stop();
    }
  }
}

function truncated(call: Call): DashgateError {
  return new DashgateError("the stream ended before the answer was complete", {
    code: "INTERNAL",
    reason: ErrorReason.STREAM_TRUNCATED,
    requestId: call.requestId,
  });
}

function idle(call: Call, idleTimeoutMs: number): DashgateError {
  return new DashgateError(`nothing came for ${idleTimeoutMs} ms, not even a heartbeat`, {
    code: "DEADLINE_EXCEEDED",
    rawReason: "STREAM_IDLE",
    requestId: call.requestId,
  });
}
