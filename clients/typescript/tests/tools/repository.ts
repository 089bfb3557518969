/**
 * The files that all clients share.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";

/** The root of the repository, set by `./dev`; `npm test` runs in the folder of this package. */
export const REPOSITORY = env["DASHGATE_REPOSITORY"] ?? join(process.cwd(), "../..");

/** Reads a file of the repository. */
export function shared(path: string): string {
  return readFileSync(join(REPOSITORY, path), "utf8");
}
