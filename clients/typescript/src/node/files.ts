/**
 * Large files that are given by path: they are uploaded before the call that sends them.
 */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";

import { timestampMs } from "@bufbuild/protobuf/wkt";

import { uuid } from "../call.js";
import type { ResolveFiles } from "../caller.js";
import { DashgateError } from "../error.js";
import { FILE_SCHEME, fileParts, unknownFile } from "../files.js";
import type { UploadMediaResponse } from "../gen/dashgate/v1/media_service_pb.js";
import type { UploadOptions } from "./upload.js";

/** Larger files are not read into the message. */
export const LARGE_BYTES = 4 * 1024 * 1024;

const MAX_FILES = 10_000;
const MAX_UPLOADS = 1000;

/** An upload is not used in its last hour: the call may take long. */
const MARGIN_MS = 60 * 60_000;

interface AttachedFile {
  readonly path: string;
  readonly mimeType: string;
}

/** A map that forgets its oldest entry. */
class Bounded<V> {
  readonly #entries = new Map<string, V>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > this.#limit && oldest !== undefined) {
      this.#entries.delete(oldest);
    }
  }
}

/** The files of this process. A message from elsewhere cannot name one: the ids are random. */
const FILES = new Bounded<AttachedFile>(MAX_FILES);

/** Returns the URI of a file, which is valid in this process. */
export function attached(path: string, mimeType: string): string {
  const uri = `${FILE_SCHEME}${uuid()}`;
  FILES.set(uri, { path: resolve(path), mimeType });
  return uri;
}

/** The functions of the client that uploads need. */
export interface UploadCalls {
  readonly upload: (
    model: string,
    path: string,
    options: UploadOptions,
    headers: Headers,
  ) => Promise<UploadMediaResponse>;
  /** The model of a stored conversation. */
  readonly modelOf: (name: string, options: UploadOptions, headers: Headers) => Promise<string>;
}

/** Replaces files by their uploads, and remembers those as long as they are valid. */
export function uploading({ upload, modelOf }: UploadCalls): ResolveFiles {
  const known = new Bounded<{ readonly uri: string; readonly expires: number }>(MAX_UPLOADS);

  async function uploadOnce(
    { path, mimeType }: AttachedFile,
    model: string,
    options: UploadOptions,
    headers: Headers,
  ): Promise<string> {
    const { size, mtimeMs } = await stat(path);
    const key = JSON.stringify([path, size, mtimeMs, mimeType, model]);
    const found = known.get(key);
    if (found !== undefined && found.expires > Date.now() + MARGIN_MS) {
      return found.uri;
    }
    const { uri, expiresAt } = await upload(model, path, { ...options, mimeType }, headers);
    if (expiresAt !== undefined) {
      known.set(key, { uri, expires: timestampMs(expiresAt) });
    }
    return uri;
  }

  return async (conversation, call, callHeaders) => {
    const parts = fileParts(conversation);
    if (parts.length === 0) {
      return;
    }
    const files = parts.map((part) => {
      const file = FILES.get(part.uri);
      if (file === undefined) {
        throw unknownFile(part, call);
      }
      return { part, file };
    });
    const headers = new Headers(callHeaders);
    headers.delete("x-request-id");
    // An upload ends with the call.
    const rest = () => ({ signal: call.signal, timeoutMs: call.timeoutMs ?? Infinity });
    const model = conversation.model || (await modelOf(conversation.name, rest(), headers));
    for (const { part, file } of files) {
      try {
        part.replace(await uploadOnce(file, model, rest(), headers));
      } catch (failure) {
        // An error of the file system is thrown as it is.
        if (!(failure instanceof DashgateError)) {
          call.stop(failure);
        }
        throw failure;
      }
    }
  };
}
