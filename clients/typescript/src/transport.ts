/**
 * The types of connect, the gRPC library, that are part of this package's API. They are compatible
 * with those of `@connectrpc/connect`, whose own declarations need the DOM library of TypeScript. A
 * test compares them.
 */
import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";

/** A connection of the gRPC library: connect's `Transport`, such as that of `createGrpcTransport`. */
export interface Transport {
  /** Makes a unary call. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: Headers | undefined,
    input: MessageInitShape<I>,
    contextValues?: ContextValues,
  ): Promise<UnaryResponse<I, O>>;
  /** Makes a streaming call. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: Headers | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
    contextValues?: ContextValues,
  ): Promise<StreamResponse<I, O>>;
}

/**
 * Connect's interceptor: a function around each call on a connection, also around each attempt of a
 * retry. It may change headers, observe messages, and throw.
 */
export type Interceptor = (next: Invocation) => Invocation;

/** A call, as an interceptor receives it. */
export type Invocation = (
  request: UnaryRequest | StreamRequest,
) => Promise<UnaryResponse | StreamResponse>;

/** What all requests have. */
export interface CommonRequest {
  /** The service. */
  readonly service: DescService;
  /** The HTTP method. */
  readonly requestMethod: string;
  /** The URL of the method. */
  readonly url: string;
  /** Aborted when the call is cancelled. */
  readonly signal: AbortSignal;
  /** The metadata, which may be changed. */
  readonly header: Headers;
  /** Values for interceptors. */
  readonly contextValues: ContextValues;
}

/** The request of a unary call. */
export interface UnaryRequest<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends CommonRequest {
  /** Distinguishes unary calls and streams. */
  readonly stream: false;
  /** The request. */
  readonly message: MessageShape<I>;
  /** The method. */
  readonly method: DescMethodUnary<I, O>;
}

/** The requests of a streaming call. */
export interface StreamRequest<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends CommonRequest {
  /** Distinguishes unary calls and streams. */
  readonly stream: true;
  /** The requests. */
  readonly message: AsyncIterable<MessageShape<I>>;
  /** The method. */
  readonly method: DescMethodStreaming<I, O>;
}

/** What all responses have. */
export interface CommonResponse {
  /** The service. */
  readonly service: DescService;
  /** The initial metadata. */
  readonly header: Headers;
  /** The trailers; of a stream, complete when it was read. */
  readonly trailer: Headers;
}

/** The response of a unary call. */
export interface UnaryResponse<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends CommonResponse {
  /** Distinguishes unary calls and streams. */
  readonly stream: false;
  /** The response. */
  readonly message: MessageShape<O>;
  /** The method. */
  readonly method: DescMethodUnary<I, O>;
}

/** The responses of a streaming call. */
export interface StreamResponse<
  I extends DescMessage = DescMessage,
  O extends DescMessage = DescMessage,
> extends CommonResponse {
  /** Distinguishes unary calls and streams. */
  readonly stream: true;
  /** The responses. */
  readonly message: AsyncIterable<MessageShape<O>>;
  /** The method. */
  readonly method: DescMethodStreaming<I, O>;
}

/** The key of a value for interceptors, created by connect's `createContextKey`. */
export interface ContextKey<T> {
  /** The identity of the key. */
  id: symbol;
  /** The value if none was set. */
  defaultValue: T;
}

/** Values for interceptors, created by connect's `createContextValues`. */
export interface ContextValues {
  /** Returns a value. */
  get<T>(key: ContextKey<T>): T;
  /** Sets a value. */
  set<T>(key: ContextKey<T>, value: T): this;
  /** Removes a value. */
  delete(key: ContextKey<unknown>): this;
}

/** Options of a call of a generated client: connect's `CallOptions`. */
export interface RawCallOptions {
  /** The deadline in milliseconds. */
  timeoutMs?: number;
  /** Metadata. */
  headers?: Headers | Record<string, string> | [string, string][];
  /** Cancels the call. */
  signal?: AbortSignal;
  /** Receives the initial metadata of the response. */
  onHeader?(headers: Headers): void;
  /** Receives the trailers of the response. */
  onTrailer?(trailers: Headers): void;
  /** Values for interceptors. */
  contextValues?: ContextValues;
}

/** A generated client of a service: connect's `Client`. */
export type ServiceClient<S extends DescService> = {
  [Name in keyof S["method"]]: S["method"][Name] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: RawCallOptions) => Promise<MessageShape<O>>
    : S["method"][Name] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: RawCallOptions) => AsyncIterable<MessageShape<O>>
      : S["method"][Name] extends DescMethodClientStreaming<infer I, infer O>
        ? (
            request: AsyncIterable<MessageInitShape<I>>,
            options?: RawCallOptions,
          ) => Promise<MessageShape<O>>
        : S["method"][Name] extends DescMethodBiDiStreaming<infer I, infer O>
          ? (
              request: AsyncIterable<MessageInitShape<I>>,
              options?: RawCallOptions,
            ) => AsyncIterable<MessageShape<O>>
          : never;
};
