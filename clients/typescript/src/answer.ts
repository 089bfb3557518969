/**
 * The answer of a model.
 */
import { toJson, type JsonValue } from "@bufbuild/protobuf";

import { join } from "./bytes.js";
import type {
  Choice,
  ConverseResponse,
  Timing,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import { ConverseResponseSchema, FinishReason } from "./gen/dashgate/v1/conversation_service_pb.js";
import type { Message } from "./gen/dashgate/v1/conversation_pb.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import type { Usage } from "./gen/dashgate/v1/usage_pb.js";
import type { ResponseHeaders } from "./headers.js";
import type { Warning } from "./gen/dashgate/v1/warning_pb.js";

/** The complete answer of a model. Properties are values of the first choice: that of index 0. */
export class Answer {
  /** The response of the schema; that of a stream is accumulated from its events. */
  readonly raw: ConverseResponse;
  /** The initial metadata and the trailers of the response: texts by name, in lower case. */
  readonly headers: ResponseHeaders;
  readonly #first: Choice | undefined;

  /** Wraps a response. */
  constructor(raw: ConverseResponse, headers: ResponseHeaders = {}) {
    this.raw = raw;
    this.headers = headers;
    this.#first = raw.choices.find((choice) => choice.index === 0);
  }

  /** All choices: one, unless `options.n` is above 1. */
  get choices(): readonly Choice[] {
    return this.raw.choices;
  }

  /** The answer as a message, for `Conversation.append`. */
  get message(): Message | undefined {
    return this.#first?.message;
  }

  /** The texts of the answer, joined. */
  get text(): string {
    const content = this.message?.content ?? [];
    return content.map(({ kind }) => (kind.case === "text" ? kind.value : "")).join("");
  }

  /** The reasoning of the answer. */
  get reasoningText(): string {
    return this.message?.reasoningText ?? "";
  }

  /** The tool calls of the answer. */
  get toolCalls(): readonly ToolCall[] {
    return this.message?.toolCalls ?? [];
  }

  /**
   * The bytes of the answer's audio: 16-bit little-endian mono PCM at 24 kHz by default. The MIME
   * type of its part names another format.
   */
  get audio(): Uint8Array<ArrayBuffer> {
    const content = this.message?.content ?? [];
    return join(
      content.flatMap(({ kind }) =>
        kind.case === "audio" && kind.value.source.case === "data" ? [kind.value.source.value] : [],
      ),
    );
  }

  /** Why the answer ended. */
  get finishReason(): FinishReason {
    return this.#first?.finishReason ?? FinishReason.UNSPECIFIED;
  }

  /** The finish reason as received from DashScope. */
  get rawFinishReason(): string {
    return this.#first?.rawFinishReason ?? "";
  }

  /** The usage of the call, as counted by DashScope. */
  get usage(): Usage | undefined {
    return this.raw.usage;
  }

  /** The warnings, for example that audio was truncated. Usually empty. */
  get warnings(): readonly Warning[] {
    return this.raw.warnings;
  }

  /** The request id, as in the gateway's log. */
  get requestId(): string {
    return this.raw.requestId;
  }

  /** DashScope's request id, for its support. */
  get upstreamRequestId(): string {
    return this.raw.upstreamRequestId;
  }

  /** The model that answered, after the gateway's mapping. */
  get model(): string {
    return this.raw.model;
  }

  /** The response in the JSON form of the schema, for `JSON.stringify`. */
  toJSON(): JsonValue {
    return toJson(ConverseResponseSchema, this.raw);
  }

  /** How long the call took, as measured by the gateway. */
  get timing(): Timing | undefined {
    return this.raw.timing;
  }
}
