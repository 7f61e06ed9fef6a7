import { defineConfig } from "vitest/config";

/** The static page, without `riffusion serve`. Tests run one after the other, as they compute. */
export default defineConfig({
  test: {
    include: ["e2e/**/*.static.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 120_000,
    reporters: ["verbose"],
  },
});
