import { defineConfig } from "vitest/config";

/** Measures the static page on this machine: `npm run measure-static`. It should be idle. */
export default defineConfig({
  test: {
    include: ["e2e/**/*.measure.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 580_000,
    hookTimeout: 120_000,
    reporters: ["dot"],
  },
});
