/**
 * The files that all clients have in common.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";

/** The top of the repository. `./dev` says where it is; `npm test` runs in this package's folder. */
export const REPOSITORY = env["DASHGATE_REPOSITORY"] ?? join(process.cwd(), "../..");

/** Reads a file of the repository. */
export function shared(path: string): string {
  return readFileSync(join(REPOSITORY, path), "utf8");
}
