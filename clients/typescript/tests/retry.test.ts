/** Retries and their delays. */
import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";

import { Attempts, pushback, RetryBudget } from "#dist/retry.js";

const failure = (code: string, value?: string) => ({
  code,
  headers: value === undefined ? {} : { "grpc-retry-pushback-ms": value },
});
const down = failure("UNAVAILABLE");
const middle = () => 0.5;

test("waits grow from half a second, five attempts in all", () => {
  const attempts = new Attempts(new RetryBudget(), middle);
  deepEqual(
    [1, 2, 3, 4, 5].map(() => attempts.failed(down)),
    [500, 1000, 2000, 4000, undefined],
  );
});

test("waits are spread by a fifth to either side", () => {
  equal(new Attempts(new RetryBudget(), () => 0).failed(down), 400);
  equal(new Attempts(new RetryBudget(), () => 1).failed(down), 600);
});

test("the gateway's word holds, and the row begins anew after it", () => {
  const attempts = new Attempts(new RetryBudget(), middle);
  equal(attempts.failed(down), 500);
  equal(attempts.failed(failure("UNAVAILABLE", "7")), 7);
  equal(attempts.failed(down), 500);
});

test("below zero and what cannot be read forbid a retry", () => {
  for (const value of ["-1", "", "soon", "1, 2", "1.5", "99999999999"]) {
    equal(pushback(value), "never", value);
    equal(new Attempts(new RetryBudget(), middle).failed(failure("UNAVAILABLE", value)), undefined);
  }
  equal(pushback(undefined), undefined);
  equal(pushback("0"), 0);
});

test("nothing but UNAVAILABLE is repeated", () => {
  for (const code of ["INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNKNOWN"]) {
    equal(new Attempts(new RetryBudget(), middle).failed(failure(code, "5")), undefined);
  }
});

test("a gateway that is down for all calls is not called five times by each", () => {
  const budget = new RetryBudget();
  const waits = Array.from({ length: 501 }, () => new Attempts(budget, middle).failed(down));
  equal(waits.filter((wait) => wait === 500).length, 499);
  deepEqual(waits.slice(499), [undefined, undefined]);
  new Attempts(budget).succeeded();
  equal(new Attempts(budget, middle).failed(down), 500);
});
