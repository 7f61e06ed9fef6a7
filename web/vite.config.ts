import { fileURLToPath } from "node:url";
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { gzippedFiles } from "./build/gzipped_files";
import { staticPage } from "./build/static_page";
import { compiledKernels } from "./kernels/vite_plugin";

/** Address of `riffusion serve`, for `npm run dev`. */
const GATEWAY = process.env["RIFFUSION_GATEWAY"] ?? "http://127.0.0.1:3013";
/** Exported checkpoint of the static page. */
const CHECKPOINT = process.env["RIFFUSION_CHECKPOINT"] || here("../data/demo-checkpoint");
const STATIC_OUT = here("static-dist");

function here(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

/** Mode `static` builds the page that needs no server; all others the page of `riffusion serve`. */
export default defineConfig(({ mode }) => ({
  base: "./",
  // onnxruntime-web without WebAssembly in its scripts: `engine/runtime.ts` has its own copy, compressed.
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  plugins: [
    compiledKernels(),
    gzippedFiles(),
    ...(mode === "static" ? [staticPage({ checkpoint: CHECKPOINT, library: here("../data"), outDir: STATIC_OUT })] : []),
  ],
  worker: {
    format: "es" as const,
    plugins: () => [compiledKernels(), gzippedFiles()],
    // Not all file servers know that .mjs files are scripts.
    rollupOptions: { output: { assetFileNames: ({ names }: { names: string[] }) => `assets/[name]-[hash]${names[0]?.endsWith(".mjs") ? ".js" : "[extname]"}` } },
  },
  build: {
    target: "es2022",
    chunkSizeWarningLimit: 800, // three.js
    ...(mode === "static" ? { outDir: STATIC_OUT } : {}),
    rollupOptions: { input: ["index.html", "about.html"] },
  },
  server: {
    proxy: Object.fromEntries(
      ["/run_inference", "/seed_images", "/masks", "/health", "/info"].map((path) => [path, GATEWAY]),
    ),
  },
  test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 60_000, hookTimeout: 60_000 },
}));
