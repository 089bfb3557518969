/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A streamed answer.
 */
import { Answer } from "./answer.js";
import type { Call } from "./call.js";
import { DashgateError } from "./error.js";
import type { ConverseStreamResponse } from "./gen/dashgate/v1/conversation_service_pb.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import { Resumption } from "./resume.js";
import type { RetryBudget } from "./retry.js";

/** Opens the stream after this event; called once for each attempt. */
export type Open = (
  call: Call,
  afterSequence: number,
) => Promise<{ header: Headers; message: AsyncIterable<ConverseStreamResponse> }>;

/** The functions of the client that a stream uses. */
export interface StreamSettings {
  readonly begin: () => Call;
  readonly open: Open;
  readonly budget: RetryBudget;
  /** Ends the call at the gateway, without waiting. */
  readonly leave: (requestId: string) => void;
  readonly idleTimeoutMs: number;
  /** Whether the stream is resumed if its connection is lost. */
  readonly resume: boolean;
  /** Whether the caller chose the request id. */
  readonly named: boolean;
}

/**
 * A streamed answer: an async iterable of events. The first read starts the call. Leaving the loop
 * early cancels the call, also at DashScope; so do `cancel` and `using` at the end of its block.
 *
 * Read all events or `textDeltas()`; after either, `final()` returns the complete answer. `final()`
 * alone reads everything.
 */
export class AnswerStream implements AsyncIterable<ConverseStreamResponse>, Disposable {
  readonly #settings: StreamSettings;
  readonly #state: Resumption;
  readonly #events: AsyncGenerator<ConverseStreamResponse, void>;
  #call: Call | undefined;
  #left = false;
  #sent = false;
  /** Whether the headers of the current connection promised that the stream can be resumed. */
  #announced = false;
  #failure: { readonly reason: unknown } | undefined;

  constructor(settings: StreamSettings) {
    this.#settings = settings;
    this.#state = new Resumption(settings.resume, settings.named);
    this.#events = this.#run();
  }

  /** The request id, once the call has started. */
  get requestId(): string | undefined {
    return this.#call?.requestId;
  }

  /** How often this stream was tried to be resumed. */
  get resumes(): number {
    return this.#state.resumes;
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

  /** Iterates over the text deltas of the first choice, without empty ones. */
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

  /** Reads the remaining events and returns the complete answer. */
  async final(): Promise<Answer> {
    while (!(await this.#next()).done);
    return new Answer(this.#state.fold.response());
  }

  /** Cancels the call. Readers get an `AbortError`. */
  cancel(): void {
    const reason = new DOMException("the stream was left before its end", "AbortError");
    if (!this.#state.fold.complete) {
      this.#failure ??= { reason };
    }
    this.#call?.stop(reason);
  }

  /** Cancels the call if it has not ended. */
  [Symbol.dispose](): void {
    this.cancel();
  }

  /** A failed stream throws the same error again. */
  async #next(): Promise<IteratorResult<ConverseStreamResponse, void>> {
    if (this.#failure !== undefined) {
      throw this.#failure.reason;
    }
    return this.#events.next();
  }

  async *#run(): AsyncGenerator<ConverseStreamResponse, void> {
    const call = this.#settings.begin();
    this.#call = call;
    // Also without a reader.
    call.onStop((reason) => {
      this.#leave(call, reason);
    });
    try {
      for (;;) {
        let delay: number | undefined;
        try {
          yield* this.#connection(call);
        } catch (thrown) {
          delay = this.#state.failed(call.failure(thrown));
        }
        if (delay === undefined) {
          return;
        }
        await call.sleep(delay);
      }
    } catch (failure) {
      this.#leave(call, failure);
      this.#failure ??= { reason: failure };
      throw this.#failure.reason;
    } finally {
      call.end();
    }
  }

  /** The new events of one connection. */
  async *#connection(call: Call): AsyncGenerator<ConverseStreamResponse, void> {
    const isFirst = () => !this.#announced;
    const begun = await call.attempt(this.#settings.budget, () => this.#begun(call), isFirst);
    let result = begun.result;
    while (!result.done) {
      if (this.#state.received(result.value)) {
        yield result.value;
        call.check();
      }
      result = await this.#bounded(call, () => begun.events.next());
    }
    if (!this.#state.fold.complete) {
      throw truncated(call);
    }
  }

  #leave(call: Call, reason: unknown): void {
    if (this.#sent && !this.#left && this.#state.mustLeave(reason)) {
      this.#left = true;
      this.#settings.leave(call.requestId);
    }
  }

  /** Retries until a part of the answer was received. */
  async #begun(call: Call): Promise<{
    events: AsyncIterator<ConverseStreamResponse>;
    result: IteratorResult<ConverseStreamResponse, unknown>;
  }> {
    return this.#bounded(call, async () => {
      this.#sent = true;
      this.#announced = false;
      const { header, message } = await this.#settings.open(call, this.#state.sequence);
      this.#announced = this.#state.announced(header);
      const events = message[Symbol.asyncIterator]();
      return { events, result: await events.next() };
    });
  }

  /** Waits for the next event, at most for the idle timeout. */
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
