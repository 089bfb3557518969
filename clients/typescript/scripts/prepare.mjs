// Builds the package when npm installs it from a clone: `npm install PATH/clients/typescript`. npm
// does not install the tools of a linked package, so this does.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { env, execPath } from "node:process";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.url)), "..");
const compiler = join(folder, "node_modules/typescript/bin/tsc");

// npm that started this script says where it is.
const npm = env.npm_execpath;
// Settings of the installation that started this script are not for this folder.
const own = Object.entries(env).filter(
  ([name]) => !/^npm_config_(global|location|omit|prefix|local_prefix|save.*)$/i.test(name),
);

if (!existsSync(compiler)) {
  const command = ["ci", "--include=dev", "--ignore-scripts", "--no-audit", "--no-fund"];
  const options = { cwd: folder, env: Object.fromEntries(own), stdio: "inherit" };
  if (npm === undefined) {
    execFileSync("npm", command, options);
  } else {
    execFileSync(execPath, [npm, ...command], options);
  }
}
for (const licence of ["LICENSE-APACHE", "LICENSE-MIT"]) {
  const shared = join(folder, "../..", licence);
  if (existsSync(shared)) {
    copyFileSync(shared, join(folder, licence));
  }
}
execFileSync(execPath, [compiler], { cwd: folder, stdio: "inherit" });
