/**
 * Paths: of files that are read, and in errors.
 */
import { open, type FileHandle } from "node:fs/promises";
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

/** Opens a file for a function, and closes it. Errors have the path. */
export async function withFile<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path);
  try {
    return await use(file);
  } catch (failure) {
    throw named(failure, path);
  } finally {
    await file.close();
  }
}

/** Adds the path to an error of the file system that has none, such as that of a folder. */
export function named(failure: unknown, path: string): unknown {
  if (failure instanceof Error && "syscall" in failure && !("path" in failure)) {
    failure.message += ` '${path}'`;
    Object.assign(failure, { path });
  }
  return failure;
}
