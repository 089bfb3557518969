import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

export default defineConfig(
  { ignores: ["build/", "dist/", "src/gen/", "examples/browser/page.js"] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { project: ["./tsconfig.json", "./tsconfig.dev.json"] } },
    rules: {
      // A number in a message is what it looks like.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // The runner of Node.js waits for its tests by itself.
      "@typescript-eslint/no-floating-promises": [
        "error",
        { allowForKnownSafeCalls: [{ from: "package", name: "test", package: "node:test" }] },
      ],
    },
  },
  { files: ["**/*.js", "**/*.mjs"], extends: [tseslint.configs.disableTypeChecked] },
  {
    // What a browser gets may not ask for Node.js.
    files: ["src/*.ts", "src/web/*.ts"],
    ignores: ["src/index.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: ["node:*", "./node/*", "../node/*", "@connectrpc/connect-node"] },
      ],
      "no-restricted-globals": ["error", "process", "Buffer", "require"],
    },
  },
);
