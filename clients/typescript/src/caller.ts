/**
 * What all calls of a client share: the transport with its metadata, deadlines, retries and the log.
 */
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";

import {
  Call,
  checkedRetries,
  checkedTimeout,
  DEFAULT_TIMEOUT_MS,
  type CallOptions,
} from "./call.js";
import { DashgateError } from "./error.js";
import { refuseFiles } from "./files.js";
import { CallService } from "./gen/dashgate/v1/call_service_pb.js";
import type { Conversation as RawConversation } from "./gen/dashgate/v1/conversation_pb.js";
import { Log } from "./log.js";
import { setApiKey, setMetadata, type Metadata } from "./metadata.js";
import { LEAVE_LIMIT_MS } from "./resume.js";
import { RetryBudget } from "./retry.js";
import type { ClientSettings } from "./settings.js";
import type { Transport } from "./transport.js";
import { valuesOf, type Reach } from "./waiting.js";

/** Four heartbeats of the gateway. */
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** Replaces files by uploads, before a conversation is sent. `headers` are those of the call. */
export type ResolveFiles = (
  conversation: RawConversation,
  call: Call,
  headers: Headers,
) => Promise<void>;

/** What differs between Node.js and browsers. */
export interface Platform {
  readonly transport: Transport;
  /** Closes the transport. */
  readonly shut: () => void;
  readonly userAgent: Readonly<Record<string, string>>;
  readonly log?: Log;
}

/** How a query is made. */
export interface QueryOptions {
  /** Default: true. */
  readonly mayRetry?: boolean;
  /** Default: those of the options. */
  readonly headers?: Headers;
  /** Of the call that waits for this one. */
  readonly reach?: Reach;
}

/** Begins and ends calls. */
export class Caller {
  readonly transport: Transport;
  readonly timeoutMs: number | undefined;
  readonly idleTimeoutMs: number;
  readonly budget = new RetryBudget();
  /** Browsers have no files. */
  resolveFiles: ResolveFiles = refuseFiles;
  readonly #maxRetries: number;
  readonly #log: Log;
  readonly #shut: () => void;
  readonly #calls = new Set<Call>();
  /** The calls that end another one. */
  readonly #leaving = new Set<Promise<unknown>>();
  #closed = false;

  constructor(platform: Platform, settings: ClientSettings) {
    const headers = new Headers(platform.userAgent);
    setApiKey(headers, settings.apiKey);
    setMetadata(headers, settings.metadata);
    this.transport = withHeaders(platform.transport, headers);
    this.timeoutMs = checkedTimeout("timeoutMs", settings.timeoutMs);
    this.idleTimeoutMs =
      checkedTimeout("idleTimeoutMs", settings.idleTimeoutMs) ?? DEFAULT_IDLE_TIMEOUT_MS;
    this.#maxRetries = checkedRetries(settings.maxRetries) ?? 0;
    this.#log = platform.log ?? Log.none();
    this.#shut = platform.shut;
  }

  /** Begins a call, which must be ended. */
  begin(
    method: string,
    options: CallOptions & { readonly maxRetries?: number | undefined },
    defaultTimeoutMs: number | undefined = this.timeoutMs,
  ): Call {
    if (this.#closed) {
      throw closed("FAILED_PRECONDITION");
    }
    const maxRetries = checkedRetries(options.maxRetries) ?? this.#maxRetries;
    const call = new Call(options, { timeoutMs: defaultTimeoutMs, maxRetries }, (requestId) =>
      this.#log.call(method, requestId),
    );
    this.#calls.add(call);
    call.onEnd(() => this.#calls.delete(call));
    return call;
  }

  /** Runs a call with the default deadline of unary calls. */
  async run<T>(
    method: string,
    options: CallOptions & { readonly maxRetries?: number | undefined },
    once: (call: Call) => Promise<T>,
  ): Promise<T> {
    const call = this.begin(method, options, this.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    try {
      const result = await once(call);
      call.end();
      return result;
    } catch (thrown) {
      const reason = call.failure(thrown);
      call.end({ reason });
      throw reason;
    }
  }

  /** Makes a unary call whose request has no field for the request id. */
  async query<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
    { mayRetry = true, headers = callHeaders(options.metadata), reach }: QueryOptions = {},
  ): Promise<MessageShape<O>> {
    return this.run(method.name, { ...options, maxRetries: 0 }, async (call) => {
      headers.set("x-request-id", call.requestId);
      const once = () =>
        this.transport.unary(
          method,
          call.signal,
          call.timeoutMs,
          headers,
          request,
          valuesOf(call, reach),
        );
      const { message } = mayRetry ? await call.attempt(this.budget, once) : await once();
      return message;
    });
  }

  /** Begins a session, whose streams have one request id and one deadline. */
  session<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    options: CallOptions,
  ): {
    call: Call;
    open: (input: AsyncIterable<MessageInitShape<I>>) => Promise<AsyncIterable<MessageShape<O>>>;
  } {
    const headers = callHeaders(options.metadata);
    const call = this.begin(method.name, options);
    headers.set("x-request-id", call.requestId);
    const open = async (input: AsyncIterable<MessageInitShape<I>>) => {
      const { signal, timeoutMs } = call;
      const values = valuesOf(call);
      return (await this.transport.stream(method, signal, timeoutMs, headers, input, values))
        .message;
    };
    return { call, open };
  }

  /** Ends a call whose stream was left. If it fails, the gateway ends it after some seconds. */
  leave(requestId: string, headers: Headers): void {
    const { cancelCall } = CallService.method;
    const ended = this.transport
      .unary(cancelCall, undefined, LEAVE_LIMIT_MS, headers, { requestId })
      .then(
        () => undefined,
        () => undefined,
      );
    this.#leaving.add(ended);
    void ended.then(() => this.#leaving.delete(ended));
  }

  /** Fails calls in progress, and closes the transport after the calls that end others. */
  close(): void {
    this.#closed = true;
    for (const call of this.#calls) {
      call.stop(closed("CANCELLED"));
    }
    if (this.#leaving.size === 0) {
      this.#shut();
    } else {
      void Promise.allSettled(this.#leaving).then(this.#shut);
    }
  }
}

function closed(code: "CANCELLED" | "FAILED_PRECONDITION"): DashgateError {
  return new DashgateError("the client was closed", { code, rawReason: "CLIENT_CLOSED" });
}

/** Returns the headers of one call. */
export function callHeaders(metadata: Metadata | undefined): Headers {
  const headers = new Headers();
  setMetadata(headers, metadata);
  return headers;
}

/** Adds headers to all calls of a transport, including those of the generated clients. */
function withHeaders(transport: Transport, headers: Headers): Transport {
  const merged = (own: Headers | undefined): Headers => {
    const all = new Headers(headers);
    new Headers(own).forEach((value, name) => {
      all.set(name, value);
    });
    return all;
  };
  return {
    unary: (method, signal, timeoutMs, own, input, values) =>
      transport.unary(method, signal, timeoutMs, merged(own), input, values),
    stream: (method, signal, timeoutMs, own, input, values) =>
      transport.stream(method, signal, timeoutMs, merged(own), input, values),
  };
}
