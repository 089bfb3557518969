/**
 * The code of the README. Each block is preceded by the name of the region of an example that it was
 * taken from: `<!-- from examples/FILE#REGION -->`. Run as a program, it prints one block,
 * `readme.js README.md REGION`, or the commands that ./dev package runs: `readme.js README.md --commands`.
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

/** The commands of a README that ./dev package runs. */
export function commands(readme: string): string {
  const found = readme.matchAll(/<!-- run by \.\/dev package -->\n+```sh\n(?<code>.*?)\n```/gs);
  return [...found].map(({ groups }) => groups?.["code"] ?? "").join("\n");
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  const [, , path = "README.md", wanted] = argv;
  const readme = readFileSync(path, "utf8");
  const code =
    wanted === "--commands"
      ? commands(readme)
      : blocks(readme).find(({ region }) => region === wanted)?.code;
  if (code === undefined || code === "") {
    throw new Error(`${path} has no ${wanted ?? ""}`);
  }
  process.stdout.write(`${code}\n`);
}
