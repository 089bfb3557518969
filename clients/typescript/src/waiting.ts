/**
 * Calls that wait for a place on a connection.
 */
import { createContextKey } from "@connectrpc/connect";

import type { ContextKey } from "./transport.js";

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
