/**
 * An answer, whole: what most callers ask of it, and the message that it came in.
 */
import type {
  Choice,
  ConverseResponse,
  Timing,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import { FinishReason } from "./gen/dashgate/v1/conversation_service_pb.js";
import type { Message } from "./gen/dashgate/v1/conversation_pb.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import type { Usage } from "./gen/dashgate/v1/usage_pb.js";
import type { Warning } from "./gen/dashgate/v1/warning_pb.js";

/** What the model answered. Where there are several choices, the first is meant: the one of index 0. */
export class Answer {
  /** The message as it came; that of a stream is put together from its events. */
  readonly raw: ConverseResponse;
  readonly #first: Choice | undefined;

  constructor(raw: ConverseResponse) {
    this.raw = raw;
    this.#first = raw.choices.find((choice) => choice.index === 0);
  }

  /** All answers: one, unless `options.n` asked for more. */
  get choices(): readonly Choice[] {
    return this.raw.choices;
  }

  /** The turn, to be appended to the conversation. */
  get message(): Message | undefined {
    return this.#first?.message;
  }

  /** What was said. */
  get text(): string {
    const content = this.message?.content ?? [];
    return content.map(({ kind }) => (kind.case === "text" ? kind.value : "")).join("");
  }

  /** What the model thought before it spoke. */
  get reasoningText(): string {
    return this.message?.reasoningText ?? "";
  }

  /** The tools that the model asks for. */
  get toolCalls(): readonly ToolCall[] {
    return this.message?.toolCalls ?? [];
  }

  /** The bytes of what was spoken: 16-bit little-endian mono PCM at 24 kHz unless asked otherwise. */
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

  /** The same in DashScope's own word, so that a new one is not lost. */
  get rawFinishReason(): string {
    return this.#first?.rawFinishReason ?? "";
  }

  /** What it used, as DashScope counted. */
  get usage(): Usage | undefined {
    return this.raw.usage;
  }

  /** What the caller should know about the answer, for example that audio was cut. Usually empty. */
  get warnings(): readonly Warning[] {
    return this.raw.warnings;
  }

  /** The name of the call: yours, or the one that the client made up. */
  get requestId(): string {
    return this.raw.requestId;
  }

  /** DashScope's name of the call, for its support. */
  get upstreamRequestId(): string {
    return this.raw.upstreamRequestId;
  }

  /** The model that answered, after the operator's mapping. */
  get model(): string {
    return this.raw.model;
  }

  /** How long it took, as the gateway saw it. */
  get timing(): Timing | undefined {
    return this.raw.timing;
  }
}

/** All pieces in one. */
export function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
