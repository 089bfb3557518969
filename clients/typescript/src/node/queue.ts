/**
 * The calls that wait for a place, in their order.
 */
import { Code, ConnectError } from "@connectrpc/connect";

import { startTimer } from "../timer.js";

/** When a call stops waiting. */
export interface Patience {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | undefined;
}

interface Waiter<P> {
  readonly got: (place: P) => void;
  readonly failed: (reason: Error) => void;
}

/** A queue of calls. */
export class Queue<P> {
  /** In the order of their arrival; those that leave are removed at once. */
  readonly #waiters = new Set<Waiter<P>>();

  /** Waits for a place. */
  wait({ signal, timeoutMs }: Patience): Promise<P> {
    return new Promise((resolve, reject) => {
      const left = () => {
        waiter.failed(ConnectError.from(signal?.reason, Code.Canceled));
      };
      const late = () => {
        waiter.failed(new ConnectError("the deadline passed", Code.DeadlineExceeded));
      };
      if (signal?.aborted === true) {
        reject(ConnectError.from(signal.reason, Code.Canceled));
        return;
      }
      const stopTimer = timeoutMs === undefined ? undefined : startTimer(timeoutMs, late);
      const leave = () => {
        this.#waiters.delete(waiter);
        stopTimer?.();
        signal?.removeEventListener("abort", left);
      };
      const waiter: Waiter<P> = {
        got: (place) => {
          leave();
          resolve(place);
        },
        failed: (reason) => {
          leave();
          reject(reason);
        },
      };
      this.#waiters.add(waiter);
      signal?.addEventListener("abort", left, { once: true });
    });
  }

  /** Gives a place to the first that waits. Returns whether there is one. */
  give(place: P): boolean {
    const [first] = this.#waiters;
    first?.got(place);
    return first !== undefined;
  }

  /** Ends all. */
  fail(reason: Error): void {
    for (const waiter of this.#waiters) {
      waiter.failed(reason);
    }
  }
}
