import { defineConfig } from "vitest/config";
import { compiledKernels } from "../kernels/vite_plugin";

export default defineConfig({
  plugins: [compiledKernels()],
  test: { include: ["bench/**/*.bench.ts"], environment: "node", testTimeout: 600_000, fileParallelism: false },
});
