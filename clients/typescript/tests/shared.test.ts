/** Comparison with the files that all clients share. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { RETRY_POLICY } from "#dist/retry.js";
import type { MediaKind } from "#dist/sniff.js";
import { EXTENSIONS, RULES, sniff } from "#dist/sniff.js";
import { USER_AGENT, VERSION } from "#dist/version.js";

import { blocks } from "./tools/readme.js";
import { shared } from "./tools/repository.js";

const seconds = (ms: number) => `${ms / 1000}s`;

test("the retry policy is the service config", () => {
  const { maxAttempts, initialBackoffMs, maxBackoffMs, backoffMultiplier } = RETRY_POLICY;
  deepEqual(JSON.parse(shared("clients/service-config.json")), {
    methodConfig: [
      {
        name: [
          { service: "dashgate.v1.ConversationService" },
          { service: "dashgate.v1.ModelService" },
        ],
        retryPolicy: {
          maxAttempts,
          initialBackoff: seconds(initialBackoffMs),
          maxBackoff: seconds(maxBackoffMs),
          backoffMultiplier,
          retryableStatusCodes: RETRY_POLICY.retryableStatusCodes,
        },
      },
    ],
    retryThrottling: RETRY_POLICY.throttling,
  });
});

test("the sniffing table is that of all clients", () => {
  const table = JSON.parse(shared("tests/conformance/sniffing.json")) as {
    rules: { match: string; types: string }[];
    extensions: Record<string, string>;
    samples: { head: string; name: string; kind: MediaKind | ""; mime_type: string }[];
  };
  deepEqual(
    RULES.map(([match, types]) => ({ match, types })),
    table.rules,
  );
  deepEqual(EXTENSIONS, table.extensions);
  for (const sample of table.samples) {
    const head = Uint8Array.from(Buffer.from(sample.head, "hex"));
    const found = sniff(head, sample.name, sample.kind === "" ? undefined : sample.kind);
    equal(found, sample.mime_type, JSON.stringify(sample));
  }
});

test("bytes go before the extension, and what nothing tells stays empty", () => {
  const png = Uint8Array.from(Buffer.from("89504e470d0a1a0a", "hex"));
  equal(sniff(png, "sound.wav"), "image/png");
  equal(sniff(png.subarray(0, 7), "sound.WAV"), "audio/wav");
  equal(sniff(new Uint8Array(), "no/ext.ension/name"), "");
  equal(sniff(new Uint8Array(), "x.constructor"), "");
});

test("the version is that of the package", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  equal(VERSION, version);
  equal(USER_AGENT, `dashgate-typescript/${version}`);
});

test("the code of the pages is that of the examples", () => {
  const pages = ["README.md", "RECIPES.md"].map((page) => shared(`clients/typescript/${page}`));
  const found = pages.flatMap(blocks);
  ok(found.length >= 15);
  for (const { file, region, code } of found) {
    const lines = shared(`clients/typescript/examples/${file}`).split("\n");
    const begin = lines.findIndex((line) => line.trim() === `// region ${region}`);
    ok(begin >= 0, `${file} has no region ${region}`);
    const end = lines.findIndex((line, at) => at > begin && line.trim() === "// endregion");
    equal(code, lines.slice(begin + 1, end).join("\n"), `${file}#${region}`);
  }
});

test("the code of the README's quick start is the first of its code", () => {
  match(shared("clients/typescript/README.md"), /## Quick start/);
  equal(blocks(shared("clients/typescript/README.md"))[0]?.region, "five-lines");
});
