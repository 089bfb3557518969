/**
 * A conversation as a value to which messages are appended.
 */
import { clone, create } from "@bufbuild/protobuf";

import type { Answer } from "./answer.js";
import { text } from "./content.js";
import type { Content } from "./gen/dashgate/v1/content_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ConversationSchema, MessageSchema, Role } from "./gen/dashgate/v1/conversation_pb.js";
import type { ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import { FunctionToolSchema, ToolChoiceSchema, ToolSchema } from "./gen/dashgate/v1/tool_pb.js";
import { ToolChoiceMode } from "./gen/dashgate/v1/tool_pb.js";

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
export type ToolChoice = "auto" | "none" | "required" | { readonly functionName: string };

const MODES = {
  auto: ToolChoiceMode.AUTO,
  none: ToolChoiceMode.NONE,
  required: ToolChoiceMode.REQUIRED,
} as const;

/**
 * A conversation: the messages and the tools that the model may call. The gateway stores no
 * conversations: each call sends all of it. A string is equivalent to `text(...)` in all methods.
 */
export class Conversation {
  /** The message that is sent. May be modified. */
  readonly raw: RawConversation;

  /** Creates a conversation with a model, and optionally with a system message. */
  constructor(model: string, system?: string) {
    this.raw = create(ConversationSchema, { model });
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

  /** Appends an answer of the model. */
  append(answer: Answer): this {
    if (answer.message !== undefined) {
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
    const parts = content.map((part) => (typeof part === "string" ? text(part) : part));
    this.raw.messages.push(create(MessageSchema, { role, content: parts, toolCallId }));
    return this;
  }
}
