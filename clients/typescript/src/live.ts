/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Live sessions: speech in and out, while it is spoken. A session outlives its streams: if the
 * connection breaks, it is resumed on a new stream, after the last event that was received.
 */
import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";

import type { Call } from "./call.js";
import { DashgateError } from "./error.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";
import type {
  ResumeSession,
  ResumeSessionSchema,
  SessionEnded,
} from "./gen/dashgate/v1/live_pb.js";
import type {
  ConverseLiveRequestSchema,
  ConverseLiveResponse,
  ConverseLiveResponseSchema,
  SynthesizeLiveRequestSchema,
  SynthesizeLiveResponse,
  SynthesizeLiveResponseSchema,
  UpdateSessionSchema,
} from "./gen/dashgate/v1/live_service_pb.js";
import { type LiveEvent, Progress } from "./live_progress.js";

/**
 * Events that are received before they are read: a lost connection is noticed while a program only
 * sends. Beyond them, the gateway waits.
 */
const READ_AHEAD = 64;

/** The functions of the client that a session uses. */
export interface SessionSettings<I extends DescMessage, O extends DescMessage> {
  readonly call: Call;
  /** Opens a stream. */
  readonly open: (
    input: AsyncIterable<MessageInitShape<I>>,
  ) => Promise<AsyncIterable<MessageShape<O>>>;
  /** The first message of a stream. */
  readonly first: (resume: ResumeSession | undefined) => MessageInitShape<I>;
  /** What the setup resumes. */
  readonly resume: MessageInitShape<typeof ResumeSessionSchema> | undefined;
}

/** The messages of a session. One of them waits in the client. */
class Outbox<T> {
  #message: T | undefined;
  #stream = 0;
  #isFinished = false;
  #isOver = false;
  readonly #changed = new Changes();

  get isFinished(): boolean {
    return this.#isFinished;
  }

  /** The messages of a new stream. The transport takes the next when it has written the last. */
  stream(first: T): AsyncIterable<T> {
    return this.#messages(this.detach(), first);
  }

  /** Ends the messages of the streams so far. */
  detach(): number {
    this.#stream += 1;
    this.#changed.notify();
    return this.#stream;
  }

  /** Waits for space and adds a message. Returns false if the session is over. */
  async put(message: T): Promise<boolean> {
    while (this.#message !== undefined && !this.#isOver) {
      await this.#changed.next();
    }
    if (this.#isOver) {
      return false;
    }
    this.#message = message;
    this.#changed.notify();
    return true;
  }

  /** Ends the messages, after the one that waits. */
  finish(): void {
    this.#isFinished = true;
    this.#changed.notify();
  }

  /** Ends the messages at once. */
  close(): void {
    this.#isOver = true;
    this.#changed.notify();
  }

  async *#messages(stream: number, first: T): AsyncGenerator<T, void> {
    yield first;
    for (;;) {
      while (this.#message === undefined && !this.#ends(stream) && !this.#isFinished) {
        await this.#changed.next();
      }
      const message = this.#message;
      if (message === undefined || this.#ends(stream)) {
        return;
      }
      this.#message = undefined;
      this.#changed.notify();
      yield message;
    }
  }

  #ends(stream: number): boolean {
    return this.#isOver || this.#stream !== stream;
  }
}

/** Wakes all that wait. */
class Changes {
  #wakes: (() => void)[] = [];

  next(): Promise<void> {
    return new Promise((wake) => {
      this.#wakes.push(wake);
    });
  }

  notify(): void {
    const wakes = this.#wakes;
    this.#wakes = [];
    for (const wake of wakes) {
      wake();
    }
  }
}

/** A session: an async iterable of events, and methods that send. */
class Session<I extends DescMessage, O extends DescMessage, E extends MessageShape<O> & LiveEvent>
  implements AsyncIterable<E>, Disposable
{
  readonly #settings: SessionSettings<I, O>;
  readonly #progress: Progress;
  readonly #outbox = new Outbox<MessageInitShape<I>>();
  readonly #changed = new Changes();
  readonly #events: E[] = [];
  #end: { readonly reason: unknown } | "complete" | undefined;

  /** @internal */
  constructor(settings: SessionSettings<I, O>) {
    this.#settings = settings;
    this.#progress = new Progress(settings.resume);
    settings.call.signal.addEventListener("abort", () => {
      this.#changed.notify();
    });
    void this.#run();
  }

  /** The request id of the session. */
  get requestId(): string {
    return this.#settings.call.requestId;
  }

  /** The id of the session. Empty until it has started. */
  get sessionId(): string {
    return this.#progress.sessionId;
  }

  /** How often this object has tried to resume the session. */
  get resumes(): number {
    return this.#progress.resumes;
  }

  /**
   * What a setup needs to continue the session elsewhere after the last event; unset until it has
   * started. A stream that continues the session ends this one with `ABORTED`.
   */
  get resumption(): ResumeSession | undefined {
    return this.#progress.resumption;
  }

  /** The last event, with usage and durations; unset until the session has ended. */
  get ended(): SessionEnded | undefined {
    return this.#progress.ended;
  }

  /** Iterates over the events. Leaving the loop does not end the session. */
  [Symbol.asyncIterator](): AsyncIterator<E, void> {
    return { next: () => this.#next() };
  }

  /**
   * Ends the input. Running responses complete, then the session ends. Read its events.
   */
  finish(): void {
    this.#outbox.finish();
  }

  /**
   * Leaves the session. Readers get an `AbortError`. If the session has not ended, the gateway ends
   * it when the time to resume it is over, 30 seconds by default.
   */
  close(): void {
    this.#settings.call.stop(new DOMException("the session was left before its end", "AbortError"));
  }

  /** Leaves the session. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Waits until flow control has accepted the message before this one. */
  protected async send(message: MessageInitShape<I>): Promise<void> {
    if (this.#outbox.isFinished) {
      throw new TypeError("the input is finished: nothing can be sent after finish()");
    }
    const isAccepted = await this.#outbox.put(message);
    // While there are events that were not read, reading reports the end, after them.
    if (isAccepted || this.#events.length > 0) {
      return;
    }
    if (this.#end === "complete" || this.#end === undefined) {
      throw new TypeError("the session has ended");
    }
    throw this.#end.reason;
  }

  async #next(): Promise<IteratorResult<E, void>> {
    for (;;) {
      const value = this.#events.shift();
      if (value !== undefined) {
        this.#changed.notify();
        return { done: false, value };
      }
      if (this.#end === "complete") {
        return { done: true, value: undefined };
      }
      if (this.#end !== undefined) {
        throw this.#end.reason;
      }
      await this.#changed.next();
    }
  }

  /** Receives events, and resumes the session if its stream breaks. */
  async #run(): Promise<void> {
    const { call } = this.#settings;
    while (this.#end === undefined) {
      try {
        call.check();
        await this.#receive();
        this.#end = "complete";
      } catch (thrown) {
        this.#outbox.detach();
        const failure = call.failure(thrown);
        const delay = call.isStopped ? undefined : this.#progress.broken(failure);
        if (delay === undefined) {
          this.#end = { reason: this.#progress.final(failure) };
        } else {
          call.log.resumed(failure, delay);
          call.failed(failure);
          await call.sleep(delay);
        }
      }
    }
    this.#outbox.close();
    this.#changed.notify();
    call.end(this.#end === "complete" ? undefined : this.#end);
  }

  async #receive(): Promise<void> {
    const { call, open, first } = this.#settings;
    const stream = await open(this.#outbox.stream(first(this.#progress.resumption)));
    for await (const event of stream as AsyncIterable<E>) {
      if (this.#progress.received(event)) {
        this.#events.push(event);
        this.#changed.notify();
      }
      while (this.#events.length >= READ_AHEAD && !call.signal.aborted) {
        await this.#changed.next();
      }
    }
    call.check();
    if (this.ended === undefined) {
      throw new DashgateError("the stream ended before the session", {
        code: "INTERNAL",
        reason: ErrorReason.STREAM_TRUNCATED,
        requestId: call.requestId,
      });
    }
  }
}

/** What a response is requested with, in place of the session's. */
export interface ResponseOptions {
  /** Instructions for this response. */
  readonly instructions?: string | undefined;
  /** The modalities of this response: `text`, or `text` and `audio`. */
  readonly modalities?: readonly string[] | undefined;
}

/**
 * A spoken conversation: an async iterable of events, and methods that send. Their promises are
 * fulfilled when the gateway accepts more, so await them. Send and read at the same time. If the
 * connection breaks, the session is resumed; an event `sessionStarted` with `resumed` then shows
 * that the input of that moment may be lost.
 */
export class LiveSession extends Session<
  typeof ConverseLiveRequestSchema,
  typeof ConverseLiveResponseSchema,
  ConverseLiveResponse
> {
  /** Sends the next piece of audio, in the format of the setup. 100 ms are usual. */
  sendAudio(audio: Uint8Array): Promise<void> {
    return this.send({ event: { case: "audio", value: owned(audio) } });
  }

  /** Sends an image, JPEG, for the turn that is being spoken. Audio must precede it. */
  sendImage(image: Uint8Array): Promise<void> {
    return this.send({ event: { case: "image", value: owned(image) } });
  }

  /** Sends a text message. `createResponse` requests the answer. */
  sendText(text: string): Promise<void> {
    return this.send({ event: { case: "text", value: text } });
  }

  /** Ends the turn, if turns are manual. */
  commit(): Promise<void> {
    return this.send({ event: { case: "commit", value: {} } });
  }

  /** Discards audio and images that are not committed. */
  clear(): Promise<void> {
    return this.send({ event: { case: "clear", value: {} } });
  }

  /** Requests a response. */
  createResponse(options: ResponseOptions = {}): Promise<void> {
    const { instructions = "", modalities = [] } = options;
    const value = { instructions, modalities: [...modalities] };
    return this.send({ event: { case: "createResponse", value } });
  }

  /** Cancels the running response. Nothing of it follows its `responseCompleted`. */
  cancelResponse(): Promise<void> {
    return this.send({ event: { case: "cancelResponse", value: {} } });
  }

  /** Sends the result of a tool call. `createResponse` requests the answer. */
  sendToolResult(toolCallId: string, output: string): Promise<void> {
    return this.send({ event: { case: "toolResult", value: { toolCallId, output } } });
  }

  /** Changes the configuration. What is not set stays. */
  update(update: MessageInitShape<typeof UpdateSessionSchema>): Promise<void> {
    return this.send({ event: { case: "update", value: update } });
  }

  /** Removes an item of the conversation. */
  deleteItem(itemId: string): Promise<void> {
    return this.send({ event: { case: "deleteItem", value: { itemId } } });
  }
}

/**
 * Text that is spoken while it is written: an async iterable of events, and methods that send. Use
 * it as a `LiveSession`.
 */
export class SpeechSession extends Session<
  typeof SynthesizeLiveRequestSchema,
  typeof SynthesizeLiveResponseSchema,
  SynthesizeLiveResponse
> {
  /** Sends the next piece of the text. */
  sendText(text: string): Promise<void> {
    return this.send({ event: { case: "text", value: text } });
  }

  /** Speaks the text so far. Required with `SynthesisMode.COMMIT`. */
  commit(): Promise<void> {
    return this.send({ event: { case: "commit", value: {} } });
  }

  /** Discards text that is not spoken yet. */
  clear(): Promise<void> {
    return this.send({ event: { case: "clear", value: {} } });
  }

  /** Iterates over the audio of the remaining events. */
  async *audio(): AsyncGenerator<Uint8Array, void> {
    for await (const { event } of this) {
      if (event.case === "responseDelta" && event.value.part.case === "audio") {
        yield event.value.part.value;
      }
    }
  }
}

/** A copy: a microphone may reuse its buffer while the message waits. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
