/// <reference lib="esnext.disposable" preserve="true" />
/**
 * A streamed answer.
 */
import { ConnectError } from "@connectrpc/connect";

import { Answer } from "./answer.js";
import type { Call } from "./call.js";
import { isFromServer } from "./connect_error.js";
import { DashgateError } from "./error.js";
import type { ConverseStreamResponse } from "./gen/dashgate/v1/conversation_service_pb.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import { responseHeaders, type ResponseHeaders } from "./headers.js";
import { Resumption } from "./resume.js";
import type { RetryBudget } from "./retry.js";
import { withHeaders } from "./status.js";
import type { Waiting } from "./waiting.js";

/** The response of one connection. The trailers are complete when the messages were read. */
export interface Opened {
  readonly header: Headers;
  readonly trailer: Headers;
  readonly message: AsyncIterable<ConverseStreamResponse>;
}

/** Opens the stream after this event; called once for each attempt. */
export type Open = (call: Call, afterSequence: number, waiting: Waiting) => Promise<Opened>;

/** The idle timeout of one read, which does not run while the call waits in the client. */
interface IdleClock {
  readonly start: () => void;
  readonly stop: () => void;
}

/** The functions of the client that a stream uses. */
export interface StreamSettings {
  readonly begin: () => Call;
  /** Called once, before the first attempt. */
  readonly prepare: (call: Call) => Promise<void>;
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
  #opened: Opened | undefined;
  #left = false;
  #sent = false;
  /** Since when attempts and resumes wait for an event; unset while none is awaited by them. */
  #idleSince: number | undefined;
  /** Whether the headers of the current connection promised that the stream can be resumed. */
  #announced = false;
  #failure: { readonly reason: unknown } | undefined;

  /** @internal */
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

  /**
   * The initial metadata and the trailers of the response, after the first event: texts by name, in
   * lower case. The trailers are there at the end.
   */
  get headers(): ResponseHeaders {
    return this.#opened === undefined
      ? {}
      : responseHeaders(this.#opened.header, this.#opened.trailer);
  }

  /**
   * The answer as far as it was received, also after an error or a cancellation; unset before the
   * first event. Choices that did not end have no finish reason.
   */
  get partial(): Answer | undefined {
    const { fold } = this.#state;
    return fold.isEmpty ? undefined : new Answer(fold.response(), this.headers);
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
  textDeltas(): AsyncGenerator<string, void> {
    return textDeltas(this);
  }

  /** Reads the remaining events and returns the complete answer. */
  async final(): Promise<Answer> {
    while (!(await this.#next()).done);
    return new Answer(this.#state.fold.response(), this.headers);
  }

  /** Cancels the call. Readers get an `AbortError`. */
  cancel(): void {
    const reason = new DOMException("the stream was left before its end", "AbortError");
    if (!this.#state.fold.complete) {
      this.#failure ??= { reason };
    }
    this.#call?.stop(reason);
    // A reader that waits gets the reason; without one, the call ends here.
    void this.#events.return();
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
      await this.#prepare(call);
      for (;;) {
        let delay: number | undefined;
        try {
          yield* this.#connection(call);
        } catch (thrown) {
          const failure = call.failure(thrown);
          delay = this.#state.failed(failure, call.isStopped);
          if (delay !== undefined) {
            call.log.resumed(failure, delay);
            call.failed(failure);
          }
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
      call.end(this.#failure);
    }
  }

  async #prepare(call: Call): Promise<void> {
    try {
      await this.#settings.prepare(call);
    } catch (thrown) {
      throw call.failure(thrown);
    }
  }

  /** The new events of one connection. */
  async *#connection(call: Call): AsyncGenerator<ConverseStreamResponse, void> {
    const isFirst = () => !this.#announced;
    const begun = await call.attempt(this.#settings.budget, () => this.#begun(call), isFirst);
    let result = begun.result;
    while (!result.done) {
      call.received();
      if (this.#state.received(result.value)) {
        yield result.value;
        call.check();
      }
      result = await this.#bounded(call, () => this.#received(begun.events));
    }
    if (!this.#state.fold.complete) {
      throw truncated(call);
    }
  }

  #leave(call: Call, reason: unknown): void {
    const mayRun = this.#sent && call.isSent;
    if (mayRun && !this.#left && this.#state.mustLeave(reason, call.isLate)) {
      this.#left = true;
      this.#settings.leave(call.requestId);
    }
  }

  /** Retries until a part of the answer was received. */
  async #begun(call: Call): Promise<{
    events: AsyncIterator<ConverseStreamResponse>;
    result: IteratorResult<ConverseStreamResponse, unknown>;
  }> {
    this.#idleSince ??= performance.now();
    const begun = this.#bounded(call, async (clock) => {
      const wasSent = this.#sent;
      this.#sent = true;
      this.#announced = false;
      this.#opened = await this.#settings.open(call, this.#state.sequence, {
        begins: () => {
          this.#sent = wasSent;
          clock.stop();
        },
        ends: () => {
          this.#sent = true;
          this.#idleSince = performance.now();
          clock.start();
        },
      });
      this.#announced = this.#state.announced(this.#opened.header);
      const events = this.#opened.message[Symbol.asyncIterator]();
      return { events, result: await this.#received(events) };
    });
    try {
      const result = await begun;
      this.#idleSince = undefined;
      return result;
    } catch (thrown) {
      if (isFromServer(ConnectError.from(thrown))) {
        // That is an answer, too.
        this.#idleSince = undefined;
      }
      throw thrown;
    }
  }

  /** Reads the next event. An error has the headers that came before it. */
  async #received(
    events: AsyncIterator<ConverseStreamResponse>,
  ): Promise<IteratorResult<ConverseStreamResponse, unknown>> {
    try {
      return await events.next();
    } catch (thrown) {
      throw withHeaders(thrown, this.#opened?.header ?? new Headers());
    }
  }

  /** Waits for the next event, at most for the idle timeout. */
  async #bounded<T>(call: Call, wait: (clock: IdleClock) => Promise<T>): Promise<T> {
    const { idleTimeoutMs } = this.#settings;
    let stop: (() => void) | undefined;
    const clock: IdleClock = {
      start: () => {
        const left = idleTimeoutMs - performance.now() + (this.#idleSince ?? performance.now());
        if (left <= 0) {
          call.expireBetween(idle(call, idleTimeoutMs));
        } else {
          stop = call.timer(left, () => {
            call.expire(idle(call, idleTimeoutMs));
          });
        }
      },
      stop: () => stop?.(),
    };
    if (idleTimeoutMs === Infinity) {
      return wait({ start: () => undefined, stop: () => undefined });
    }
    clock.start();
    call.check();
    try {
      return await wait(clock);
    } finally {
      clock.stop();
    }
  }
}

/** The texts of the first choice, without empty ones. */
export async function* textDeltas(
  events: AsyncIterable<ConverseStreamResponse>,
): AsyncGenerator<string, void> {
  for await (const { event } of events) {
    if (event.case !== "delta" || event.value.choiceIndex !== 0) {
      continue;
    }
    const { part } = event.value;
    if (part.case === "text" && part.value !== "") {
      yield part.value;
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
