/**
 * The connections of a client: another one is opened when all have as many calls as a gateway takes
 * at once. If there are no more, calls wait.
 */
import type { DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { CallService } from "../gen/dashgate/v1/call_service_pb.js";
import type { ContextValues, StreamResponse, Transport } from "../transport.js";
import { WAITING } from "../waiting.js";
import type { Connection } from "./connection.js";
import { Queue, type Patience } from "./queue.js";

/** How many connections there are, and how many calls a gateway takes at once on each. */
export interface PoolLimits {
  readonly connections: number;
  readonly callsPerConnection: number;
}

const LIMITS: PoolLimits = { connections: 20, callsPerConnection: 100 };

const { cancelCall } = CallService.method;

/** A connection and the number of its calls in progress. */
interface Lane {
  readonly connection: Connection;
  calls: number;
}

/** The place of a call. */
interface Place {
  readonly transport: Transport;
  /** What is left of the deadline of the call. */
  readonly timeoutMs: number | undefined;
  readonly release: () => void;
}

/** Returns a connection that consists of several, of which each is opened by its first call. */
export function pooled(open: () => Connection, limits: PoolLimits = LIMITS): Connection {
  const lanes: Lane[] = [{ connection: open(), calls: 0 }];
  const queue = new Queue<Lane>();
  /** For calls that end others while all are full; opened when it is needed. */
  let spare: Lane | undefined;
  let isClosed = false;

  const free = (): Lane | undefined => {
    const best = lanes.reduce((one, other) => (other.calls < one.calls ? other : one));
    if (best.calls < limits.callsPerConnection) {
      return best;
    }
    if (lanes.length >= limits.connections) {
      return undefined;
    }
    const opened = { connection: open(), calls: 0 };
    lanes.push(opened);
    return opened;
  };

  const spared = (): Lane => (spare ??= { connection: open(), calls: 0 });

  const placeOn = (lane: Lane, timeoutMs: number | undefined): Place => {
    if (isClosed) {
      throw closed();
    }
    let counted = true;
    const release = () => {
      if (counted && (lane === spare || !queue.give(lane))) {
        lane.calls -= 1;
      }
      counted = false;
    };
    return { transport: lane.connection.transport, timeoutMs, release };
  };

  /** A place that is free, or one that is waited for. */
  const take = (
    patience: Patience,
    values: ContextValues | undefined,
    endsCall = false,
  ): Place | Promise<Place> => {
    // What it ends may be what the calls that wait are waiting for.
    const lane = free() ?? (endsCall && !isClosed ? spared() : undefined);
    if (lane === undefined) {
      return waited(patience, values);
    }
    const place = placeOn(lane, patience.timeoutMs);
    lane.calls += 1;
    return place;
  };

  const waited = async (patience: Patience, values: ContextValues | undefined): Promise<Place> => {
    const waiting = values?.get(WAITING);
    const begun = performance.now();
    waiting?.begins();
    const lane = await queue.wait(patience);
    waiting?.ends();
    const { timeoutMs } = patience;
    const left = timeoutMs && Math.max(1, timeoutMs - Math.round(performance.now() - begun));
    return placeOn(lane, left);
  };

  const transport: Transport = {
    unary: async (method, signal, timeoutMs, headers, input, values) => {
      const endsCall = method.name === cancelCall.name && method.parent === cancelCall.parent;
      const place = await take({ signal, timeoutMs }, values, endsCall);
      try {
        return await place.transport.unary(method, signal, place.timeoutMs, headers, input, values);
      } finally {
        place.release();
      }
    },
    stream: async (method, signal, timeoutMs, headers, input, values) => {
      const place = await take({ signal, timeoutMs }, values);
      const { release } = place;
      signal?.addEventListener("abort", release, { once: true });
      const done = () => {
        signal?.removeEventListener("abort", release);
        release();
      };
      try {
        return counted(
          await place.transport.stream(method, signal, place.timeoutMs, headers, input, values),
          done,
        );
      } catch (failure) {
        done();
        throw failure;
      }
    },
  };
  const close = () => {
    isClosed = true;
    queue.fail(closed());
    for (const { connection } of spare === undefined ? lanes : [...lanes, spare]) {
      connection.close();
    }
  };
  return { transport, close };
}

/** A connection that was closed would be opened again by the next call. */
function closed(): ConnectError {
  return new ConnectError("the client was closed", Code.Canceled);
}

/** The same response, which calls a function at its end. */
function counted<I extends DescMessage, O extends DescMessage>(
  response: StreamResponse<I, O>,
  done: () => void,
): StreamResponse<I, O> {
  const messages = response.message;
  async function* all(): typeof messages extends AsyncIterable<infer M>
    ? AsyncGenerator<M, void>
    : never {
    try {
      yield* messages;
    } finally {
      done();
    }
  }
  // The metadata of the end is set while the messages are read.
  return Object.defineProperty(Object.create(response) as StreamResponse<I, O>, "message", {
    value: all(),
  });
}
