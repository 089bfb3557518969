/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What the clients of both entries have in common: all but how the gateway is reached.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { clone, create } from "@bufbuild/protobuf";
import type { Client as RawClient, Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

import { Answer } from "./answer.js";
import { Call, checkedTimeout, DEFAULT_TIMEOUT_MS, type CallOptions } from "./call.js";
import { Conversation } from "./conversation.js";
import { DashgateError } from "./error.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationSchema } from "./gen/dashgate/v1/conversation_pb.js";
import {
  ConversationService,
  ConverseRequestSchema,
  ConverseStreamRequestSchema,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import type { GenerationOptionsSchema } from "./gen/dashgate/v1/generation_pb.js";
import { MediaService } from "./gen/dashgate/v1/media_service_pb.js";
import { setApiKey, setMetadata, type Metadata } from "./metadata.js";
import { RetryBudget } from "./retry.js";
import { AnswerStream } from "./stream.js";
import { DEFAULT_MAX_ROUNDS, runToolLoop, type Tool } from "./tools.js";

/** Four heartbeats of the gateway: what is silent for longer is dead. */
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** How a client calls. */
export interface ClientSettings {
  /** Sent as `authorization: Bearer KEY`, over plaintext too. */
  readonly apiKey?: string | undefined;
  /**
   * The deadline of each call. Default: 10 minutes for a call that answers at once, none for a stream.
   */
  readonly timeoutMs?: number | undefined;
  /** A stream on which nothing comes for this long is given up. Default: 60 seconds. */
  readonly idleTimeoutMs?: number | undefined;
  /** Sent with every call. */
  readonly metadata?: Metadata | undefined;
}

/** Options of a call. */
export interface ConverseOptions extends CallOptions {
  /** How to answer, for example `{ temperature: 0.2 }`. Default: as the model does. */
  readonly options?: MessageInitShape<typeof GenerationOptionsSchema> | undefined;
}

/** How to run tools. */
export interface ToolsOptions extends Omit<ConverseOptions, "requestId"> {
  /** How often tools are run before the model must have answered. Default: 8. */
  readonly maxRounds?: number | undefined;
}

/** The calls, over any transport. */
export class BaseClient implements Disposable {
  /** ConversationService as it was generated, with this client's key and metadata; without retries. */
  readonly conversations: RawClient<typeof ConversationService>;
  /** MediaService as it was generated. */
  readonly media: RawClient<typeof MediaService>;
  readonly #transport: Transport;
  readonly #timeoutMs: number | undefined;
  readonly #idleTimeoutMs: number;
  readonly #budget = new RetryBudget();
  readonly #shut: () => void;
  readonly #calls = new Set<Call>();
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
    this.#timeoutMs = checkedTimeout("timeoutMs", settings.timeoutMs);
    this.#idleTimeoutMs =
      checkedTimeout("idleTimeoutMs", settings.idleTimeoutMs) ?? DEFAULT_IDLE_TIMEOUT_MS;
    this.#shut = shut;
  }

  /** Returns the next answer as a whole. */
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

  /** Returns the next answer as a stream. */
  stream(
    conversation: Conversation | RawConversation,
    options: ConverseOptions = {},
  ): AnswerStream {
    const headers = callHeaders(options.metadata);
    const request = create(ConverseStreamRequestSchema, requestOf(conversation, options));
    const { converseStream } = ConversationService.method;
    return new AnswerStream({
      budget: this.#budget,
      idleTimeoutMs: this.#idleTimeoutMs,
      begin: () => {
        const call = this.#begin(options, this.#timeoutMs);
        request.requestId = call.requestId;
        return call;
      },
      open: async ({ signal, timeoutMs }) => {
        const input = only(request);
        return (await this.#transport.stream(converseStream, signal, timeoutMs, headers, input))
          .message;
      },
    });
  }

  /**
   * Declares the tools and asks; runs what the model calls, in order, tells it the results and asks
   * again, until it calls nothing more. All messages are appended to the conversation.
   */
  async runTools(
    conversation: Conversation,
    tools: readonly Tool[],
    options: ToolsOptions = {},
  ): Promise<Answer> {
    const { maxRounds = DEFAULT_MAX_ROUNDS, ...rest } = options;
    return runToolLoop(conversation, tools, maxRounds, () => this.converse(conversation, rest));
  }

  /** Closes the connection; calls under way fail. A transport that was given stays open. */
  close(): void {
    this.#closed = true;
    for (const call of this.#calls) {
      call.stop(closed("CANCELLED"));
    }
    this.#shut();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs a call that has the deadline of a unary one. */
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

/** The headers of one call. */
export function callHeaders(metadata: Metadata | undefined): Headers {
  const headers = new Headers();
  setMetadata(headers, metadata);
  return headers;
}

/** A copy: what is appended while a call runs must not change what a retry sends. */
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

/** The same transport, with headers on every call, those of the raw clients too. */
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
