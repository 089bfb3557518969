/**
 * Uploads of attached files, before the call that sends them.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";

import type { Call } from "../call.js";
import type { ResolveFiles } from "../caller.js";
import { DashgateError } from "../error.js";
import { fileParts } from "../files.js";
import type { UploadMediaResponse } from "../gen/dashgate/v1/media_service_pb.js";
import { attachedFile } from "./attached.js";
import { Bounded } from "./bounded.js";
import { fileUpload, type OpenedUpload, type UploadOptions } from "./upload.js";

const MAX_UPLOADS = 1000;

/** An upload is not used in its last hour: the call may take long. */
const MARGIN_MS = 60 * 60_000;

/** The functions of the client that uploads need. */
export interface UploadCalls {
  /** Sends a file, and closes it. */
  readonly upload: (
    model: string,
    file: OpenedUpload,
    options: UploadOptions,
    headers: Headers,
  ) => Promise<UploadMediaResponse>;
  /** The model of a stored conversation. */
  readonly modelOf: (name: string, options: UploadOptions, headers: Headers) => Promise<string>;
}

/** The uploads of a client, as long as they are valid. */
class Uploads {
  readonly #known = new Bounded<{ readonly uri: string; readonly expires: number }>(MAX_UPLOADS);
  /** Those in progress: the URI, or `undefined` if the upload failed. */
  readonly #running = new Map<string, Promise<string | undefined>>();

  /**
   * Returns the URI of an upload. Calls at once share one; if it fails, another call that waits for
   * it makes it.
   */
  async get(key: string, call: Call, make: () => Promise<UploadMediaResponse>): Promise<string> {
    for (;;) {
      const found = this.#known.get(key);
      if (found !== undefined && found.expires > Date.now() + MARGIN_MS) {
        return found.uri;
      }
      const running = this.#running.get(key);
      if (running === undefined) {
        break;
      }
      const uri = await call.until(running);
      if (uri !== undefined) {
        return uri;
      }
    }
    const made = this.#make(key, make);
    // Its failure is that of the call that makes it.
    this.#running.set(
      key,
      made.catch(() => undefined),
    );
    return made;
  }

  async #make(key: string, make: () => Promise<UploadMediaResponse>): Promise<string> {
    try {
      const { uri, expiresAt } = await make();
      if (expiresAt !== undefined) {
        this.#known.set(key, { uri, expires: timestampMs(expiresAt) });
      }
      return uri;
    } finally {
      this.#running.delete(key);
    }
  }
}

/** Replaces attached files by their uploads. */
export function uploading({ upload, modelOf }: UploadCalls): ResolveFiles {
  const uploads = new Uploads();
  return async (conversation, call, callHeaders) => {
    const parts = fileParts(conversation);
    if (parts.length === 0) {
      return;
    }
    const headers = new Headers(callHeaders);
    headers.delete("x-request-id");
    // An upload ends with the call.
    const rest = () => ({ signal: call.signal, timeoutMs: call.timeoutMs ?? Infinity });
    try {
      const files = parts.map((part) => ({ part, file: attachedFile(part, call) }));
      // All of them before anything is sent.
      for (const { part, file } of files) {
        const opened = await file.open(part, call);
        await opened.file.close();
      }
      const model = conversation.model || (await modelOf(conversation.name, rest(), headers));
      for (const { part, file } of files) {
        const { path, mimeType, identity } = file;
        const key = JSON.stringify([identity, model, mimeType]);
        const uri = await uploads.get(key, call, async () => {
          const opened = fileUpload(path, await file.open(part, call));
          return upload(model, opened, { ...rest(), mimeType }, headers);
        });
        part.replace(uri);
      }
    } catch (failure) {
      // An error of the file system is thrown as it is.
      if (!(failure instanceof DashgateError)) {
        call.stop(failure);
      }
      throw failure;
    }
  };
}
