import { defineConfig } from "vitest/config";
import { compiledKernels } from "./kernels/vite_plugin";

/** Address of `riffusion serve`, for `npm run dev`. */
const GATEWAY = process.env["RIFFUSION_GATEWAY"] ?? "http://127.0.0.1:3013";

export default defineConfig({
  base: "./",
  plugins: [compiledKernels()],
  worker: { plugins: () => [compiledKernels()] },
  build: {
    target: "es2022",
    chunkSizeWarningLimit: 800, // three.js
    rollupOptions: { input: ["index.html", "about.html"] },
  },
  server: {
    proxy: Object.fromEntries(
      ["/run_inference", "/seed_images", "/masks", "/health", "/info"].map((path) => [path, GATEWAY]),
    ),
  },
  test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
});
