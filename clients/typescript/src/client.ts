/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The common part of the clients for Node.js and browsers: everything except the transport.
 */
import { clone, create, isMessage } from "@bufbuild/protobuf";
import { createClient, type Transport as ConnectTransport } from "@connectrpc/connect";

import { Answer } from "./answer.js";
import { givenId, type CallOptions } from "./call.js";
import { callHeaders, type Caller } from "./caller.js";
import { Conversation, notConversation } from "./conversation.js";
import { CallService } from "./gen/dashgate/v1/call_service_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationSchema } from "./gen/dashgate/v1/conversation_pb.js";
import {
  ConversationService,
  ConverseRequestSchema,
  ConverseStreamRequestSchema,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import { LiveService } from "./gen/dashgate/v1/live_service_pb.js";
import { MediaService } from "./gen/dashgate/v1/media_service_pb.js";
import { ModelService } from "./gen/dashgate/v1/model_service_pb.js";
import { responseHeaders } from "./headers.js";
import { ResourceClient } from "./resources.js";
import type { Schema } from "./schema.js";
import type { ConverseOptions, StreamOptions } from "./settings.js";
import { AnswerStream } from "./stream.js";
import { converseStructured, type ConverseAsOptions, type StructuredAnswer } from "./structured.js";
import { ToolStream } from "./tool_stream.js";
import {
  runToolLoop,
  ToolRounds,
  type StreamToolsOptions,
  type Tool,
  type ToolsOptions,
} from "./tools.js";
import type { ServiceClient } from "./transport.js";
import { valuesOf, WAITING } from "./waiting.js";

/** The calls, over any transport. */
export abstract class BaseClient extends ResourceClient implements Disposable {
  /**
   * The generated client of ConversationService, with this client's key and metadata; without
   * retries.
   */
  readonly conversations: ServiceClient<typeof ConversationService>;
  /** The generated client of MediaService, with this client's key and metadata. */
  readonly media: ServiceClient<typeof MediaService>;
  /** The generated client of LiveService, with this client's key and metadata. Not for browsers. */
  readonly sessions: ServiceClient<typeof LiveService>;
  /** The generated client of ModelService, with this client's key and metadata; without retries. */
  readonly models: ServiceClient<typeof ModelService>;
  /** The generated client of CallService, with this client's key and metadata. */
  readonly calls: ServiceClient<typeof CallService>;

  /** @internal */
  protected constructor(caller: Caller) {
    super(caller);
    const transport: ConnectTransport = caller.transport;
    this.conversations = createClient(ConversationService, transport);
    this.media = createClient(MediaService, transport);
    this.sessions = createClient(LiveService, transport);
    this.models = createClient(ModelService, transport);
    this.calls = createClient(CallService, transport);
  }

  /** Returns the next answer when complete. Throws a `DashgateError` if the call failed. */
  async converse(
    conversation: Conversation | RawConversation,
    options: ConverseOptions = {},
  ): Promise<Answer> {
    const headers = callHeaders(options.metadata);
    const fields = requestOf(conversation, options);
    const request = create(ConverseRequestSchema, fields);
    const { converse } = ConversationService.method;
    const { caller } = this;
    return caller.run(converse.name, options, async (call) => {
      request.requestId = call.requestId;
      await caller.resolveFiles(fields.conversation, call, headers);
      const { message, header, trailer } = await call.attempt(caller.budget, () =>
        caller.transport.unary(
          converse,
          call.signal,
          call.timeoutMs,
          headers,
          request,
          valuesOf(call),
        ),
      );
      return new Answer(message, responseHeaders(header, trailer));
    });
  }

  /**
   * Returns the next answer as a stream, which starts the call when it is read. There is no
   * deadline by default. If its connection is lost, the stream continues on another one.
   */
  stream(conversation: Conversation | RawConversation, options: StreamOptions = {}): AnswerStream {
    const { resume = true } = options;
    const headers = callHeaders(options.metadata);
    const fields = requestOf(conversation, options);
    const request = create(ConverseStreamRequestSchema, fields);
    request.resumable = resume;
    const { converseStream } = ConversationService.method;
    const { caller } = this;
    return new AnswerStream({
      budget: caller.budget,
      idleTimeoutMs: caller.idleTimeoutMs,
      resume,
      named: givenId(options) !== undefined,
      leave: (requestId) => {
        caller.leave(requestId, headers);
      },
      begin: () => {
        const call = caller.begin(converseStream.name, options);
        request.requestId = call.requestId;
        return call;
      },
      prepare: (call) => caller.resolveFiles(fields.conversation, call, headers),
      open: async (call, afterSequence, waiting) => {
        const { signal, timeoutMs } = call;
        request.afterSequence = afterSequence;
        const input = only(request);
        const values = valuesOf(call).set(WAITING, waiting);
        return caller.transport.stream(converseStream, signal, timeoutMs, headers, input, values);
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
    const { transport } = this.caller;
    await this.caller.run(cancelCall.name, { ...options, requestId }, async (call) => {
      const { signal, timeoutMs } = call;
      const values = valuesOf(call);
      await transport.unary(cancelCall, signal, timeoutMs, headers, { requestId }, values);
    });
  }

  /**
   * Declares the tools and runs those that the model calls, until it returns an answer without tool
   * calls. All messages are appended to the conversation. Errors of a tool are thrown unchanged.
   */
  async runTools(
    conversation: Conversation,
    tools: readonly Tool[],
    options: ToolsOptions = {},
  ): Promise<Answer> {
    const rounds = new ToolRounds(conversation, tools, options);
    return runToolLoop(rounds, (isFirst) =>
      this.converse(conversation, isFirst ? options : laterCall(options)),
    );
  }

  /**
   * As `runTools`, with streams: the events are those of all rounds, and `final()` is the last
   * answer. The functions run while the stream is read.
   */
  streamTools(
    conversation: Conversation,
    tools: readonly Tool[],
    options: StreamToolsOptions = {},
  ): ToolStream {
    const rounds = new ToolRounds(conversation, tools, options);
    return new ToolStream(rounds, (isFirst) =>
      this.stream(conversation, isFirst ? options : laterCall(options)),
    );
  }

  /**
   * Returns the next answer as a value of a type, whose JSON Schema is sent to the model. If the
   * answer is not of the type, the error has the reason `OUTPUT_INVALID`. The conversation is not
   * changed.
   */
  async converseAs<T>(
    schema: Schema<T>,
    conversation: Conversation,
    options: ConverseAsOptions = {},
  ): Promise<StructuredAnswer<T>> {
    return converseStructured(schema, conversation, options, (asked, call, isFirst) =>
      this.converse(asked, isFirst ? call : laterCall(call)),
    );
  }

  /**
   * Closes the connection; calls in progress fail. An existing transport that was passed stays
   * open. If calls of streams that were left are being cancelled, the connection is closed after
   * that, within 2 seconds.
   */
  close(): void {
    this.caller.close();
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** The options of a later call of a loop, which has its own request id. */
function laterCall<T extends StreamOptions>(options: T): T {
  const entries = Object.entries(options.metadata ?? {});
  const others = entries.filter(([name]) => name.toLowerCase() !== "x-request-id");
  const metadata = Object.fromEntries(others);
  return { ...options, metadata, requestId: undefined, expectedTurn: undefined };
}

/** Copies the request: messages appended during a call must not change what a retry sends. */
function requestOf(
  conversation: Conversation | RawConversation,
  { options, expectedTurn, history }: ConverseOptions,
) {
  const message = conversation instanceof Conversation ? conversation.raw : conversation;
  if (!isMessage(message, ConversationSchema)) {
    throw notConversation(message);
  }
  const raw = clone(ConversationSchema, message);
  const known = expectedTurn ?? (raw.name !== "" && raw.lastTurn > 0 ? raw.lastTurn : undefined);
  // It is for the caller only.
  raw.lastTurn = 0;
  return {
    conversation: raw,
    ...(options && { options }),
    ...(known !== undefined && { expectedTurn: known }),
    ...(history && { history }),
  };
}

/** A stream of one message. */
async function* only<T>(message: T): AsyncGenerator<T, void> {
  yield await Promise.resolve(message);
}
