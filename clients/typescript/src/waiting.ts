/**
 * Calls that wait for a place on a connection, or for the connection.
 */
import { createContextKey, createContextValues } from "@connectrpc/connect";

import type { ContextKey, ContextValues } from "./transport.js";

/** What a call does about that. */
export interface Waiting {
  /** Called when the call begins to wait. */
  readonly begins: () => void;
  /** Called when the call is sent; not if it left before. */
  readonly ends: () => void;
}

/** The value of a call by which a pool of connections says that it waits. */
export const WAITING: ContextKey<Waiting | undefined> = createContextKey<Waiting | undefined>(
  undefined,
  {
    description: "waiting for a place on a connection",
  },
);

/** What a call notes of its connection. */
export interface Reach {
  /** Called when the call needs a connection to this address. */
  readonly connecting: (address: string) => void;
  /** Called when the call may have been sent. */
  readonly sent: () => void;
  /** Called when the gateway has answered on the connection. */
  readonly connected: () => void;
}

/** The value of a call by which a connection says that it is there. */
export const REACH: ContextKey<Reach | undefined> = createContextKey<Reach | undefined>(undefined, {
  description: "reaching the gateway",
});

/** The values of a call. `outer`: that of another call, which waits for this one. */
export function valuesOf(call: Reach, outer?: Reach): ContextValues {
  return createContextValues().set(REACH, {
    connecting: (address) => {
      call.connecting(address);
      outer?.connecting(address);
    },
    sent: () => {
      call.sent();
    },
    connected: () => {
      call.connected();
      outer?.connected();
    },
  });
}
