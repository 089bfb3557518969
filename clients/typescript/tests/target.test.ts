/** Targets. */
import { deepEqual, equal, throws } from "node:assert/strict";
import { test } from "node:test";

import { parseTarget } from "#dist/node/target.js";

test("targets are read as people write them", () => {
  const origin = (target: string, tls = false) => parseTarget(target, tls).origin;
  equal(origin("localhost:8080"), "http://localhost:8080");
  equal(origin("[::1]:50051"), "http://[::1]:50051");
  equal(origin("gateway:443", true), "https://gateway:443".replace(":443", ""));
  equal(origin("http://gateway:8080"), "http://gateway:8080");
  equal(origin("https://gateway"), "https://gateway");
  equal(origin("HTTPS://gateway:8443/"), "https://gateway:8443");
  deepEqual(parseTarget("unix:/run/dashgate.sock", false), {
    ...{ origin: "http://localhost", secure: false },
    path: "/run/dashgate.sock",
  });
  equal(parseTarget("unix:///run/dashgate.sock", true).path, "/run/dashgate.sock");
  equal(origin("dns:///h:1"), "http://h:1");
  equal(origin("dns:h:1", true), "https://h:1");
  equal(origin("ipv4:10.0.0.1:1"), "http://10.0.0.1:1");
  equal(origin("ipv6:[::1]:1"), "http://[::1]:1");
  for (const host of ["gateway", "http://gateway", "dns:///gateway", "dns:gateway"]) {
    equal(origin(host), "http://gateway:50051", host);
  }
  equal(origin("gateway", true), "https://gateway:50051");
  equal(origin("[::1]"), "http://[::1]:50051");
  equal(origin("http://gateway:80"), "http://gateway");
  for (const wrong of ["dns:///", "dns://server/h:1", "xds:///h:1", "ipv4:1.1.1.1:1,1.1.1.2:1"]) {
    throws(() => parseTarget(wrong, false), /dns:\/\/\/host:port/);
  }
  for (const wrong of [
    "",
    "a:b",
    "a:99999",
    "::1",
    "ftp://a:1",
    "http://a:1/path",
    "a:1?q",
    "https://u:secret@a",
  ]) {
    throws(() => parseTarget(wrong, false), /write it as host:port/);
  }
  throws(() => parseTarget("http://a:1", true), /without TLS/);
  throws(
    () => parseTarget("https://u:secret@a", false),
    (error: Error) => !error.message.includes("secret"),
  );
});
