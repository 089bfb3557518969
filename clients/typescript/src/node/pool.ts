/**
 * The connections of a client: another one is opened when all have as many calls as a gateway takes
 * at once.
 */
import type { DescMessage } from "@bufbuild/protobuf";

import type { StreamResponse, Transport } from "../transport.js";
import type { Connection } from "./connection.js";

/** How many calls a gateway takes at once on a connection. */
const CALLS_PER_CONNECTION = 100;
const MAX_CONNECTIONS = 20;

/** A connection and the number of its calls in progress. */
interface Lane {
  readonly connection: Connection;
  calls: number;
}

/** Returns a connection that consists of several, of which each is opened by its first call. */
export function pooled(open: () => Connection): Connection {
  const lanes: Lane[] = [{ connection: open(), calls: 0 }];
  const take = (): { transport: Transport; release: () => void } => {
    let best = lanes.reduce((one, other) => (other.calls < one.calls ? other : one));
    if (best.calls >= CALLS_PER_CONNECTION && lanes.length < MAX_CONNECTIONS) {
      best = { connection: open(), calls: 0 };
      lanes.push(best);
    }
    const lane = best;
    lane.calls += 1;
    let counted = true;
    const release = () => {
      lane.calls -= counted ? 1 : 0;
      counted = false;
    };
    return { transport: lane.connection.transport, release };
  };
  const transport: Transport = {
    unary: async (...call) => {
      const { transport, release } = take();
      try {
        return await transport.unary(...call);
      } finally {
        release();
      }
    },
    stream: async (...call) => {
      const { transport, release } = take();
      const [, signal] = call;
      signal?.addEventListener("abort", release, { once: true });
      const done = () => {
        signal?.removeEventListener("abort", release);
        release();
      };
      try {
        return counted(await transport.stream(...call), done);
      } catch (failure) {
        done();
        throw failure;
      }
    },
  };
  const close = () => {
    for (const { connection } of lanes) {
      connection.close();
    }
  };
  return { transport, close };
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
