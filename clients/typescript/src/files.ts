/**
 * Files that are uploaded before a call: their parts have a URI that only this process knows.
 */
import { DashgateError } from "./error.js";
import type { Content } from "./gen/dashgate/v1/content_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { ErrorReason } from "./gen/dashgate/v1/error_pb.js";

import type { Call } from "./call.js";

/** The scheme of the URIs. */
export const FILE_SCHEME = "dashgate-file:";

/** A part whose source is a file of this process. */
export interface FilePart {
  /** The path of the URI in the request. */
  readonly field: string;
  readonly uri: string;
  /** Replaces the URI. */
  readonly replace: (uri: string) => void;
}

/** Anything with a source that may be a URI. */
interface Sourced {
  source: { case: string | undefined; value?: unknown };
}

/** Returns the files in the messages of a conversation. */
export function fileParts({ messages }: RawConversation): FilePart[] {
  return messages.flatMap(({ content }, at) =>
    content.flatMap((part, index) =>
      partFiles(part, `conversation.messages[${at}].content[${index}]`),
    ),
  );
}

function partFiles({ kind }: Content, path: string): FilePart[] {
  if (kind.case === "video" && kind.value.source.case === "frames") {
    return kind.value.source.value.frames.flatMap((frame, at) =>
      sourceFile(frame, `${path}.video.frames.frames[${at}]`),
    );
  }
  const isMedium = kind.case !== "text" && kind.case !== undefined;
  return isMedium ? sourceFile(kind.value, `${path}.${kind.case}`) : [];
}

function sourceFile(medium: Sourced, path: string): FilePart[] {
  const { source } = medium;
  if (source.case !== "uri" || typeof source.value !== "string") {
    return [];
  }
  const uri = source.value;
  const replace = (value: string) => {
    medium.source = { case: "uri", value };
  };
  return uri.startsWith(FILE_SCHEME) ? [{ field: `${path}.uri`, uri, replace }] : [];
}

/** Fails if there are files: in browsers, and for those of another process. */
export function refuseFiles(conversation: RawConversation, call: Call): Promise<void> {
  const [first] = fileParts(conversation);
  return first === undefined ? Promise.resolve() : Promise.reject(unknownFile(first, call));
}

/** The error of a file that this process does not know. */
export function unknownFile({ field }: FilePart, { requestId }: Call): DashgateError {
  const description = "the file is not known to this process: attach it again";
  return new DashgateError(`${field}: ${description}`, {
    code: "INVALID_ARGUMENT",
    reason: ErrorReason.INVALID_REQUEST,
    fieldViolations: [{ field, description }],
    requestId,
  });
}
