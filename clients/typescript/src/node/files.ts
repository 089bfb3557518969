/**
 * Uploads of attached files, before the call that sends them.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";

import type { Call } from "../call.js";
import type { ResolveFiles } from "../caller.js";
import { DashgateError } from "../error.js";
import { fileParts } from "../files.js";
import type { UploadMediaResponse } from "../gen/dashgate/v1/media_service_pb.js";
import type { Reach } from "../waiting.js";
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
    reach: Reach,
  ) => Promise<UploadMediaResponse>;
  /** The model of a stored conversation. */
  readonly modelOf: (
    name: string,
    options: UploadOptions,
    headers: Headers,
    reach: Reach,
  ) => Promise<string>;
}

/** An upload in progress, and whether it reaches the gateway, for the calls that wait for it. */
class Running implements Reach {
  /** The URI, or `undefined` if the upload failed. */
  uri: Promise<string | undefined> = Promise.resolve(undefined);
  readonly #calls = new Set<Call>();
  #address: string | undefined;

  join(call: Call): void {
    this.#calls.add(call);
    if (this.#address !== undefined) {
      call.connecting(this.#address);
    }
  }

  leave(call: Call): void {
    this.#calls.delete(call);
  }

  readonly connecting = (address: string) => {
    this.#address = address;
    for (const call of this.#calls) {
      call.connecting(address);
    }
  };

  readonly sent = () => undefined;

  readonly connected = () => {
    this.#address = undefined;
    for (const call of this.#calls) {
      call.connected();
    }
  };
}

/** The uploads of a client, as long as they are valid. */
class Uploads {
  readonly #known = new Bounded<{ readonly uri: string; readonly expires: number }>(MAX_UPLOADS);
  readonly #running = new Map<string, Running>();

  /**
   * Returns the URI of an upload. Calls at once share one; if it fails, another call that waits for
   * it makes it.
   */
  async get(
    key: string,
    call: Call,
    make: (reach: Reach) => Promise<UploadMediaResponse>,
  ): Promise<string> {
    for (;;) {
      const found = this.#known.get(key);
      if (found !== undefined && found.expires > Date.now() + MARGIN_MS) {
        return found.uri;
      }
      const running = this.#running.get(key);
      if (running === undefined) {
        break;
      }
      running.join(call);
      const uri = await call.until(running.uri).finally(() => {
        running.leave(call);
      });
      if (uri !== undefined) {
        return uri;
      }
    }
    const running = new Running();
    running.join(call);
    this.#running.set(key, running);
    const made = this.#make(key, () => make(running));
    // Its failure is that of the call that makes it.
    running.uri = made.catch(() => undefined);
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
      const model = conversation.model || (await modelOf(conversation.name, rest(), headers, call));
      for (const { part, file } of files) {
        const { path, mimeType, identity } = file;
        const key = JSON.stringify([identity, model, mimeType]);
        const uri = await uploads.get(key, call, async (reach) => {
          const opened = fileUpload(path, await file.open(part, call));
          return upload(model, opened, { ...rest(), mimeType }, headers, reach);
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
