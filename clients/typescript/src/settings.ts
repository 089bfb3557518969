/**
 * The settings of a client, and the options of its calls.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { CallOptions } from "./call.js";
import type { GenerationOptionsSchema } from "./gen/dashgate/v1/generation_pb.js";
import type { HistoryPolicySchema } from "./gen/dashgate/v1/stored_turn_pb.js";
import type { Metadata } from "./metadata.js";
import type { Interceptor } from "./transport.js";

/** Settings of a client. */
export interface ClientSettings {
  /** The API key, sent as `authorization: Bearer KEY`, also without TLS. */
  readonly apiKey?: string | undefined;
  /**
   * The deadline of each call in milliseconds. Default: 10 minutes for unary calls, none for
   * streams.
   */
  readonly timeoutMs?: number | undefined;
  /**
   * A stream that receives nothing for this long, not even a heartbeat, fails. Default: 60 seconds.
   */
  readonly idleTimeoutMs?: number | undefined;
  /** Metadata of every call. */
  readonly metadata?: Metadata | undefined;
  /**
   * How often a call of `converse` or `stream` that was throttled is made again, after the time
   * that the gateway sends. Default: 0.
   */
  readonly maxRetries?: number | undefined;
  /**
   * Functions around each call on a connection, the outermost first. They see the metadata of the
   * client, also the key.
   */
  readonly interceptors?: readonly Interceptor[] | undefined;
}

/** Options of a call. */
export interface ConverseOptions extends CallOptions {
  /** The generation options, for example `{ temperature: 0.2 }`. Default: those of the model. */
  readonly options?: MessageInitShape<typeof GenerationOptionsSchema> | undefined;
  /** How often the call is made again if it was throttled. Default: the client's. */
  readonly maxRetries?: number | undefined;
  /**
   * Of a stored conversation: the number of its latest turn that this program knows. If there is a
   * later one, the call fails with `STALE_CONVERSATION`, and nothing is lost. Default: the
   * conversation's `lastTurn`, if it has one.
   */
  readonly expectedTurn?: number | undefined;
  /** Of a stored conversation: which part of the history is sent to the model. */
  readonly history?: MessageInitShape<typeof HistoryPolicySchema> | undefined;
}

/** Options of `stream`. */
export interface StreamOptions extends ConverseOptions {
  /**
   * Whether a stream whose connection is lost continues on another one, after the last event that
   * was received. Leaving such a stream also cancels the call by its request id, for all streams
   * that have the same. Default: true.
   */
  readonly resume?: boolean | undefined;
}

/** Options of `listModels`. */
export interface ListModelsOptions extends CallOptions {
  /** How many models are fetched at once. Default: the gateway's page size. */
  readonly pageSize?: number | undefined;
}
