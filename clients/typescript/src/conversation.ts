/**
 * A conversation as a value to which messages are appended.
 */
import { clone, create, fromJson, isMessage, toJson, type JsonValue } from "@bufbuild/protobuf";

import { Answer } from "./answer.js";
import { kindOf } from "./arguments.js";
import { text } from "./content.js";
import { ContentSchema, type Content } from "./gen/dashgate/v1/content_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationSchema, MessageSchema, Role } from "./gen/dashgate/v1/conversation_pb.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import { FunctionToolSchema, ToolChoiceSchema, ToolSchema } from "./gen/dashgate/v1/tool_pb.js";
import { ToolChoiceMode } from "./gen/dashgate/v1/tool_pb.js";
import { parseJson } from "./json_text.js";
import { parseMessages } from "./messages.js";

/** The declaration of a function that the model may call. */
export interface ToolDeclaration {
  /** Letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** What the function does and when to call it. */
  readonly description: string;
  /** The JSON Schema of the arguments: JSON text, which is sent unchanged, or an object. */
  readonly parameters?: string | Readonly<Record<string, unknown>> | undefined;
}

/** Whether the model must, may or must not call a tool, or which function it must call. */
export type ToolChoice =
  | "auto"
  | "none"
  | "required"
  | {
      /** The name of the function that must be called. */
      readonly functionName: string;
    };

const MODES = {
  auto: ToolChoiceMode.AUTO,
  none: ToolChoiceMode.NONE,
  required: ToolChoiceMode.REQUIRED,
} as const;

/** What a conversation may have besides its model. */
export interface ConversationOptions {
  /** The system message. */
  readonly system?: string | undefined;
  /**
   * The name of a stored conversation, `conversations/{id}`: only new messages are sent, and the
   * gateway stores them with the answer. The model may then be empty.
   */
  readonly name?: string | undefined;
}

/**
 * A conversation: the messages and the tools that the model may call. Each call sends all of it;
 * with a `name`, the gateway has the history, and the messages are the new ones. A string is
 * equivalent to `text(...)` in all methods.
 */
export class Conversation {
  /** The message that is sent. May be modified. */
  readonly raw: RawConversation;

  /** Creates a conversation with a model, and optionally with a system message or a name. */
  constructor(model: string, options: string | ConversationOptions = {}) {
    const { system, name = "" } = typeof options === "string" ? { system: options } : options;
    this.raw = create(ConversationSchema, { model, name });
    if (system !== undefined) {
      this.#add(Role.SYSTEM, [system]);
    }
  }

  /** Wraps an existing message, which is modified by the methods. */
  static of(raw: RawConversation): Conversation {
    const conversation = new Conversation(raw.model);
    (conversation as { raw: RawConversation }).raw = raw;
    return conversation;
  }

  /**
   * Creates a conversation from a list of messages in the form of OpenAI's chat completions or of
   * DashScope, as values or as JSON text. `data:` URIs become bytes; paths are refused. Throws a
   * `TypeError` with the place of whatever is unknown.
   */
  static fromMessages(model: string, messages: string | readonly unknown[]): Conversation {
    const conversation = new Conversation(model);
    conversation.raw.messages = parseMessages(messages);
    return conversation;
  }

  /** Reads a conversation from the JSON form of the schema: a value, or JSON text. */
  static fromJSON(json: string | JsonValue): Conversation {
    const raw = typeof json === "string" ? (parseJson(json) as JsonValue) : json;
    return Conversation.of(fromJson(ConversationSchema, raw));
  }

  /** The conversation in the JSON form of the schema, for `JSON.stringify`. */
  toJSON(): JsonValue {
    return toJson(ConversationSchema, this.raw);
  }

  /** Returns an independent copy. */
  copy(): Conversation {
    return Conversation.of(clone(ConversationSchema, this.raw));
  }

  /** Appends a user message. */
  user(...content: (Content | string)[]): this {
    return this.#add(Role.USER, content);
  }

  /** Appends an assistant message, for example as a sample. */
  assistant(...content: (Content | string)[]): this {
    return this.#add(Role.ASSISTANT, content);
  }

  /**
   * Of a stored conversation: the number of the latest turn that this program knows, which the next
   * call expects; 0 if it knows none.
   */
  get lastTurn(): number {
    return this.raw.lastTurn;
  }

  /**
   * Appends an answer of the model. A stored conversation has it already: its messages are removed,
   * and `lastTurn` is that of the answer. Tools and tool choice stay.
   */
  append(answer: Answer): this {
    if (!(answer instanceof Answer)) {
      throw new TypeError(`append: an Answer is expected; this is ${kindOf(answer)}`);
    }
    if (this.raw.name !== "") {
      this.raw.messages = [];
      this.raw.lastTurn = answer.raw.historyUsed?.turn ?? this.raw.lastTurn;
    } else if (answer.message !== undefined) {
      this.raw.messages.push(clone(MessageSchema, answer.message));
    }
    return this;
  }

  /** Appends the result of a tool call. */
  toolResult(call: ToolCall, result: string): this {
    this.#add(Role.TOOL, [result], call.id);
    return this;
  }

  /**
   * Declares a function that the model may call; a declared function of the same name is replaced.
   */
  declare(tool: ToolDeclaration): this {
    const { name, description, parameters = "" } = tool;
    const value = create(FunctionToolSchema, {
      name,
      description,
      parameters: typeof parameters === "string" ? parameters : JSON.stringify(parameters),
    });
    const declared = create(ToolSchema, { kind: { case: "function", value } });
    const at = this.raw.tools.findIndex(
      ({ kind }) => kind.case === "function" && kind.value.name === name,
    );
    this.raw.tools.splice(at < 0 ? this.raw.tools.length : at, at < 0 ? 0 : 1, declared);
    return this;
  }

  /** Sets whether the model must, may or must not call a tool. */
  choose(choice: ToolChoice): this {
    this.raw.toolChoice = create(ToolChoiceSchema, {
      kind:
        typeof choice === "string"
          ? { case: "mode", value: MODES[choice] }
          : { case: "functionName", value: choice.functionName },
    });
    return this;
  }

  #add(role: Role, content: (Content | string)[], toolCallId = ""): this {
    const parts = content.map((part, at) => {
      if (typeof part === "string") {
        return text(part);
      }
      if (!isMessage(part, ContentSchema)) {
        const expected = "a text, or a part such as `await image(...)` returns";
        throw new TypeError(`content[${at}]: ${expected}; this is ${kindOf(part)}`);
      }
      return part;
    });
    this.raw.messages.push(create(MessageSchema, { role, content: parts, toolCallId }));
    return this;
  }
}

/** Throws the error of an argument that is no conversation. */
export function checkConversation(conversation: unknown): asserts conversation is Conversation {
  if (!(conversation instanceof Conversation)) {
    throw notConversation(conversation);
  }
}

/** The error of an argument that is no conversation. */
export function notConversation(value: unknown): TypeError {
  const example = 'new Conversation("MODEL").user("...")';
  return new TypeError(
    `conversation: a Conversation is expected, as ${example}; this is ${kindOf(value)}`,
  );
}
