/**
 * The code of the README. Each block is preceded by the name of the region of an example that it was
 * taken from: `<!-- from examples/FILE#REGION -->`. Run as a program, it prints one block:
 * `readme.js README.md REGION`.
 */
import { readFileSync } from "node:fs";
import { argv } from "node:process";
import { pathToFileURL } from "node:url";

/** A block of code, and where it comes from. */
export interface Block {
  readonly file: string;
  readonly region: string;
  readonly code: string;
}

/** All blocks of a README that were taken from examples. */
export function blocks(readme: string): Block[] {
  const found = readme.matchAll(
    /<!-- from examples\/(?<file>[^#\s]+)#(?<region>\S+) -->\n+```\w+\n(?<code>.*?)\n```/gs,
  );
  return [...found].map(({ groups }) => {
    const { file = "", region = "", code = "" } = groups ?? {};
    return { file, region, code };
  });
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  const [, , path = "README.md", wanted] = argv;
  const block = blocks(readFileSync(path, "utf8")).find(({ region }) => region === wanted);
  if (block === undefined) {
    throw new Error(`${path} has no block ${wanted ?? ""}`);
  }
  process.stdout.write(`${block.code}\n`);
}
