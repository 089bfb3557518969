/**
 * Uploads of large files to DashScope's storage, in chunks.
 */
import { Readable } from "node:stream";

import type { MessageInitShape } from "@bufbuild/protobuf";

import { refusePromise } from "../arguments.js";
import type { CallOptions } from "../call.js";
import type { UploadMediaRequestSchema } from "../gen/dashgate/v1/media_service_pb.js";
import { sniff } from "../sniff.js";
import { fileName, named, openRegular, pathOf, type OpenedFile } from "./paths.js";

/**
 * The source of an upload: a path or a `file:` URL, bytes, a `Blob`, or an async iterable of bytes,
 * such as a `Readable` or a `ReadableStream`.
 */
export type UploadSource =
  string | URL | Uint8Array | ArrayBuffer | Blob | AsyncIterable<Uint8Array>;

/** Options of an upload. */
export interface UploadOptions extends CallOptions {
  /**
   * The MIME type, for example `video/mp4`. Default: detected from the first bytes, then from the
   * name.
   */
  readonly mimeType?: string | undefined;
  /** The file's name, for its extension. Default: that of the path. */
  readonly name?: string | undefined;
}

/** Large enough to be fast, and accepted by every gateway. */
const CHUNK_BYTES = 256 * 1024;

type Upload = MessageInitShape<typeof UploadMediaRequestSchema>;

/** An opened source, which must be closed. */
export interface OpenedUpload {
  readonly bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  readonly size?: number;
  readonly name: string;
  readonly close: () => void;
}

/** Opens a source before anything is sent, so that a missing file makes no call. */
export async function openUpload(source: UploadSource): Promise<OpenedUpload> {
  refusePromise("the source", source);
  const close = () => undefined;
  if (typeof source === "string" || source instanceof URL) {
    const path = pathOf(source);
    return fileUpload(path, await openRegular(path));
  }
  if (source instanceof Blob) {
    const name = "name" in source && typeof source.name === "string" ? source.name : "";
    return { bytes: source.stream(), size: source.size, name, close };
  }
  if (source instanceof ArrayBuffer || source instanceof Uint8Array) {
    const bytes = source instanceof Uint8Array ? source : new Uint8Array(source);
    return { bytes: [bytes], size: bytes.length, name: "", close };
  }
  return readUpload(source);
}

/** A source of the caller, which ends with the call: after that, it is not read any further. */
function readUpload(source: AsyncIterable<Uint8Array>): OpenedUpload {
  const state: { isClosed: boolean } = { isClosed: false };
  const bytes = (async function* () {
    for await (const piece of source) {
      if (state.isClosed) {
        return;
      }
      yield piece;
    }
  })();
  const close = () => {
    state.isClosed = true;
    // While a piece is awaited, this waits for it.
    bytes.return().catch(() => undefined);
    if (source instanceof Readable) {
      source.destroy();
    }
  };
  return { bytes, name: "", close };
}

/** A file as a source. */
export function fileUpload(path: string, { file, stats }: OpenedFile): OpenedUpload {
  const bytes = file.createReadStream({ highWaterMark: CHUNK_BYTES });
  return {
    bytes: reported(bytes, path),
    size: Number(stats.size),
    name: fileName(path),
    close: () => bytes.destroy(),
  };
}

/** The bytes of a file, whose errors have its path. */
async function* reported(
  bytes: AsyncIterable<Uint8Array>,
  path: string,
): AsyncGenerator<Uint8Array, void> {
  try {
    yield* bytes;
  } catch (failure) {
    throw named(failure, path);
  }
}

/** The messages of an upload: the description, then the bytes. One chunk is buffered. */
export async function* uploadMessages(
  model: string,
  { bytes, size, name }: OpenedUpload,
  options: UploadOptions,
): AsyncGenerator<Upload, void> {
  const pieces = chunks(bytes);
  try {
    const first = await pieces.next();
    const called = options.name ?? name;
    const value = {
      model,
      mimeType: options.mimeType ?? sniff(first.value ?? new Uint8Array(), called),
      name: called,
      ...(size !== undefined && { sizeBytes: BigInt(size) }),
    };
    yield { payload: { case: "description", value } };
    if (first.value !== undefined) {
      yield { payload: { case: "chunk", value: first.value } };
    }
    for await (const chunk of pieces) {
      yield { payload: { case: "chunk", value: chunk } };
    }
  } finally {
    await pieces.return();
  }
}

/** Splits the bytes into chunks of one size. */
async function* chunks(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  let chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + CHUNK_BYTES - filled);
      chunk.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === CHUNK_BYTES) {
        yield chunk;
        // The yielded chunk may not be sent yet.
        chunk = new Uint8Array(CHUNK_BYTES);
        filled = 0;
      }
    }
  }
  if (filled > 0) {
    yield chunk.subarray(0, filled);
  }
}
