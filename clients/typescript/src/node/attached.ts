/**
 * The large files that were attached by path, which are sent as they were then.
 */
import type { BigIntStats } from "node:fs";
import { resolve } from "node:path";

import { uuid, type Call } from "../call.js";
import { DashgateError } from "../error.js";
import { FILE_SCHEME, unknownFile, type FilePart } from "../files.js";
import { ErrorReason } from "../gen/dashgate/v1/error_pb.js";
import { Bounded } from "./bounded.js";
import { OddFileError, openRegular, type OpenedFile } from "./paths.js";

const MAX_FILES = 10_000;

/** A file that was attached. */
export class AttachedFile {
  readonly path: string;
  readonly mimeType: string;
  /** Differs for another file, and for the same one after a change. */
  readonly identity: string;

  constructor(path: string, mimeType: string, stats: BigIntStats) {
    this.path = resolve(path);
    this.mimeType = mimeType;
    this.identity = identityOf(stats);
  }

  /** Opens the file, which must be closed, if it is still the one that was attached. */
  async open({ field }: FilePart, { requestId }: Call): Promise<OpenedFile> {
    const changed = (cause?: unknown) => {
      const description = `${this.path} is not the file that was attached: attach it again`;
      return new DashgateError(`${field}: ${description}`, {
        code: "INVALID_ARGUMENT",
        reason: ErrorReason.INVALID_REQUEST,
        fieldViolations: [{ field, description }],
        requestId,
        ...(cause !== undefined && { cause }),
      });
    };
    const opened = await openRegular(this.path).catch((failure: unknown) => {
      throw failure instanceof OddFileError ? changed(failure) : failure;
    });
    if (identityOf(opened.stats) !== this.identity) {
      await opened.file.close();
      throw changed();
    }
    return opened;
  }
}

function identityOf({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}`;
}

/** The files of this process. A message from elsewhere cannot name one: the ids are random. */
const FILES = new Bounded<AttachedFile>(MAX_FILES);

/** Returns the URI of a file, which is valid in this process. */
export function attached(file: AttachedFile): string {
  const uri = `${FILE_SCHEME}${uuid()}`;
  FILES.set(uri, file);
  return uri;
}

/** Returns the file of a part. */
export function attachedFile(part: FilePart, call: Call): AttachedFile {
  const file = FILES.get(part.uri);
  if (file === undefined) {
    throw unknownFile(part, call);
  }
  return file;
}
