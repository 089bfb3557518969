/**
 * Lists of messages in the forms of OpenAI's chat completions and of DashScope, as a list may come
 * from anywhere: paths are refused, and so is everything unknown.
 */
import { create } from "@bufbuild/protobuf";

import { base64Of, dataOf } from "./data_uri.js";
import type { Content, Image } from "./gen/dashgate/v1/content_pb.js";
import { ContentSchema, ImageSchema } from "./gen/dashgate/v1/content_pb.js";
import { MessageSchema, Role, type Message } from "./gen/dashgate/v1/conversation_pb.js";
import { ToolCallSchema, type ToolCall } from "./gen/dashgate/v1/tool_pb.js";
import { Fields } from "./json_fields.js";
import { parseJson } from "./json_text.js";
import { sniff } from "./sniff.js";

const ROLES = {
  system: Role.SYSTEM,
  developer: Role.SYSTEM,
  user: Role.USER,
  assistant: Role.ASSISTANT,
  tool: Role.TOOL,
} as const;

/** Parses a list of messages, or its JSON text. Throws a `TypeError` with the place of a problem. */
export function parseMessages(messages: string | readonly unknown[]): Message[] {
  const list: unknown = typeof messages === "string" ? listOf(messages) : messages;
  if (!Array.isArray(list)) {
    throw new TypeError("messages: expected a list");
  }
  // Not `map`, which leaves out what a list has no value for.
  return Array.from(list as unknown[], (one, at) => message(new Fields(one, `messages[${at}]`)));
}

function listOf(text: string): unknown {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new TypeError(`messages: ${(cause as Error).message}`, { cause });
  }
}

function message(fields: Fields): Message {
  const role = fields.required("role", fields.text("role"));
  if (!Object.hasOwn(ROLES, role)) {
    throw fields.error("role", `unknown: it is one of ${Object.keys(ROLES).join(", ")}`);
  }
  const made = create(MessageSchema, {
    role: ROLES[role as keyof typeof ROLES],
    content: contents(fields),
    reasoningText: fields.text("reasoning_content") ?? "",
    toolCallId: fields.text("tool_call_id") ?? "",
    toolCalls: (fields.objects("tool_calls") ?? []).map(toolCall),
  });
  fields.end();
  return made;
}

function toolCall(fields: Fields, position: number): ToolCall {
  const type = fields.text("type") ?? "function";
  if (type !== "function") {
    throw fields.error("type", "unknown: it is function");
  }
  const index = fields.integer("index") ?? position;
  if (index < 0) {
    throw fields.error("index", "expected 0 or more");
  }
  const called = fields.required("function", fields.object("function"));
  const name = called.required("name", called.text("name"));
  if (name === "") {
    throw called.error("name", "empty");
  }
  const call = create(ToolCallSchema, {
    index,
    id: fields.text("id") ?? "",
    type,
    name,
    arguments: called.text("arguments") ?? "",
  });
  called.end();
  fields.end();
  return call;
}

function contents(fields: Fields): Content[] {
  if (typeof fields.peek("content") === "string") {
    return [textPart(fields.text("content") ?? "")];
  }
  return (fields.objects("content") ?? []).map(part);
}

/** The parts of OpenAI by their type. */
const TYPES: Readonly<Record<string, (fields: Fields) => Content>> = {
  text: (fields) => textPart(fields.required("text", fields.text("text"))),
  image_url: (fields) => {
    const url = addressed(fields, "image_url");
    return create(ContentSchema, { kind: { case: "image", value: url } });
  },
  video_url: (fields) => {
    const url = addressed(fields, "video_url");
    return create(ContentSchema, { kind: { case: "video", value: url } });
  },
  video: (fields) => videoPart(fields),
  input_audio: (fields) => {
    const audio = fields.required("input_audio", fields.object("input_audio"));
    const data = audio.required("data", audio.text("data"));
    const name = `.${audio.text("format") ?? ""}`;
    const place = audio.place("data");
    audio.end();
    const value = isUri(data) ? medium(data, place) : bytes(base64Of(data, place), "");
    if (value.source.case === "data" && value.mimeType === "") {
      value.mimeType = sniff(value.source.value, name, "audio");
    }
    return create(ContentSchema, { kind: { case: "audio", value } });
  },
};

/** The parts of DashScope by their key. */
const KEYS: Readonly<Record<string, (fields: Fields) => Content>> = {
  text: (fields) => textPart(fields.required("text", fields.text("text"))),
  audio: (fields) => {
    const value = medium(fields.required("audio", fields.text("audio")), fields.place("audio"));
    return create(ContentSchema, { kind: { case: "audio", value } });
  },
  image: (fields) => {
    const value = medium(fields.required("image", fields.text("image")), fields.place("image"));
    return create(ContentSchema, { kind: { case: "image", value } });
  },
  video: (fields) => videoPart(fields),
};

function part(fields: Fields): Content {
  const type = fields.text("type");
  const key = type ?? Object.keys(KEYS).find((one) => fields.peek(one) !== undefined) ?? "";
  const parts = type === undefined ? KEYS : TYPES;
  const parse = Object.hasOwn(parts, key) ? parts[key] : undefined;
  if (parse === undefined) {
    throw type === undefined
      ? fields.error(undefined, "unknown: a part has a type, text, audio, image or video")
      : fields.error("type", `unknown: it is one of ${Object.keys(TYPES).join(", ")}`);
  }
  const content = parse(fields);
  fields.end();
  return content;
}

function textPart(words: string): Content {
  return create(ContentSchema, { kind: { case: "text", value: words } });
}

/** The URI of an object `{"url"}`. */
function addressed(fields: Fields, name: string): Medium {
  const url = fields.required(name, fields.object(name));
  const value = medium(url.required("url", url.text("url")), url.place("url"));
  if (name === "image_url") {
    // DashScope has no choice of the detail.
    url.text("detail");
  }
  url.end();
  return value;
}

function videoPart(fields: Fields): Content {
  const video = fields.peek("video");
  if (!Array.isArray(video)) {
    const value = medium(fields.required("video", fields.text("video")), fields.place("video"));
    return create(ContentSchema, { kind: { case: "video", value } });
  }
  const uris = fields.texts("video") ?? [];
  if (uris.length === 0) {
    throw fields.error("video", "expected at least one image");
  }
  const frames = uris.map((uri, at): Image => {
    return create(ImageSchema, medium(uri, `${fields.place("video")}[${at}]`));
  });
  const source = { case: "frames" as const, value: { frames } };
  return create(ContentSchema, { kind: { case: "video", value: { source } } });
}

interface Medium {
  mimeType: string;
  source: { case: "uri"; value: string } | { case: "data"; value: Uint8Array<ArrayBuffer> };
}

function isUri(text: string): boolean {
  return /^(?:https?|oss|data):/i.test(text);
}

/** A URI. The content of `data:` becomes bytes. */
function medium(uri: string, place: string): Medium {
  if (!isUri(uri)) {
    throw new TypeError(`${place}: expected a URI with http:, https:, oss: or data:`);
  }
  if (!/^data:/i.test(uri)) {
    return { mimeType: "", source: { case: "uri", value: uri } };
  }
  const { mimeType, bytes: content } = dataOf(uri, place);
  return bytes(content, mimeType);
}

function bytes(value: Uint8Array, mimeType: string): Medium {
  return { mimeType, source: { case: "data", value: value as Uint8Array<ArrayBuffer> } };
}
