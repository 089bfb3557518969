/**
 * Paths: of files that are read, and in errors.
 */
import type { BigIntStats } from "node:fs";
import { constants, open, type FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

/** Returns the path that a path or a `file:` URI names. */
export function pathOf(source: string | URL): string {
  const isUri = typeof source !== "string" || /^file:/i.test(source);
  return isUri ? fileURLToPath(source) : source;
}

/** Returns the last part of a path, for its extension; folders are not sent. */
export function fileName(path: string): string {
  return basename(path);
}

/** A pipe would be waited for, and a terminal could become that of the process. Not on Windows. */
const { O_RDONLY, O_NONBLOCK = 0, O_NOCTTY = 0 } = constants as Partial<typeof constants>;
const FLAGS = (O_RDONLY ?? 0) | O_NONBLOCK | O_NOCTTY;

/** What the system says of a socket, and of a device that is not there. */
const ODD: readonly unknown[] = ["ENXIO", "EOPNOTSUPP", "ENODEV"];

/** The error of a path that is there, but of no regular file. */
export class OddFileError extends Error {
  /** The path. */
  readonly path: string;
  /** As the error of Node.js has it. */
  readonly code: string;
  readonly syscall = "open";

  constructor(path: string, code: string) {
    super(`${code}: not a regular file, open '${path}'`);
    this.path = path;
    this.code = code;
  }
}

/** A regular file that is open. */
export interface OpenedFile {
  readonly file: FileHandle;
  readonly stats: BigIntStats;
}

/**
 * Opens a regular file, which must be closed. A pipe, a socket, a device or a folder is an error, at
 * once: what a path names is known for certain only after it was opened.
 */
export async function openRegular(path: string): Promise<OpenedFile> {
  const file = await open(path, FLAGS).catch((failure: unknown) => {
    const { code } = failure as { code?: unknown };
    throw ODD.includes(code) ? new OddFileError(path, String(code)) : failure;
  });
  try {
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile()) {
      throw new OddFileError(path, stats.isDirectory() ? "EISDIR" : "EINVAL");
    }
    return { file, stats };
  } catch (failure) {
    await file.close();
    throw named(failure, path);
  }
}

/** Opens a regular file for a function, and closes it. Errors have the path. */
export async function withFile<T>(
  path: string,
  use: (opened: OpenedFile) => Promise<T>,
): Promise<T> {
  const opened = await openRegular(path);
  try {
    return await use(opened);
  } catch (failure) {
    throw named(failure, path);
  } finally {
    await opened.file.close();
  }
}

/** Adds the path to an error of the file system that has none. */
export function named(failure: unknown, path: string): unknown {
  if (failure instanceof Error && "syscall" in failure && !("path" in failure)) {
    failure.message += ` '${path}'`;
    Object.assign(failure, { path });
  }
  return failure;
}
