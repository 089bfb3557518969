/**
 * The client for Node.js: gRPC over HTTP/2.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { Call, CallOptions } from "../call.js";
import { callHeaders, Caller } from "../caller.js";
import { BaseClient } from "../client.js";
import { ConversationService } from "../gen/dashgate/v1/conversation_service_pb.js";
import type { LiveSetupSchema } from "../gen/dashgate/v1/live_pb.js";
import { LiveService, type SynthesisSetupSchema } from "../gen/dashgate/v1/live_service_pb.js";
import { MediaService, type UploadMediaResponse } from "../gen/dashgate/v1/media_service_pb.js";
import { LiveSession, SpeechSession } from "../live.js";
import { Log } from "../log.js";
import type { ClientSettings } from "../settings.js";
import type { Transport } from "../transport.js";
import { USER_AGENT } from "../version.js";
import { valuesOf, type Reach } from "../waiting.js";
import { connectTo, type Connection, type NodeOptions, type TlsOptions } from "./connection.js";
import { uploading } from "./files.js";
import { pooled } from "./pool.js";
import { DEFAULT_TARGET, parseTarget } from "./target.js";
import {
  openUpload,
  uploadMessages,
  type OpenedUpload,
  type UploadOptions,
  type UploadSource,
} from "./upload.js";

/** Settings of a client for Node.js. */
export interface ClientOptions extends ClientSettings {
  /**
   * The API key, sent as `authorization: Bearer KEY`, also without TLS. Default:
   * `DASHGATE_API_KEY`.
   */
  readonly apiKey?: string | undefined;
  /** If set, TLS is used for every target. */
  readonly tls?: TlsOptions | undefined;
  /**
   * Options of the HTTP/2 and TLS connections of Node.js. They replace those of this package one by
   * one.
   */
  readonly nodeOptions?: NodeOptions | undefined;
}

/**
 * A client of a dashgate gateway. One is enough for a program: its connection is opened by the
 * first call and shared by all calls.
 */
export class Client extends BaseClient {
  /**
   * @param target `host:port`, `http://host:port`, `https://host:port`, `dns:///host:port` or
   *   `unix:/path`; default: `DASHGATE_ADDR`, then `127.0.0.1:50051`. Or an existing transport,
   *   which its owner closes.
   */
  constructor(target?: string | Transport, options: ClientOptions = {}) {
    const apiKey = options.apiKey ?? process.env["DASHGATE_API_KEY"];
    const log = logTo(target);
    const { transport, close } = connection(target, options, log);
    const platform = { transport, shut: close, userAgent: { "user-agent": USER_AGENT }, log };
    super(new Caller(platform, { ...options, apiKey }));
    this.caller.resolveFiles = uploading({
      upload: (...upload) => this.#send(...upload),
      modelOf: async (name, call, headers, reach) => {
        const { getConversation } = ConversationService.method;
        const { conversation } = await this.caller.query(getConversation, { name }, call, {
          headers,
          reach,
        });
        return conversation?.model ?? "";
      },
    });
  }

  /**
   * Opens a spoken conversation. `setup` is its configuration, or a model. `timeoutMs` is the
   * deadline of the whole session; there is none by default.
   */
  live(
    setup: string | MessageInitShape<typeof LiveSetupSchema>,
    options: CallOptions = {},
  ): LiveSession {
    const full = typeof setup === "string" ? { model: setup } : setup;
    return new LiveSession({
      ...this.caller.session(LiveService.method.converseLive, options),
      first: (resume) => ({ event: { case: "setup", value: resume ? { resume } : full } }),
      resume: full.resume,
    });
  }

  /** Opens a session that speaks text while it is written. `setup` is as for `live`. */
  speak(
    setup: string | MessageInitShape<typeof SynthesisSetupSchema>,
    options: CallOptions = {},
  ): SpeechSession {
    const full = typeof setup === "string" ? { model: setup } : setup;
    return new SpeechSession({
      ...this.caller.session(LiveService.method.synthesizeLive, options),
      first: (resume) => ({ event: { case: "setup", value: resume ? { resume } : full } }),
      resume: full.resume,
    });
  }

  /**
   * Uploads a file of any size to DashScope's storage, in chunks. Pass the returned `uri` to a
   * content part: `await video(uploaded.uri)`. It is valid for about 48 hours, with the same model.
   * The default deadline is 10 minutes.
   */
  async upload(
    model: string,
    source: UploadSource,
    options: UploadOptions = {},
  ): Promise<UploadMediaResponse> {
    const headers = callHeaders(options.metadata);
    return this.#send(model, await openUpload(source), options, headers);
  }

  async #send(
    model: string,
    file: OpenedUpload,
    options: UploadOptions,
    headers: Headers,
    reach?: Reach,
  ): Promise<UploadMediaResponse> {
    try {
      return await this.caller.run(MediaService.method.uploadMedia.name, options, (call) => {
        headers.set("x-request-id", call.requestId);
        const { signal, timeoutMs } = call;
        const messages = faithful(call, uploadMessages(model, file, options));
        return this.media.uploadMedia(messages, {
          headers,
          signal,
          contextValues: valuesOf(call, reach),
          ...(timeoutMs && { timeoutMs }),
        });
      });
    } finally {
      file.close();
    }
  }
}

function connection(
  target: string | Transport | undefined,
  options: ClientOptions,
  log: Log,
): Connection {
  const { tls, nodeOptions, interceptors } = options;
  if (typeof target === "object") {
    for (const [name, value] of Object.entries({ tls, nodeOptions, interceptors })) {
      if (value !== undefined) {
        throw new TypeError(`${name}: a transport that exists has its own`);
      }
    }
    return { transport: target, close: () => undefined };
  }
  const parsed = parseTarget(targetOf(target), tls !== undefined);
  let opened = 0;
  const onConnect = () => {
    opened += 1;
    log.connection(opened);
  };
  return pooled(() => connectTo(parsed, { tls, nodeOptions, interceptors, onConnect }));
}

/** The target, or that of the environment. An empty variable is treated as unset. */
function targetOf(target: string | undefined): string {
  const { DASHGATE_ADDR: named = "" } = process.env;
  return target ?? (named === "" ? DEFAULT_TARGET : named);
}

function logTo(target: string | Transport | undefined): Log {
  const address = typeof target === "object" ? "own transport" : targetOf(target);
  return new Log(process.env["DASHGATE_LOG"], address, (line) => {
    process.stderr.write(`${line}\n`);
  });
}

/** An error of the source ends the call and is thrown unchanged. */
async function* faithful<T>(call: Call, messages: AsyncIterable<T>): AsyncGenerator<T, void> {
  const source = messages[Symbol.asyncIterator]();
  try {
    for (;;) {
      // Not with `yield*`: the transport reports the end of the call as an error of its own here.
      const next = await source.next().catch((fault: unknown) => {
        call.stop(fault);
        throw fault;
      });
      if (next.done === true) {
        return;
      }
      yield next.value;
    }
  } finally {
    await source.return?.();
  }
}
