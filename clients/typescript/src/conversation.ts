/**
 * A conversation as a value: the messages so far.
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

/** A function that the model may call, without the function. */
export interface ToolDeclaration {
  /** Letters, digits, `_` and `-`, at most 64. */
  readonly name: string;
  /** What it does and when to call it. */
  readonly description: string;
  /** The JSON Schema of its arguments: a JSON text, sent byte for byte, or an object. */
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
 * The messages so far, and the tools that the model may call. The gateway keeps nothing: all of it is
 * sent with each call. A text stands for `text(...)` wherever content is asked for.
 */
export class Conversation {
  /** The message that is sent. Change it freely. */
  readonly raw: RawConversation;

  /** Begins a conversation with a model, and with instructions for all of it if there are any. */
  constructor(model: string, system?: string) {
    this.raw = create(ConversationSchema, { model });
    if (system !== undefined) {
      this.#add(Role.SYSTEM, [system]);
    }
  }

  /** Takes a message that exists, as it is: what is appended is appended to that message. */
  static of(raw: RawConversation): Conversation {
    const conversation = new Conversation(raw.model);
    (conversation as { raw: RawConversation }).raw = raw;
    return conversation;
  }

  /** A copy: an independent conversation that starts with these messages. */
  copy(): Conversation {
    return Conversation.of(clone(ConversationSchema, this.raw));
  }

  /** Appends a message of the user. */
  user(...content: (Content | string)[]): this {
    return this.#add(Role.USER, content);
  }

  /** Appends a message of the assistant, as an example. */
  assistant(...content: (Content | string)[]): this {
    return this.#add(Role.ASSISTANT, content);
  }

  /** Appends what the model said. */
  append(answer: Answer): this {
    if (answer.message !== undefined) {
      this.raw.messages.push(clone(MessageSchema, answer.message));
    }
    return this;
  }

  /** Appends what a tool gave for a call of the model. */
  toolResult(call: ToolCall, result: string): this {
    this.#add(Role.TOOL, [result], call.id);
    return this;
  }

  /** Declares a function that the model may call; one of the same name is replaced. */
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

  /** Says whether the model must, may or must not call a tool. */
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
