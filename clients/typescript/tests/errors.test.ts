/** Errors, from statuses as a gateway, a proxy or a broken server sends them. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { toBinary, toJson, create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { Answer, Client, DashgateError, ErrorReason } from "dashgate";
import { CallFailureSchema, ConverseResponseSchema, TimingSchema, UsageSchema } from "dashgate/v1";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
  StatusSchema,
} from "#dist/gen/dashgate/client/v1/error_details_pb.js";

import { failure, question } from "./tools/calls.js";
import { raw } from "./tools/gateway.js";

test("an error tells all that the gateway said", async () => {
  const detail = (name: string, value: Uint8Array<ArrayBuffer>) => ({
    typeUrl: `type.googleapis.com/${name}`,
    value,
  });
  const info = create(ErrorInfoSchema, { reason: "UPSTREAM_RATE", domain: "dashgate" });
  const failed = create(CallFailureSchema, {
    reason: ErrorReason.UPSTREAM_RATE,
    attempts: 2,
    outputStarted: true,
    usage: { outputTokens: 7 },
    model: "m",
    upstreamCode: "Throttling.RateQuota",
    upstreamHttpStatus: 429,
    upstreamRequestId: "u-1",
  });
  const status = create(StatusSchema, {
    code: 8,
    message: "slower, 请",
    details: [
      detail("google.rpc.ErrorInfo", toBinary(ErrorInfoSchema, info)),
      detail("dashgate.v1.CallFailure", toBinary(CallFailureSchema, failed)),
      detail("google.rpc.RetryInfo", retryInfo(1500)),
      detail("google.rpc.BadRequest", badRequest("options.n", "at most 4")),
      detail("google.rpc.RequestInfo", requestInfo("r-1")),
      detail("New", Uint8Array.of(255)),
    ],
  });
  await using gateway = await raw((stream) => {
    stream.respond(
      {
        ":status": 200,
        "content-type": "application/grpc+proto",
        "grpc-status": "8",
        "grpc-retry-pushback-ms": "7",
        "grpc-status-details-bin": Buffer.from(toBinary(StatusSchema, status))
          .toString("base64")
          .replace(/=+$/, ""),
      },
      { endStream: true },
    );
  });
  using client = new Client(gateway.address);
  for (const call of [client.converse(question()), client.stream(question()).final()]) {
    const error = await failure(call);
    const { code, message, reason, attempts, requestId, retryAfterMs } = error;
    deepEqual(
      { code, message, reason, attempts, requestId, retryAfterMs },
      {
        code: "RESOURCE_EXHAUSTED",
        message: "slower, 请",
        reason: ErrorReason.UPSTREAM_RATE,
        attempts: 2,
        requestId: "r-1",
        retryAfterMs: 1500,
      },
    );
    equal(error.rawReason, "UPSTREAM_RATE");
    deepEqual([error.usage?.outputTokens, error.outputStarted, error.model], [7, true, "m"]);
    equal(error.upstreamCode, "Throttling.RateQuota");
    equal(error.upstreamHttpStatus, 429);
    equal(error.upstreamRequestId, "u-1");
    deepEqual(error.fieldViolations, [{ field: "options.n", description: "at most 4" }]);
    equal(error.status.details.length, 6);
    equal(error.retryable, true);
    // No binary metadata, and not the status, which is in other properties.
    deepEqual(error.headers, {
      "content-type": "application/grpc+proto",
      "grpc-retry-pushback-ms": "7",
      date: error.headers["date"],
    });
  }
});

const retryInfo = (ms: number) =>
  toBinary(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(ms) }));
const requestInfo = (requestId: string) =>
  toBinary(RequestInfoSchema, create(RequestInfoSchema, { requestId }));
const badRequest = (field: string, description: string) =>
  toBinary(
    BadRequestSchema,
    create(BadRequestSchema, { fieldViolations: [{ field, description }] }),
  );

test("answers and errors are written as JSON, and errors as text with their cause", () => {
  const timing = create(TimingSchema, { total: durationFromMs(1500) });
  const answer = new Answer(create(ConverseResponseSchema, { requestId: "r-1", timing }));
  deepEqual(JSON.parse(JSON.stringify({ answer })), {
    answer: { requestId: "r-1", timing: { total: "1.500s" } },
  });
  const error = new DashgateError("no", {
    code: "UNAVAILABLE",
    reason: ErrorReason.OVERLOADED,
    requestId: "r-1",
    usage: create(UsageSchema, { outputTokens: 7 }),
  });
  equal(String(error), "DashgateError: UNAVAILABLE OVERLOADED: no (request id r-1)");
  const written = JSON.parse(JSON.stringify(error)) as Record<string, unknown>;
  const { name, code, rawReason, message, requestId, usage } = written;
  deepEqual(
    { name, code, rawReason, message, requestId },
    {
      name: "DashgateError",
      code: "UNAVAILABLE",
      rawReason: "OVERLOADED",
      message: "no",
      requestId: "r-1",
    },
  );
  deepEqual(usage, toJson(UsageSchema, create(UsageSchema, { outputTokens: 7 })));
});

test("the text of an error has each part once", () => {
  const late = new DashgateError("call r-1 took too long", {
    code: "DEADLINE_EXCEEDED",
    reason: ErrorReason.DEADLINE_EXCEEDED,
    requestId: "r-1",
  });
  equal(String(late), "DashgateError: DEADLINE_EXCEEDED: call r-1 took too long");
});

test("an error says whether the same call may succeed later", async () => {
  const statuses: [Record<string, string>, retryable: boolean, retryAfterMs?: number][] = [
    [{ "grpc-status": "8", "grpc-retry-pushback-ms": "1500" }, true, 1500],
    [{ "grpc-status": "8" }, false],
    [{ "grpc-status": "14", "grpc-retry-pushback-ms": "-1" }, false],
    [{ "grpc-status": "14", "grpc-retry-pushback-ms": "soon" }, false],
    [{ "grpc-status": "13" }, false],
  ];
  const answers = statuses.map(([status]) => status);
  await using gateway = await raw((stream) => {
    const status = { ":status": 200, "content-type": "application/grpc", ...answers.shift() };
    stream.respond(status, { endStream: true });
  });
  using client = new Client(gateway.address);
  for (const [status, retryable, retryAfterMs] of statuses) {
    const error = await failure(client.converse(question()));
    deepEqual(
      [error.retryable, error.retryAfterMs],
      [retryable, retryAfterMs],
      JSON.stringify(status),
    );
  }
});

test("a gateway that is not there is retryable, at a time that is not known", () => {
  const { retryable, retryAfterMs } = DashgateError.from(
    new ConnectError("connect ECONNREFUSED", Code.Unavailable),
  );
  deepEqual([retryable, retryAfterMs], [true, undefined]);
  const draining = new DashgateError("no", {
    code: "UNAVAILABLE",
    reason: ErrorReason.SHUTTING_DOWN,
  });
  equal(draining.retryable, false);
});

test("a status that gRPC does not know, or that is broken, is still an error", async () => {
  const cases = [
    { status: { "grpc-status": "99" }, told: "INTERNAL" },
    { status: { "grpc-status": "3", "grpc-message": "half %" }, told: "INVALID_ARGUMENT half %" },
    { status: { "grpc-status": "5", "grpc-status-details-bin": "////" }, told: "NOT_FOUND " },
    { status: {}, told: "INTERNAL" },
  ];
  const statuses: Record<string, string>[] = cases.map(({ status }) => status);
  await using gateway = await raw((stream) => {
    const status = statuses.shift();
    stream.respond(
      { ":status": 200, "content-type": "application/grpc+proto", ...status },
      { endStream: true },
    );
  });
  using client = new Client(gateway.address);
  for (const { told } of cases) {
    const { code, message, reason, rawReason } = await failure(client.converse(question()));
    ok(`${code} ${message}`.startsWith(told), `${code} ${message}`);
    deepEqual([reason, rawReason], [ErrorReason.ERROR_REASON_UNSPECIFIED, ""]);
  }
});

test("a proxy's page is an error that was not the gateway's", async () => {
  await using gateway = await raw((stream) => {
    stream.respond({ ":status": 404, "content-type": "text/html" });
    stream.end("<html>");
  });
  using client = new Client(gateway.address);
  equal((await failure(client.converse(question()))).code, "UNIMPLEMENTED");
});
