/**
 * Accumulates the events of a stream into the answer that a unary call would have returned.
 */
import type { JsonObject, MessageInitShape } from "@bufbuild/protobuf";
import { clone, create } from "@bufbuild/protobuf";

import { join } from "./bytes.js";
import type { AudioFile, Content } from "./gen/dashgate/v1/content_pb.js";
import { AudioSchema, ContentSchema } from "./gen/dashgate/v1/content_pb.js";
import type { Annotation } from "./gen/dashgate/v1/conversation_pb.js";
import { MessageSchema, Role } from "./gen/dashgate/v1/conversation_pb.js";
import type {
  Choice,
  ChoiceEnd,
  Completed,
  ConverseResponse,
  ConverseStreamResponse,
  Delta,
  Logprobs,
  SearchInfo,
  Started,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import {
  ChoiceSchema,
  ConverseResponseSchema,
  FinishReason,
  LogprobsSchema,
} from "./gen/dashgate/v1/conversation_service_pb.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import { ToolCallSchema } from "./gen/dashgate/v1/tool_pb.js";

/**
 * The MIME type of the audio in a stream's events, unless its file names another one: 16-bit
 * little-endian mono at 24 kHz.
 */
const STREAMED_AUDIO = "audio/pcm";

/** Accumulates the events of one stream, in order. */
export class Fold {
  #started: Started | undefined;
  #completed: Completed | undefined;
  #searchInfo: SearchInfo | undefined;
  #hasOutput = false;
  #isEmpty = true;
  readonly #choices = new Map<number, ChoiceFold>();

  /** Whether the last event was received. */
  get complete(): boolean {
    return this.#completed !== undefined;
  }

  /** Whether a part of the answer was received. */
  get hasOutput(): boolean {
    return this.#hasOutput;
  }

  /** Whether nothing but heartbeats was received. */
  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  /** Adds the next event; unknown events are skipped. */
  add({ event }: ConverseStreamResponse): void {
    this.#isEmpty &&= event.case === "heartbeat";
    if (event.case === "started") {
      this.#started = event.value;
    } else if (event.case === "delta") {
      this.#hasOutput = true;
      this.#delta(event.value);
    } else if (event.case === "completed") {
      this.#completed = event.value;
      for (const end of event.value.choices) {
        this.#choice(end.index).end = end;
      }
    }
  }

  /** Returns the response that was accumulated so far; it does not change with later events. */
  response(): ConverseResponse {
    const choices = [...this.#choices].sort(([one], [other]) => one - other);
    return create(ConverseResponseSchema, {
      choices: choices.map(([, choice]) => choice.whole()),
      usage: this.#completed?.usage,
      requestId: this.#started?.requestId ?? "",
      upstreamRequestId: this.#started?.upstreamRequestId ?? "",
      model: this.#started?.model ?? "",
      timing: this.#completed?.timing,
      extraOutput: this.#completed?.extraOutput,
      extra: this.#completed?.extra,
      warnings: this.#completed?.warnings ?? [],
      searchInfo: this.#searchInfo,
      historyUsed: this.#completed?.historyUsed,
    });
  }

  #delta({ choiceIndex, part, startsPart }: Delta): void {
    if (part.case === "searchInfo") {
      this.#searchInfo = part.value;
    } else if (part.case !== undefined) {
      this.#choice(choiceIndex).add(part, startsPart);
    }
  }

  #choice(index: number): ChoiceFold {
    let choice = this.#choices.get(index);
    if (choice === undefined) {
      choice = new ChoiceFold(index);
      this.#choices.set(index, choice);
    }
    return choice;
  }
}

/** A delta of one choice. */
type Part = Exclude<Delta["part"], { case: undefined } | { case: "searchInfo" }>;

/** An incomplete audio part. */
interface Sound {
  readonly pieces: Uint8Array[];
  file: AudioFile | undefined;
}

class ChoiceFold {
  end: ChoiceEnd | undefined;
  readonly #index: number;
  readonly #content: Content[] = [];
  /** Texts are joined once, at the end: joining each delta would copy a long answer many times. */
  readonly #words = new Map<Content, string[]>();
  readonly #reasoning: string[] = [];
  readonly #sounds: Sound[] = [];
  #extra: JsonObject | undefined;
  readonly #toolCalls = new Map<number, { call: ToolCall; pieces: string[] }>();
  readonly #annotations: Annotation[] = [];
  #logprobs: Logprobs | undefined;

  constructor(index: number) {
    this.#index = index;
  }

  add(part: Part, startsPart: boolean): void {
    switch (part.case) {
      case "text":
        this.#text(part.value, startsPart);
        break;
      case "reasoningText":
        this.#reasoning.push(part.value);
        break;
      case "audio":
        this.#sound(startsPart).pieces.push(part.value);
        break;
      case "audioFile":
        this.#sound(startsPart).file = part.value;
        break;
      case "toolCall":
        this.#toolCall(part.value);
        break;
      case "annotation":
        this.#annotations.push(part.value);
        break;
      case "imageUri":
        this.#content.push(image(part.value));
        break;
      case "extra":
        this.#partExtra(part.value, startsPart);
        break;
      case "messageExtra":
        this.#extra = { ...this.#extra, ...part.value };
        break;
      case "logprobs":
        this.#logprobs ??= create(LogprobsSchema);
        this.#logprobs.content.push(...part.value.content);
        if (part.value.extra !== undefined) {
          this.#logprobs.extra = { ...this.#logprobs.extra, ...part.value.extra };
        }
        break;
    }
  }

  whole(): Choice {
    const message = create(MessageSchema, {
      role: Role.ASSISTANT,
      content: [...this.#content.map((part) => this.#joined(part)), ...this.#spoken()],
      reasoningText: this.#reasoning.join(""),
      toolCalls: this.#calls(),
      annotations: [...this.#annotations],
      ...(this.#extra && { extra: this.#extra }),
    });
    return create(ChoiceSchema, {
      index: this.#index,
      message,
      finishReason: this.end?.finishReason ?? FinishReason.UNSPECIFIED,
      rawFinishReason: this.end?.rawFinishReason ?? "",
      logprobs: this.#logprobs && clone(LogprobsSchema, this.#logprobs),
      extra: this.end?.extra,
    });
  }

  #text(words: string, startsPart: boolean): void {
    const last = startsPart ? undefined : this.#content.at(-1);
    const pieces = last && this.#words.get(last);
    if (pieces !== undefined) {
      pieces.push(words);
      return;
    }
    const part = create(ContentSchema, { kind: { case: "text", value: "" } });
    this.#content.push(part);
    this.#words.set(part, [words]);
  }

  #joined(part: Content): Content {
    const whole = clone(ContentSchema, part);
    const pieces = this.#words.get(part);
    if (pieces !== undefined) {
      whole.kind = { case: "text", value: pieces.join("") };
    }
    return whole;
  }

  #partExtra(extra: JsonObject, startsPart: boolean): void {
    const last = startsPart ? undefined : this.#content.at(-1);
    if (last === undefined) {
      this.#content.push(create(ContentSchema, { extra }));
    } else {
      last.extra = { ...last.extra, ...extra };
    }
  }

  #toolCall(piece: ToolCall): void {
    const known = this.#toolCalls.get(piece.index);
    if (known === undefined) {
      const call = clone(ToolCallSchema, piece);
      this.#toolCalls.set(piece.index, { call, pieces: [piece.arguments] });
      return;
    }
    known.call.id ||= piece.id;
    known.call.type ||= piece.type;
    known.call.name += piece.name;
    known.pieces.push(piece.arguments);
    if (piece.extra !== undefined) {
      known.call.extra = { ...known.call.extra, ...piece.extra };
    }
  }

  #calls(): ToolCall[] {
    const calls = [...this.#toolCalls.values()].map(({ call, pieces }) =>
      create(ToolCallSchema, { ...call, arguments: pieces.join("") }),
    );
    return calls.sort((one, other) => one.index - other.index);
  }

  #sound(startsPart: boolean): Sound {
    const last = startsPart ? undefined : this.#sounds.at(-1);
    if (last !== undefined) {
      return last;
    }
    const sound: Sound = { pieces: [], file: undefined };
    this.#sounds.push(sound);
    return sound;
  }

  /** The audio parts, which come after all others. */
  #spoken(): Content[] {
    return this.#sounds.map(({ pieces, file }) => {
      const data = join(pieces);
      const uri = file?.uri ?? "";
      if (data.length > 0) {
        const source = { case: "data" as const, value: data };
        const mimeType = namedType(file) ?? STREAMED_AUDIO;
        return audio({ mimeType, source, ...(file && { file }) });
      }
      const source = uri === "" ? undefined : { case: "uri" as const, value: uri };
      return audio({ ...(source && { source }), ...(file && { file }) });
    });
  }
}

/** The MIME type that the gateway names because it is not that of streamed audio. */
function namedType(file: AudioFile | undefined): string | undefined {
  const named = file?.extra?.["mime_type"];
  return typeof named === "string" && named.startsWith("audio/") ? named : undefined;
}

function audio(value: MessageInitShape<typeof AudioSchema>): Content {
  return create(ContentSchema, { kind: { case: "audio", value: create(AudioSchema, value) } });
}

function image(uri: string): Content {
  return create(ContentSchema, {
    kind: { case: "image", value: { source: { case: "uri", value: uri } } },
  });
}
