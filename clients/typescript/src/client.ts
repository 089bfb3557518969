/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The common part of the clients for Node.js and browsers: everything except the transport.
 */
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { clone, create } from "@bufbuild/protobuf";
import type { Client as RawClient, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

import { Answer } from "./answer.js";
import {
  Call,
  checkedTimeout,
  DEFAULT_TIMEOUT_MS,
  givenId,
  uuid,
  type CallOptions,
} from "./call.js";
import { Conversation } from "./conversation.js";
import { DashgateError } from "./error.js";
import { CallService } from "./gen/dashgate/v1/call_service_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationSchema } from "./gen/dashgate/v1/conversation_pb.js";
import {
  ConversationService,
  ConverseRequestSchema,
  ConverseStreamRequestSchema,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import type { GenerationOptionsSchema } from "./gen/dashgate/v1/generation_pb.js";
import { LiveService } from "./gen/dashgate/v1/live_service_pb.js";
import { MediaService } from "./gen/dashgate/v1/media_service_pb.js";
import { ModelSchema, type Model } from "./gen/dashgate/v1/model_pb.js";
import { ModelService } from "./gen/dashgate/v1/model_service_pb.js";
import { setApiKey, setMetadata, type Metadata } from "./metadata.js";
import { LEAVE_LIMIT_MS } from "./resume.js";
import { RetryBudget } from "./retry.js";
import { AnswerStream } from "./stream.js";
import { DEFAULT_MAX_ROUNDS, runToolLoop, type Tool } from "./tools.js";

/** Four heartbeats of the gateway. */
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** Settings of a client. */
export interface ClientSettings {
  /** The API key, sent as `authorization: Bearer KEY`, also without TLS. */
  readonly apiKey?: string | undefined;
  /**
   * The deadline of each call in milliseconds. Default: 10 minutes for unary calls, none for
   * streams.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * A stream that receives nothing for this long, not even a heartbeat, fails. Default: 60 seconds.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Metadata of every call. */
  readonly metadata?: Metadata | undefined;
}

/** Options of a call. */
export interface ConverseOptions extends CallOptions {
  /** The generation options, for example `{ temperature: 0.2 }`. Default: those of the model. */
  readonly options?: MessageInitShape<typeof GenerationOptionsSchema> | undefined;
}

/** Options of `stream`. */
export interface StreamOptions extends ConverseOptions {
  /**
   * Whether a stream whose connection is lost continues on another one, after the last event that
   * was received. Leaving such a stream also cancels the call by its request id, for all streams
   * that have the same. Default: true.
   */
  readonly resume?: boolean | undefined;
}

/** Options of `runTools`. */
export interface ToolsOptions extends Omit<ConverseOptions, "requestId"> {
  /** The maximum number of rounds of tool calls. Default: 8. */
  readonly maxRounds?: number | undefined;
}

/** Options of `listModels`. */
export interface ListModelsOptions extends CallOptions {
  /** How many models are fetched at once. Default: the gateway's page size. */
  readonly pageSize?: number | undefined;
}

/** The calls, over any transport. */
export class BaseClient implements Disposable {
  /**
   * The generated client of ConversationService, with this client's key and metadata; without
   * retries.
   */
  readonly conversations: RawClient<typeof ConversationService>;
  /** The generated client of MediaService, with this client's key and metadata. */
  readonly media: RawClient<typeof MediaService>;
  /** The generated client of LiveService, with this client's key and metadata. Not for browsers. */
  readonly sessions: RawClient<typeof LiveService>;
  /** The generated client of ModelService, with this client's key and metadata; without retries. */
  readonly models: RawClient<typeof ModelService>;
  /** The generated client of CallService, with this client's key and metadata. */
  readonly calls: RawClient<typeof CallService>;
  readonly #transport: Transport;
  readonly #timeoutMs: number | undefined;
  readonly #idleTimeoutMs: number;
  readonly #budget = new RetryBudget();
  readonly #shut: () => void;
  readonly #calls = new Set<Call>();
  /** The calls that end another one. */
  readonly #leaving = new Set<Promise<unknown>>();
  #closed = false;

  protected constructor(
    transport: Transport,
    settings: ClientSettings,
    userAgent: Readonly<Record<string, string>>,
    shut: () => void,
  ) {
    const headers = new Headers(userAgent);
    setApiKey(headers, settings.apiKey);
    setMetadata(headers, settings.metadata);
    this.#transport = withHeaders(transport, headers);
    this.conversations = createClient(ConversationService, this.#transport);
    this.media = createClient(MediaService, this.#transport);
    this.sessions = createClient(LiveService, this.#transport);
    this.models = createClient(ModelService, this.#transport);
    this.calls = createClient(CallService, this.#transport);
    this.#timeoutMs = checkedTimeout("timeoutMs", settings.timeoutMs);
    this.#idleTimeoutMs =
      checkedTimeout("idleTimeoutMs", settings.idleTimeoutMs) ?? DEFAULT_IDLE_TIMEOUT_MS;
    this.#shut = shut;
  }

  /** Returns the next answer when complete. Throws a `DashgateError` if the call failed. */
  async converse(
    conversation: Conversation | RawConversation,
    options: ConverseOptions = {},
  ): Promise<Answer> {
    const headers = callHeaders(options.metadata);
    const request = create(ConverseRequestSchema, requestOf(conversation, options));
    return this.unary(options, async (call) => {
      request.requestId = call.requestId;
      const { converse } = ConversationService.method;
      const { message } = await call.attempt(this.#budget, () =>
        this.#transport.unary(converse, call.signal, call.timeoutMs, headers, request),
      );
      return new Answer(message);
    });
  }

  /**
   * Returns the next answer as a stream, which starts the call when it is read. There is no
   * deadline by default. If its connection is lost, the stream continues on another one.
   */
  stream(conversation: Conversation | RawConversation, options: StreamOptions = {}): AnswerStream {
    const { resume = true } = options;
    const headers = callHeaders(options.metadata);
    const request = create(ConverseStreamRequestSchema, requestOf(conversation, options));
    request.resumable = resume;
    const { converseStream } = ConversationService.method;
    return new AnswerStream({
      budget: this.#budget,
      idleTimeoutMs: this.#idleTimeoutMs,
      resume,
      named: givenId(options) !== undefined,
      leave: (requestId) => {
        this.#leave(requestId, headers);
      },
      begin: () => {
        const call = this.#begin(options, this.#timeoutMs);
        request.requestId = call.requestId;
        return call;
      },
      open: async ({ signal, timeoutMs }, afterSequence) => {
        request.afterSequence = afterSequence;
        const input = only(request);
        return this.#transport.stream(converseStream, signal, timeoutMs, headers, input);
      },
    });
  }

  /**
   * Cancels a running call of this caller by its request id, whatever process made it. Its streams
   * fail with `ABORTED` and the reason `CALL_CANCELLED`. If no such call is running, the reason of
   * the error is `CALL_NOT_FOUND`.
   */
  async cancelCall(requestId: string, options: Omit<CallOptions, "requestId"> = {}): Promise<void> {
    const headers = callHeaders(options.metadata);
    const { cancelCall } = CallService.method;
    await this.unary({ ...options, requestId }, ({ signal, timeoutMs }) =>
      this.#transport.unary(cancelCall, signal, timeoutMs, headers, { requestId }),
    );
  }

  /**
   * Returns the models that can be used, in the order of their names. A page is fetched when its
   * first model is needed; `timeoutMs` applies to each page.
   */
  async *listModels(options: ListModelsOptions = {}): AsyncGenerator<Model, void> {
    const { pageSize = 0 } = options;
    let pageToken = "";
    do {
      const request = { pageSize, pageToken };
      const page = await this.#query(ModelService.method.listModels, request, options);
      yield* page.models;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Returns what the gateway knows of a model. Throws a `DashgateError` if the call failed. */
  async getModel(name: string, options: CallOptions = {}): Promise<Model> {
    const { model } = await this.#query(ModelService.method.getModel, { name }, options);
    return model ?? create(ModelSchema);
  }

  /**
   * Declares the tools and runs those that the model calls, in order, until it returns an answer
   * without tool calls. All messages are appended to the conversation. Errors of a tool are thrown
   * unchanged.
   */
  async runTools(
    conversation: Conversation,
    tools: readonly Tool[],
    options: ToolsOptions = {},
  ): Promise<Answer> {
    const { maxRounds = DEFAULT_MAX_ROUNDS, ...rest } = options;
    return runToolLoop(conversation, tools, maxRounds, (isFirst) =>
      this.converse(conversation, isFirst ? rest : { ...rest, requestId: uuid() }),
    );
  }

  /**
   * Closes the connection; calls in progress fail. An existing transport that was passed stays
   * open. If calls of streams that were left are being cancelled, the connection is closed after
   * that, within 2 seconds.
   */
  close(): void {
    this.#closed = true;
    for (const call of this.#calls) {
      call.stop(closed("CANCELLED"));
    }
    if (this.#leaving.size === 0) {
      this.#shut();
    } else {
      void Promise.allSettled(this.#leaving).then(this.#shut);
    }
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs a call with the default deadline of unary calls. */
  protected async unary<T>(options: CallOptions, run: (call: Call) => Promise<T>): Promise<T> {
    const call = this.#begin(options, this.#timeoutMs ?? DEFAULT_TIMEOUT_MS);
    try {
      return await run(call);
    } catch (thrown) {
      throw call.failure(thrown);
    } finally {
      call.end();
    }
  }

  /** Begins a session, whose streams have one request id and one deadline. */
  protected session<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    options: CallOptions,
  ): {
    call: Call;
    open: (input: AsyncIterable<MessageInitShape<I>>) => Promise<AsyncIterable<MessageShape<O>>>;
  } {
    const headers = callHeaders(options.metadata);
    const call = this.#begin(options, this.#timeoutMs);
    headers.set("x-request-id", call.requestId);
    const open = async (input: AsyncIterable<MessageInitShape<I>>) => {
      const { signal, timeoutMs } = call;
      return (await this.#transport.stream(method, signal, timeoutMs, headers, input)).message;
    };
    return { call, open };
  }

  /** Makes a unary call whose request has no field for the request id. */
  async #query<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const headers = callHeaders(options.metadata);
    return this.unary(options, async (call) => {
      headers.set("x-request-id", call.requestId);
      const { message } = await call.attempt(this.#budget, () =>
        this.#transport.unary(method, call.signal, call.timeoutMs, headers, request),
      );
      return message;
    });
  }

  /** Ends a call whose stream was left. If it fails, the gateway ends it after some seconds. */
  #leave(requestId: string, headers: Headers): void {
    const { cancelCall } = CallService.method;
    const ended = this.#transport
      .unary(cancelCall, undefined, LEAVE_LIMIT_MS, headers, { requestId })
      .then(
        () => undefined,
        () => undefined,
      );
    this.#leaving.add(ended);
    void ended.then(() => this.#leaving.delete(ended));
  }

  #begin(options: CallOptions, defaultTimeoutMs: number | undefined): Call {
    if (this.#closed) {
      throw closed("FAILED_PRECONDITION");
    }
    const call = new Call(options, defaultTimeoutMs);
    this.#calls.add(call);
    call.onEnd(() => this.#calls.delete(call));
    return call;
  }
}

function closed(code: "CANCELLED" | "FAILED_PRECONDITION"): DashgateError {
  return new DashgateError("the client was closed", { code, rawReason: "CLIENT_CLOSED" });
}

/** Returns the headers of one call. */
export function callHeaders(metadata: Metadata | undefined): Headers {
  const headers = new Headers();
  setMetadata(headers, metadata);
  return headers;
}

/** Copies the request: messages appended during a call must not change what a retry sends. */
function requestOf(
  conversation: Conversation | RawConversation,
  { options }: ConverseOptions,
): { conversation: RawConversation; options?: NonNullable<ConverseOptions["options"]> } {
  const raw = conversation instanceof Conversation ? conversation.raw : conversation;
  return { conversation: clone(ConversationSchema, raw), ...(options && { options }) };
}

/** A stream of one message. */
async function* only<T>(message: T): AsyncGenerator<T, void> {
  yield await Promise.resolve(message);
}

/** Adds headers to all calls of a transport, including those of the generated clients. */
function withHeaders(transport: Transport, headers: Headers): Transport {
  const merged = (own: HeadersInit | undefined): Headers => {
    const all = new Headers(headers);
    new Headers(own).forEach((value, name) => {
      all.set(name, value);
    });
    return all;
  };
  return {
    unary: (method, signal, timeoutMs, own, input, values) =>
      transport.unary(method, signal, timeoutMs, merged(own), input, values),
    stream: (method, signal, timeoutMs, own, input, values) =>
      transport.stream(method, signal, timeoutMs, merged(own), input, values),
  };
}
